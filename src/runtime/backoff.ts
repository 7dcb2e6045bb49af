/**
 * Exponential backoff with equal jitter, in ms, for the attempt-th retry (0, 1, …): from half of the ceiling up to all
 * of it. `random`: from 0 to 1. Source: AWS Architecture Blog, 2015.
 */
export function backoffMs(attempt: number, firstMs: number, maxMs: number, random: () => number): number {
  const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return ceilingMs * (0.5 + random() / 2);
}
