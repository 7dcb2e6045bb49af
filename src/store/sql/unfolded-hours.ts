/**
 * Which hours a flush folds. Each flush appends a part to the hours that it has events of, as a row of `hourly`; to
 * merge into one row every time would read and write the sketches of 1,000 streams for each flush (measured:
 * docs/performance.md). Now and then the parts of an hour are folded into one row.
 *
 * The count is this process' own and in memory: readers add up whatever parts there are. After a crash, a flush that
 * failed, or more hours at once than fit in memory, an hour has some parts more.
 *
 * Invariant: between two flushes at most HOURS_MAX hours are in memory.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import { compareHours } from "./event-rows.ts";

const PARTS_MAX = 32;
/** Flushes are at least a second apart, unless there is much to flush. */
const FLUSHES_MAX = 3_600;
/** About 200 bytes each. */
const HOURS_MAX = 50_000;
const OLD_HOURS_PER_FLUSH = 50;

interface UnfoldedHour extends HourKey {
  parts: number;
  readonly firstFlush: number;
  readonly partsMax: number;
}

export class UnfoldedHours {
  readonly #partsMax: number;
  /** The one with the oldest part first. */
  readonly #hours = new Map<string, UnfoldedHour>();
  #flushes = 0;
  #stagger = 0;

  constructor(partsMax = PARTS_MAX) {
    this.#partsMax = partsMax;
  }

  /** A flush appends a part to each of these. Answers the hours to fold, in the order of the primary key. */
  append(hours: readonly HourKey[]): HourKey[] {
    this.#flushes += 1;
    const due: HourKey[] = [];
    for (const key of hours) {
      const name = hourKeyName(key.stream, key.hour);
      const unfolded = this.#hours.get(name) ?? this.#begin(name, key);
      unfolded.parts += 1;
      if (unfolded.parts < unfolded.partsMax) continue;
      this.#hours.delete(name);
      due.push(unfolded);
    }
    return [...due, ...this.#takeOld()].sort(compareHours);
  }

  /** Staggered, so that hours with equally many events are not all folded by the same flush. */
  #begin(name: string, { stream, hour }: HourKey): UnfoldedHour {
    this.#stagger = (this.#stagger + 1) % Math.ceil(this.#partsMax / 2);
    const partsMax = this.#partsMax - this.#stagger;
    const begun = { stream, hour, parts: 0, firstFlush: this.#flushes, partsMax };
    this.#hours.set(name, begun);
    return begun;
  }

  /** Hours of which the parts are counted. */
  get size(): number {
    return this.#hours.size;
  }

  #takeOld(): HourKey[] {
    const old: HourKey[] = [];
    for (const [name, unfolded] of this.#hours) {
      const isTooMany = this.#hours.size > HOURS_MAX;
      const isOld = this.#flushes - unfolded.firstFlush >= FLUSHES_MAX;
      if (!isTooMany && (!isOld || old.length === OLD_HOURS_PER_FLUSH)) break;
      this.#hours.delete(name);
      if (unfolded.parts > 1 && old.length < OLD_HOURS_PER_FLUSH) old.push(unfolded);
    }
    return old;
  }
}
