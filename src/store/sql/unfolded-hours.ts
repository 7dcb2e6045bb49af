/**
 * Decides which hours a flush folds, and when; mysql/hours.ts and embedded/cold/flush.ts fold them. Each flush appends
 * a part (a row of `hourly`) to every hour it has events of. Merging into one row instead would read and write the
 * sketches of 1,000 streams per flush (measured: docs/performance-trials.md). From time to time the parts of an hour
 * are folded into one row.
 *
 * The counts are this process's own, in memory. After a crash, a failed flush, or too many hours at once, some hours
 * have more parts than planned; readers add up whatever parts there are.
 *
 * Invariant: between two flushes at most HOURS_MAX hours are in memory.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import { compareHours } from "./rows.ts";

const PARTS_MAX = 32;
/** An hour if flushes are a second apart; less under load. */
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
  /** Ordered by oldest part. */
  readonly #hours = new Map<string, UnfoldedHour>();
  #flushes = 0;
  #stagger = 0;

  constructor(partsMax = PARTS_MAX) {
    this.#partsMax = partsMax;
  }

  /** Counts the part that a flush appends to each hour. Returns the hours to fold, in primary-key order. */
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

  /** Staggers the thresholds, so that equally busy hours are not all folded by the same flush. */
  #begin(name: string, { stream, hour }: HourKey): UnfoldedHour {
    this.#stagger = (this.#stagger + 1) % Math.ceil(this.#partsMax / 2);
    const partsMax = this.#partsMax - this.#stagger;
    const begun = { stream, hour, parts: 0, firstFlush: this.#flushes, partsMax };
    this.#hours.set(name, begun);
    return begun;
  }

  /** The number of hours whose parts are counted. */
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
