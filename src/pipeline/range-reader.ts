/**
 * Reads ranges of hours: what the hot store holds from there, since only that has what is not flushed yet, and
 * the rest from the cold store.
 *
 * Invariants:
 * - The hot store is read first. An hour that it does not hold then has nothing in any journal, so that the
 *   cold store, read after it, has all of it; also if the hour was retired in between.
 * - No hour is taken from both.
 * - At most LANES ranges are read at a time, and WAITING_MAX wait: one may take a second of this process.
 */
import { HOUR_MS, hourKeyName } from "../count/event.ts";
import type { HourRange, HourRecord } from "../count/hour-range.ts";
import {
  type ColdStore,
  ColdUnavailableError,
  type ErasedHour,
  ReadInterruptedError,
  type UserRow,
  type UsersRange,
} from "../store/cold.ts";
import { type HotStore, HotUnavailableError } from "../store/hot.ts";
import { Lanes } from "./lanes.ts";

/** Takes in what is read. */
export interface Tally {
  add(hour: HourRecord): void;
  /** What comes from now on is of this hour or later ones. */
  settleBefore(hour: number): void;
}

export interface RangeAnswer<T> {
  readonly tally: T;
  /** True if the hot store is away or has lost data: events that are not flushed yet may be missing. */
  readonly isDegraded: boolean;
}

export interface MissingRows {
  readonly erased: readonly ErasedHour[];
  /** Hours of before may lack rows, or have none. */
  readonly rowsFrom: number;
}

/** More was asked for than is read for one question. */
export class RangeTooLargeError extends Error {
  override readonly name = "RangeTooLargeError";
}

const LANES = 2;
const WAITING_MAX = 32;
/** Hours of streams in one range: some seconds of reading. */
const HOURS_MAX = 500_000;

export class RangeReader {
  readonly #hot: HotStore;
  readonly #cold: ColdStore;
  readonly #isRecovering: () => boolean;
  readonly #lanes: Lanes;

  /** `isRecovering`: acknowledged events may be missing from the hot store. */
  constructor(hot: HotStore, cold: ColdStore, isRecovering: () => boolean, waitingMax = WAITING_MAX) {
    this.#lanes = new Lanes(LANES, waitingMax);
    this.#hot = hot;
    this.#cold = cold;
    this.#isRecovering = isRecovering;
  }

  /** Throws ColdUnavailableError, RangeTooLargeError, or LanesFullError. */
  read<T extends Tally>(range: HourRange, newTally: () => T): Promise<RangeAnswer<T>> {
    return this.#lanes.use(async () => {
      try {
        return await this.#readOnce(range, newTally);
      } catch (error) {
        if (!isInterrupted(error)) throw error;
        return await this.#readOnce(range, newTally);
      }
    });
  }

  async #readOnce<T extends Tally>(range: HourRange, newTally: () => T): Promise<RangeAnswer<T>> {
    const wasRecovering = this.#isRecovering();
    const answer = (await this.#readWhole(range, newTally())) ?? {
      tally: await this.#readColdAlone(range, newTally()),
      isDegraded: true,
    };
    return wasRecovering || this.#isRecovering() ? { ...answer, isDegraded: true } : answer;
  }

  /** Shows the rows of these hours, and answers what is missing among them. Throws as read() does. */
  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<MissingRows> {
    return this.#lanes.use(async () => {
      // Before the rows: one that is erased between the two is then missing, and not counted twice.
      const erased = await this.#cold.erasedRows(range);
      await this.#cold.readUsers(range, visit);
      // After the rows: what was dropped meanwhile is known by then.
      const { rowsFrom } = await this.#cold.kept();
      return { erased, rowsFrom };
    });
  }

  /** Undefined if the hot store cannot tell: then nothing in the tally is to be believed. */
  async #readWhole<T extends Tally>(range: HourRange, tally: T): Promise<RangeAnswer<T> | undefined> {
    const held = new Set<string>();
    const add = bounded(tally);
    let freshFrom: number | "unborn";
    try {
      freshFrom = await this.#hot.readRange(range, (hour) => {
        held.add(hourKeyName(hour.stream, hour.hour));
        add(hour);
      });
    } catch (error) {
      if (error instanceof HotUnavailableError) return undefined;
      throw error;
    }
    if (freshFrom === "unborn") return undefined;
    const absent = absentPart(range, freshFrom, held);
    if (absent !== undefined) await this.#readCold(absent, tally, add, held);
    return { tally, isDegraded: false };
  }

  async #readColdAlone<T extends Tally>(range: HourRange, tally: T): Promise<T> {
    await this.#readCold(range, tally, bounded(tally), new Set());
    return tally;
  }

  async #readCold(
    range: HourRange,
    tally: Tally,
    add: (hour: HourRecord) => void,
    held: ReadonlySet<string>,
  ): Promise<void> {
    let last = Number.NEGATIVE_INFINITY;
    await this.#cold.readRange(range, (hour) => {
      if (hour.hour > last) tally.settleBefore(hour.hour);
      last = hour.hour;
      if (!held.has(hourKeyName(hour.stream, hour.hour))) add(hour);
    });
  }
}

function isInterrupted(error: unknown): boolean {
  return error instanceof ColdUnavailableError && error.cause instanceof ReadInterruptedError;
}

function bounded(tally: Tally): (hour: HourRecord) => void {
  let count = 0;
  return (hour) => {
    count += 1;
    if (count > HOURS_MAX) {
      throw new RangeTooLargeError(`more than ${HOURS_MAX} hours of streams with events`);
    }
    tally.add(hour);
  };
}

/** What the cold store has to be asked for; undefined if the hot store has told everything. */
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
