/**
 * Knows, without a query, from when on rows and aggregates are retained, and deletes older ones from the cold store.
 * Invariants: data before these bounds may be deleted, later data exists. A bound from the settings moves at midnight
 * (UTC), and older data is deleted only after that. Another instance's bound takes effect at the next sweep.
 */
import { DAY_MS, HOUR_MS } from "../../domain/event.ts";
import { ID_TTL_MS } from "../../domain/event-ids.ts";
import { NO_BOUNDS, type RetentionBounds } from "../../domain/retention-bounds.ts";
import { OLDEST_MS } from "../../protocol/event/query-rules.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { Config } from "../../settings/settings.ts";
import type { ColdConnection, IdStore, RetentionStore } from "../../store/cold.ts";

/** Whole days before today; undefined keeps data forever. */
export type RetentionDays = Pick<Config, "retentionDays" | "aggregateRetentionDays">;

interface RetentionOptions {
  readonly cold: RetentionStore & IdStore & Pick<ColdConnection, "open">;
  readonly log: Log;
  readonly clock: Clock;
  readonly days: RetentionDays;
  /** Once aborted, the rest is left to the next sweep. */
  readonly signal: AbortSignal;
}

/** Longer than ids may have to be restored. */
const IDS_RETAINED_MS = ID_TTL_MS + HOUR_MS;
/** It pauses after each piece for as long as the piece took, which leaves half of the disk's time to others. */
const REST_MAX_MS = 200;

const DELETED = ["partitions", "rows", "aggregates", "deadLetters"] as const;

type Deleted = Record<(typeof DELETED)[number], number>;

export class Retention {
  readonly #options: RetentionOptions;
  #noted: RetentionBounds = NO_BOUNDS;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  rowsFrom(now: number): number {
    return Math.max(this.#noted.rowsFrom, firstDay(now, this.#options.days.retentionDays));
  }

  /** Earlier timestamps are refused: their rows are not retained, or the client sent seconds by mistake. */
  earliestAccepted(now: number): number {
    return Math.max(OLDEST_MS, this.rowsFrom(now));
  }

  aggregatesFrom(now: number): number {
    return Math.max(this.#noted.aggregatesFrom, firstDay(now, this.#options.days.aggregateRetentionDays));
  }

  /** Without the setting it only deletes ids and reads the bounds of other instances. Throws ColdUnavailableError. */
  async sweep(): Promise<void> {
    const { cold, clock, days, signal } = this.#options;
    await cold.open();
    await this.#forgetIds();
    const isOn = days.retentionDays !== undefined;
    const deleted: Deleted = { partitions: 0, rows: 0, aggregates: 0, deadLetters: 0 };
    try {
      for (let isDone = !isOn; !isDone && !signal.aborted; ) {
        const startMs = clock.monotonicMs();
        const at = clock.now();
        const aggregatesFrom = firstDay(at, days.aggregateRetentionDays);
        const piece = await cold.sweep({ rowsFrom: firstDay(at, days.retentionDays), aggregatesFrom }, at);
        for (const what of DELETED) deleted[what] += piece[what];
        isDone = piece.isDone;
        await clock.sleep(Math.min(clock.monotonicMs() - startMs, REST_MAX_MS));
      }
      this.#noted = await cold.retained();
    } finally {
      this.#logDeleted(deleted);
    }
  }

  async #forgetIds(): Promise<void> {
    const { cold, clock, signal } = this.#options;
    const beforeMs = (await cold.time()) - IDS_RETAINED_MS;
    for (let areLeft = true; areLeft && !signal.aborted; ) {
      const startMs = clock.monotonicMs();
      areLeft = await cold.forgetFlushedIds(beforeMs);
      if (areLeft) await clock.sleep(Math.min(clock.monotonicMs() - startMs, REST_MAX_MS));
    }
  }

  #logDeleted(deleted: Deleted): void {
    const { log } = this.#options;
    const { deadLetters, ...others } = deleted;
    if (Object.values(others).some((count) => count > 0)) log.info(deleted, "deleted what is no longer retained");
    if (deadLetters > 0) {
      log.warn({ deadLetters }, "deleted dead letters that were older than the retained rows: no count includes them");
    }
  }
}

/** The start of the first retained day; 0 if every day is retained. */
function firstDay(now: number, days: number | undefined): number {
  return days === undefined ? 0 : Math.max(0, now - (now % DAY_MS) - days * DAY_MS);
}
