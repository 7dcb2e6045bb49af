/** Full-jitter exponential backoff, in ms, for the attempt-th retry (0, 1, …). Source: AWS Architecture Blog, 2015. */
export function backoffMs(attempt: number, firstMs: number, maxMs: number): number {
  const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return ceilingMs * (0.5 + Math.random() / 2);
}
