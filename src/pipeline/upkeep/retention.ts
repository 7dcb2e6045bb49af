/**
 * From when on rows and aggregates are kept: known here at any time without asking, and dropped from the cold store
 * when they are older.
 *
 * Invariants: what is before the bounds told here may be gone, what is not is there. By the settings a bound moves
 * at midnight (UTC) and what is before it is dropped only after that; one that another instance has set is known
 * from the next sweep on.
 */
import {
  ALL_KEPT,
  firstDayKept,
  type Kept,
  keptAt,
  type RetentionDays,
} from "../../domain/retention-bounds.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { ColdStore } from "../../store/cold.ts";

export interface RetentionOptions {
  readonly cold: ColdStore;
  readonly log: Log;
  readonly clock: Clock;
  readonly days: RetentionDays;
  /** Once aborted, what is left is left to the next time. */
  readonly signal: AbortSignal;
}

/** Between two pieces it rests as long as one took: half of the disk's time is for others. But no longer. */
const REST_MAX_MS = 200;

const DROPPED = ["partitions", "rows", "aggregates", "deadLetters"] as const;

type Dropped = Record<(typeof DROPPED)[number], number>;

export class Retention {
  readonly #options: RetentionOptions;
  #noted: Kept = ALL_KEPT;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** Events of before have no rows. */
  rowsFrom(now: number): number {
    return Math.max(this.#noted.rowsFrom, firstDayKept(now, this.#options.days.retentionDays));
  }

  /** Hours of before are not known. */
  aggregatesFrom(now: number): number {
    return Math.max(this.#noted.aggregatesFrom, firstDayKept(now, this.#options.days.aggregateRetentionDays));
  }

  /** Drops what is not kept; without a setting it only learns what others have. Throws ColdUnavailableError. */
  async sweep(): Promise<void> {
    const { cold, clock, days, signal } = this.#options;
    await cold.open();
    const isOn = days.retentionDays !== undefined;
    const dropped: Dropped = { partitions: 0, rows: 0, aggregates: 0, deadLetters: 0 };
    try {
      for (let isDone = !isOn; !isDone && !signal.aborted; ) {
        const startMs = clock.monotonicMs();
        const at = clock.now();
        const piece = await cold.sweep(keptAt(at, days), at);
        for (const what of DROPPED) dropped[what] += piece[what];
        isDone = piece.isDone;
        await clock.sleep(Math.min(clock.monotonicMs() - startMs, REST_MAX_MS));
      }
      this.#noted = await cold.kept();
    } finally {
      this.#tell(dropped);
    }
  }

  #tell(dropped: Dropped): void {
    const { log } = this.#options;
    const { deadLetters, ...others } = dropped;
    if (Object.values(others).some((count) => count > 0))
      log.info(dropped, "dropped what is not kept any more");
    if (deadLetters > 0) {
      log.warn(
        { deadLetters },
        "dropped dead letters that were older than rows are kept: they are in no count",
      );
    }
  }
}
