/**
 * The times from which rows and aggregates are retained, and the events of an hour that were erased with their user.
 *
 * Invariants: both bounds are starts of UTC days (0: everything is retained) and only move forward. Aggregates are
 * retained at least as long as rows.
 */
export interface RetentionBounds {
  readonly rowsFrom: number;
  readonly aggregatesFrom: number;
}

/** Erased rows and dead letters, without naming their user. */
export interface ErasedCounts {
  readonly clicks: number;
  readonly impressions: number;
  /** No aggregate had counted them. */
  readonly deadLetters: number;
}

export const NO_BOUNDS: RetentionBounds = { rowsFrom: 0, aggregatesFrom: 0 };
export const NOTHING_ERASED: ErasedCounts = { clicks: 0, impressions: 0, deadLetters: 0 };

export function laterBounds(a: RetentionBounds, b: RetentionBounds): RetentionBounds {
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
