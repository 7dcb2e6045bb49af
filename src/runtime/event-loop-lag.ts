/** Measures how late a timer runs that is due 20 times a second: every answer is delayed as much. */
import type { Buckets } from "./buckets.ts";

const INTERVAL_MS = 50;

/** Returns a function that stops it. */
export function measureLoopLag(seconds: Buckets): () => void {
  let dueMs = performance.now() + INTERVAL_MS;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    seconds.observe(Math.max(0, nowMs - dueMs) / 1_000);
    dueMs = nowMs + INTERVAL_MS;
  }, INTERVAL_MS);
  return () => clearInterval(timer);
}
