/**
 * Reads ranges of hours: what the hot store holds, which includes unflushed events, and the rest from the cold store.
 *
 * Invariants, per shard:
 * - The hot store is read first. No journal has events of an hour that it does not hold, so the cold store, read later,
 *   has all of it, even if the hour was retired in between.
 * - No hour is taken from both stores. If a shard's hot store is unavailable, all of its hours come from the cold
 *   store.
 * - At most AT_ONCE ranges are read at a time, and WAITING_MAX wait: one may take this process a second.
 */
import { HOUR_MS, hourKeyName } from "../../domain/event.ts";
import type { HourRange, HourRecord } from "../../domain/hour-range.ts";
import { UserHash } from "../../domain/unique-users/user-hash.ts";
import { Slots } from "../../runtime/slots.ts";
import {
  type ColdStore,
  ColdUnavailableError,
  type DeadLetterStore,
  type ErasedHour,
  type ErasureStore,
  ReadInterruptedError,
  type ReadStore,
  type RetentionStore,
  type UserRow,
  type UsersRange,
} from "../../store/cold.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import type { ReadShard } from "./hour-reader.ts";

type RangeStore = ReadStore &
  Pick<ErasureStore, "erasedRows"> &
  Pick<DeadLetterStore, "deadLetterCount"> &
  Pick<RetentionStore, "retained"> &
  Pick<ColdStore, "dataSet">;

interface RangeShard extends ReadShard {
  /** Resolves once this process's committed events are rows, or when that will take too long. Never rejects. */
  flushCommitted(): Promise<void>;
}

export interface Tally {
  add(hour: HourRecord): void;
  /** Everything added later is of this hour or after it. */
  settleBefore(hour: number): void;
}

interface RangeAnswer<T> {
  readonly tally: T;
  /** The hot store is unavailable or lost data, so unflushed events may be missing. */
  readonly isDegraded: boolean;
}

export interface MissingRows {
  readonly erased: readonly ErasedHour[];
  readonly deadLetters: number;
  /** Earlier hours may lack some or all rows. */
  readonly rowsFrom: number;
}

/** The range exceeds what one query may read. */
export class RangeTooLargeError extends Error {
  override readonly name = "RangeTooLargeError";
}

const AT_ONCE = 2;
const WAITING_MAX = 32;
/** Stream-hours per range and shard: a few seconds of reading. */
const HOURS_MAX = 500_000;

interface Held {
  readonly names: ReadonlySet<string>;
  /** The part to read from the cold store; undefined if none. */
  readonly absent: HourRange | undefined;
}

export class RangeReader {
  readonly #shards: readonly RangeShard[];
  readonly #cold: RangeStore;
  readonly #turns: Slots;
  #userHash: UserHash | undefined;

  constructor(shards: readonly RangeShard[], cold: RangeStore, waitingMax = WAITING_MAX) {
    this.#turns = new Slots(AT_ONCE, waitingMax);
    this.#shards = shards;
    this.#cold = cold;
  }

  get #isRecovering(): boolean {
    return this.#shards.some(({ isRecovering }) => isRecovering);
  }

  /** Throws ColdUnavailableError, RangeTooLargeError, or SlotsFullError. */
  read<T extends Tally>(range: HourRange, newTally: () => T): Promise<RangeAnswer<T>> {
    return this.#turns.use(async () => {
      try {
        return await this.#readOnce(range, newTally);
      } catch (error) {
        if (!isInterrupted(error)) throw error;
        return await this.#readOnce(range, newTally);
      }
    });
  }

  async #readOnce<T extends Tally>(range: HourRange, newTally: () => T): Promise<RangeAnswer<T>> {
    const wasRecovering = this.#isRecovering;
    const answer = await this.#readAll(range, newTally);
    return wasRecovering || this.#isRecovering ? { ...answer, isDegraded: true } : answer;
  }

  /** Starts over without a shard whose hot store failed, since its hours may have been incomplete. */
  async #readAll<T extends Tally>(range: HourRange, newTally: () => T): Promise<RangeAnswer<T>> {
    const silent = new Set<ReadShard>();
    for (;;) {
      const tally = newTally();
      const add = bounded(tally, HOURS_MAX * this.#shards.length);
      const asked = this.#shards.filter((shard) => !silent.has(shard));
      const answers = await Promise.all(asked.map((shard) => readHeld(shard, range, add)));
      const held = new Map(asked.map((shard, i) => [shard, answers[i]]));
      const failed = asked.filter((shard) => held.get(shard) === undefined);
      for (const shard of failed) silent.add(shard);
      if (failed.length > 0) continue;
      await this.#readCold(range, tally, add, held);
      return { tally, isDegraded: silent.size > 0 };
    }
  }

  /** The hash by which users enter sketches. Throws ColdUnavailableError. */
  async userHash(): Promise<UserHash> {
    this.#userHash ??= new UserHash((await this.#cold.dataSet()).userKey);
    return this.#userHash;
  }

  /**
   * Passes the rows of these hours to `visit`, and returns which rows are missing. Events that other instances have not
   * flushed are not included. Throws like read().
   */
  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<MissingRows> {
    return this.#turns.use(async () => {
      await Promise.all(this.#shards.map((shard) => shard.flushCommitted()));
      // Before the rows: a row erased in between is then missing, not counted twice.
      const erased = await this.#cold.erasedRows(range);
      await this.#cold.readUsers(range, visit);
      // After the rows: what was deleted or refused meanwhile is then known.
      const [{ rowsFrom }, deadLetters] = await Promise.all([this.#cold.retained(), this.#cold.deadLetterCount(range)]);
      return { erased, deadLetters, rowsFrom };
    });
  }

  /** Reads what the shards do not hold: everything of shards that are not in `held`. */
  async #readCold(
    range: HourRange,
    tally: Tally,
    add: (hour: HourRecord) => void,
    held: ReadonlyMap<ReadShard, Held | undefined>,
  ): Promise<void> {
    const parts = this.#shards.map((shard) => held.get(shard) ?? { names: new Set<string>(), absent: range });
    const absent = parts.flatMap((part) => part.absent ?? []);
    if (absent.length === 0) return;
    const from = Math.min(...absent.map((part) => part.from));
    const to = Math.max(...absent.map((part) => part.to));
    let last = Number.NEGATIVE_INFINITY;
    await this.#cold.readRange({ ...range, from, to }, (record, shard) => {
      const { hour, stream } = record;
      if (hour > last) tally.settleBefore(hour);
      last = hour;
      const part = parts[shard];
      // A shard beyond REDIS_SHARDS; then no hot store returned any hour.
      if (part === undefined) return add(record);
      if (part.absent === undefined || hour < part.absent.from || hour >= part.absent.to) return;
      if (!part.names.has(hourKeyName(stream, hour))) add(record);
    });
  }
}

function isInterrupted(error: unknown): boolean {
  return error instanceof ColdUnavailableError && error.cause instanceof ReadInterruptedError;
}

/** Undefined if the hot store is unavailable. */
async function readHeld(
  { hot }: ReadShard,
  range: HourRange,
  add: (hour: HourRecord) => void,
): Promise<Held | undefined> {
  const names = new Set<string>();
  try {
    const freshFrom = await hot.readRange(range, (hour) => {
      names.add(hourKeyName(hour.stream, hour.hour));
      add(hour);
    });
    return freshFrom === "uninitialized" ? undefined : { names, absent: absentPart(range, freshFrom, names) };
  } catch (error) {
    if (error instanceof HotUnavailableError) return undefined;
    throw error;
  }
}

function bounded(tally: Tally, max: number): (hour: HourRecord) => void {
  let count = 0;
  return (hour) => {
    count += 1;
    if (count > max) {
      throw new RangeTooLargeError(`more than ${max} hours of streams with events`);
    }
    tally.add(hour);
  };
}

/** The part to read from the cold store; undefined if the hot store holds everything. */
function absentPart(range: HourRange, freshFrom: number, held: ReadonlySet<string>): HourRange | undefined {
  const { streams } = range;
  let { from } = range;
  let to = Math.min(range.to, freshFrom);
  if (!streams.isPrefix) {
    const isHeld = (hour: number) => held.has(hourKeyName(streams.text, hour));
    while (from < to && isHeld(from)) from += HOUR_MS;
    while (from < to && isHeld(to - HOUR_MS)) to -= HOUR_MS;
  }
  return from < to ? { from, to, streams } : undefined;
}
