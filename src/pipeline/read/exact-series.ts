/**
 * A series whose users are counted exactly, from the rows.
 * Invariants: an answer that lacks rows says so or is refused, since it would look complete. Rows come in order of
 * their hours, so that only the users of open steps are held besides those of the whole range.
 */
import type { Kind } from "../../domain/event.ts";
import type { StreamSelection } from "../../domain/stream-rules.ts";
import type { Steps } from "../../domain/time-steps.ts";
import type { UserCounts } from "../../domain/unique-users/sketch.ts";
import type { ErasedHour, UserRow } from "../../store/cold.ts";
import { lackOf, NotCountableError, ROWS_MAX } from "./cut-hours.ts";
import type { RangeReader } from "./range-reader.ts";
import { noSums, type Series, type SeriesTally, type Sums } from "./series-tally.ts";

/** `counted`: the same range, read from aggregates before. Throws like RangeReader, or NotCountableError. */
export async function readExactSeries(
  ranges: RangeReader,
  steps: Steps,
  streams: StreamSelection,
  counted: SeriesTally,
): Promise<Series> {
  const hours = counted.activeHours();
  const eventCount = counted.eventsOf(hours);
  if (eventCount > ROWS_MAX)
    throw new NotCountableError(`a range of at most ${ROWS_MAX} events: this one has ${eventCount}`);
  const exact = new ExactTally(steps);
  if (hours.length === 0) return { rows: exact.rows(), total: exact.total(), lacks: undefined };
  const missing = await ranges.readUsers({ hours, streams }, (row) => exact.add(row));
  for (const hour of missing.erased) exact.addErased(hour);
  const lacks = lackOf(missing, { hours, eventCount }, exact.eventCount);
  return { rows: exact.rows(), total: exact.total(), lacks };
}

const KIND_BITS: Readonly<Record<Kind, number>> = { click: 1, impression: 2 };

/** The distinct users of the added events, in total and by kind. */
class Users {
  readonly #kinds = new Map<string, number>();
  readonly #countOf: Record<Kind, number> = { click: 0, impression: 0 };

  add(user: string, kind: Kind): void {
    const kinds = this.#kinds.get(user) ?? 0;
    if ((kinds & KIND_BITS[kind]) !== 0) return;
    this.#kinds.set(user, kinds | KIND_BITS[kind]);
    this.#countOf[kind] += 1;
  }

  get counts(): UserCounts {
    const { click, impression } = this.#countOf;
    return { uniqueUsers: this.#kinds.size, uniqueClickers: click, uniqueViewers: impression };
  }
}

class ExactTally {
  readonly #steps: Steps;
  readonly #rows: Sums[];
  readonly #total = noSums();
  readonly #users = new Users();
  readonly #open = new Map<number, Users>();
  /** Counts all rows, including those outside the steps. */
  eventCount = 0;

  constructor(steps: Steps) {
    this.#steps = steps;
    this.#rows = Array.from(steps.starts, noSums);
  }

  add({ hour, at, kind, user }: UserRow): void {
    this.eventCount += 1;
    const step = this.#steps.indexAt(at);
    if (step === undefined) return;
    this.#usersOf(step, hour).add(user, kind);
    this.#users.add(user, kind);
    for (const sums of [this.#rows[step]!, this.#total]) {
      if (kind === "click") sums.clicks += 1;
      else sums.impressions += 1;
    }
  }

  #usersOf(step: number, hour: number): Users {
    let users = this.#open.get(step);
    if (users === undefined) {
      this.#settleBefore(hour);
      users = new Users();
      this.#open.set(step, users);
    }
    return users;
  }

  /** Counts erased events, whose users and times are unknown, in the first step that overlaps their hour. */
  addErased({ hour, clicks, impressions }: ErasedHour): void {
    this.eventCount += clicks + impressions;
    const step = this.#steps.indexAt(Math.max(hour, this.#steps.from))!;
    for (const sums of [this.#rows[step]!, this.#total]) {
      sums.clicks += clicks;
      sums.impressions += impressions;
    }
  }

  #settleBefore(hour: number): void {
    for (const [step, users] of this.#open) {
      if (this.#steps.endOf(step) > hour) continue;
      Object.assign(this.#rows[step]!, users.counts);
      this.#open.delete(step);
    }
  }

  rows(): readonly Readonly<Sums>[] {
    this.#settleBefore(Number.POSITIVE_INFINITY);
    return this.#rows;
  }

  total(): Readonly<Sums> {
    return { ...this.#total, ...this.#users.counts };
  }
}
