/**
 * A series whose users are counted exactly, from the rows.
 * Invariant: an answer that lacks rows says so, or is refused: it would be a smaller number that looks like the whole.
 */
import type { StreamSelection } from "../../domain/hour-range.ts";
import type { Steps } from "../../domain/time-steps.ts";
import { NotCountableError, ROWS_MAX, rowsNotRetained } from "./cut-hours.ts";
import { ExactTally } from "./exact-tally.ts";
import type { RangeReader } from "./range-reader.ts";
import type { Series, SeriesTally } from "./series-tally.ts";

/** `counted`: the same range by its aggregates. Throws as RangeReader does, or NotCountableError. */
export async function readExactSeries(
  ranges: RangeReader,
  steps: Steps,
  streams: StreamSelection,
  counted: SeriesTally,
): Promise<Series> {
  const { eventCount } = counted;
  if (eventCount > ROWS_MAX)
    throw new NotCountableError(`a range of at most ${ROWS_MAX} events: this one has ${eventCount}`);
  const exact = new ExactTally(steps);
  const hours = counted.activeHours();
  if (hours.length === 0) return { rows: exact.rows(), total: exact.total(), lacks: undefined };
  const { erased, rowsFrom } = await ranges.readUsers({ hours, streams }, (row) => exact.add(row));
  if (hours.some((hour) => hour < rowsFrom)) throw rowsNotRetained(rowsFrom);
  for (const hour of erased) exact.addErased(hour);
  const isErased = erased.some(({ clicks, impressions }) => clicks + impressions > 0);
  const lacks = exact.eventCount < eventCount ? "not-flushed-yet" : isErased ? "erased" : undefined;
  return { rows: exact.rows(), total: exact.total(), lacks };
}
