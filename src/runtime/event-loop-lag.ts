/** Measures how late a timer runs that is due 20 times a second: every answer is delayed as much. */
import type { Buckets } from "./buckets.ts";

const INTERVAL_MS = 50;

export class LoopLag {
  readonly #seconds: Buckets;
  #timer: Timer | undefined;

  constructor(seconds: Buckets) {
    this.#seconds = seconds;
  }

  start(): void {
    let dueMs = performance.now() + INTERVAL_MS;
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      this.#seconds.observe(Math.max(0, nowMs - dueMs) / 1_000);
      dueMs = nowMs + INTERVAL_MS;
    }, INTERVAL_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
