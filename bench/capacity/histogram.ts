/** Times by how often they came, in steps of 2 %. */
const STEP = Math.log(1.02);

export class Histogram {
  readonly #counts = new Map<number, number>();
  #count = 0;

  add(us: number, count: number): void {
    const bucket = Math.floor(Math.log(Math.max(us, 1)) / STEP);
    this.#counts.set(bucket, (this.#counts.get(bucket) ?? 0) + count);
    this.#count += count;
  }

  /** In ms; undefined if there is none. */
  percentileMs(percent: number): number | undefined {
    let left = (this.#count * percent) / 100;
    for (const [bucket, count] of Array.from(this.#counts).sort(([a], [b]) => a - b)) {
      left -= count;
      if (left <= 0) return Math.exp((bucket + 0.5) * STEP) / 1_000;
    }
    return undefined;
  }
}
