/**
 * From when on rows and aggregates are kept, and how many events of an hour were erased for their user's sake.
 *
 * Invariants: both bounds are starts of a UTC day (0: all is kept), they only ever move on, and aggregates are
 * kept for at least as long as rows.
 */
import { DAY_MS } from "./event.ts";

export interface Kept {
  readonly rowsFrom: number;
  readonly aggregatesFrom: number;
}

/** How long, in whole days before today; for ever if undefined. */
export interface RetentionDays {
  readonly retentionDays: number | undefined;
  readonly aggregateRetentionDays: number | undefined;
}

/** Numbers, without the user: what is left of events that were rows, or dead letters, and were erased. */
export interface ErasedCounts {
  readonly clicks: number;
  readonly impressions: number;
  /** They were in no aggregate. */
  readonly deadLetters: number;
}

export const ALL_KEPT: Kept = { rowsFrom: 0, aggregatesFrom: 0 };
export const NOTHING_ERASED: ErasedCounts = { clicks: 0, impressions: 0, deadLetters: 0 };

export function keptAt(now: number, { retentionDays, aggregateRetentionDays }: RetentionDays): Kept {
  return {
    rowsFrom: firstDayKept(now, retentionDays),
    aggregatesFrom: firstDayKept(now, aggregateRetentionDays),
  };
}

/** 0 if all are. */
export function firstDayKept(now: number, days: number | undefined): number {
  return days === undefined ? 0 : Math.max(0, now - (now % DAY_MS) - days * DAY_MS);
}

/** What is kept by both. */
export function keptByBoth(a: Kept, b: Kept): Kept {
  return {
    rowsFrom: Math.max(a.rowsFrom, b.rowsFrom),
    aggregatesFrom: Math.max(a.aggregatesFrom, b.aggregatesFrom),
  };
}

export function addErased(a: ErasedCounts, b: ErasedCounts): ErasedCounts {
  return {
    clicks: a.clicks + b.clicks,
    impressions: a.impressions + b.impressions,
    deadLetters: a.deadLetters + b.deadLetters,
  };
}
