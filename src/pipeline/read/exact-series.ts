/**
 * A series whose users are counted exactly, from the rows.
 * Invariant: an answer that lacks rows says so, or is refused: it would be a smaller number that looks like the whole.
 */
import type { StreamSelection } from "../../domain/hour-range.ts";
import type { Steps } from "../../domain/steps.ts";
import { ExactTally } from "./exact-tally.ts";
import type { RangeReader } from "./range-reader.ts";
import type { SeriesTally, Sums } from "./series-tally.ts";

/** All their users are in memory: up to 100 MB, and about 2 s. */
const EXACT_MAX_EVENTS = 1_000_000;

/** The message says which ranges can be counted exactly. */
export class NotCountableError extends Error {
  override readonly name = "NotCountableError";
}

export interface ExactSeries {
  readonly rows: readonly Readonly<Sums>[];
  readonly total: Readonly<Sums>;
  /** Why users may be missing. */
  readonly lacks: "not-flushed-yet" | "erased" | undefined;
}

/** `counted`: the same range by its aggregates. Throws as RangeReader does, or NotCountableError. */
export async function readExactSeries(
  ranges: RangeReader,
  steps: Steps,
  streams: StreamSelection,
  counted: SeriesTally,
): Promise<ExactSeries> {
  const eventCount = eventsOf(counted.total());
  if (eventCount > EXACT_MAX_EVENTS)
    throw new NotCountableError(`a range of at most ${EXACT_MAX_EVENTS} events: this one has ${eventCount}`);
  const exact = new ExactTally(steps);
  const hours = counted.activeHours();
  if (hours.length === 0) return { rows: exact.rows(), total: exact.total(), lacks: undefined };
  const { erased, rowsFrom } = await ranges.readUsers({ hours, streams }, (row) => exact.add(row));
  if (hours.some((hour) => hour < rowsFrom)) {
    const day = new Date(rowsFrom).toISOString();
    throw new NotCountableError(`hours with their rows, which are kept from ${day} on (without exact all are counted)`);
  }
  for (const hour of erased) exact.addErased(hour);
  const total = exact.total();
  const isErased = erased.some((hour) => eventsOf(hour) > 0);
  const lacks = eventsOf(total) < eventCount ? "not-flushed-yet" : isErased ? "erased" : undefined;
  return { rows: exact.rows(), total, lacks };
}

function eventsOf({ clicks, impressions }: Pick<Sums, "clicks" | "impressions">): number {
  return clicks + impressions;
}
