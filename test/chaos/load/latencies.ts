/**
 * Latencies of millions of requests in a few hundred counters.
 * Invariant: a percentile is never told too low, and too high by at most 5 %.
 */
const FIRST_MS = 0.05;
const GROWTH = 1.05;

export class Latencies {
  readonly #buckets: number[] = [];
  #count = 0;
  #maxMs = 0;

  get count(): number {
    return this.#count;
  }

  get maxMs(): number {
    return this.#maxMs;
  }

  add(ms: number, count = 1): void {
    const bucket = Math.max(0, Math.ceil(Math.log(ms / FIRST_MS) / Math.log(GROWTH)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + count;
    this.#count += count;
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** Upper bounds of the buckets and how many are in each: another process adds them to its own. */
  entries(): [ms: number, count: number][] {
    return Object.entries(this.#buckets).map(([bucket, count]) => [boundMs(Number(bucket)), count]);
  }

  percentileMs(percent: number): number {
    let left = Math.ceil((this.#count * percent) / 100);
    for (const [ms, count] of this.entries()) {
      left -= count;
      if (left <= 0) return Math.min(ms, this.#maxMs);
    }
    return this.#maxMs;
  }

  get text(): string {
    const shown = [50, 99, 99.9].map((percent) => `p${percent} ${round(this.percentileMs(percent))} ms`);
    return `${shown.join(", ")}, max ${round(this.#maxMs)} ms`;
  }
}

/** A hair below, so that adding a bound to another histogram falls into the same bucket. */
function boundMs(bucket: number): number {
  return FIRST_MS * GROWTH ** bucket * (1 - 1e-9);
}

function round(ms: number): number {
  return ms < 10 ? Math.round(ms * 10) / 10 : Math.round(ms);
}
