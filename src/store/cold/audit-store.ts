/** What `verify` and `export` need of the cold store: every row, and the aggregates. */
import type { Event, HourKey } from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import type { ErasedCounts, RetentionBounds } from "../../domain/retention-bounds.ts";

export interface HourAudit {
  readonly aggregate: HourTotals | undefined;
  /** Counted from the rows; undefined if there are none. */
  readonly rows: HourTotals | undefined;
  readonly deadLetters: number;
  readonly erased: ErasedCounts;
  readonly retained: RetentionBounds;
}

/** Identifies a row within its hour: the rest of the primary key. */
export interface RowKey {
  readonly writer: number;
  readonly seq: number;
  readonly ordinal: number;
}

export interface RowPage {
  readonly events: readonly Event[];
  /** Where the next page starts; undefined if this is the last. */
  readonly last: RowKey | undefined;
}

export interface AuditStore {
  /** All hours that have rows, an aggregate or dead letters, by hour and stream. */
  hourKeys(): Promise<readonly HourKey[]>;
  /**
   * At most `limit` events of the hour, by the primary key, after `after` (undefined: from the first). What is flushed
   * between two pages may be in none of them; what was stored before the first is in one.
   */
  rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage>;
  /** A consistent picture of a shard's part of the hour; default shard 0. Reads every row of it. */
  audit(key: HourKey, shard?: number): Promise<HourAudit>;
  /**
   * Recomputes the part's aggregate from its rows and the counts of erased ones. If any were erased the sketches are
   * united with those of the rows, since they know more users. False, and nothing done, if the rows are not retained.
   */
  rebuild(key: HourKey, shard?: number): Promise<boolean>;
}
