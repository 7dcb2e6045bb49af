/**
 * Exponential backoff with equal jitter: half of the ceiling up to all of it, in ms. `attempt` counts retries from 0;
 * `random` is in [0, 1). Source: AWS Architecture Blog, 2015.
 */
export function backoffMs(attempt: number, firstMs: number, maxMs: number, random: () => number): number {
  const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return ceilingMs * (0.5 + random() / 2);
}
