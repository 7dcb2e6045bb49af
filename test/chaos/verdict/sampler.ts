/** Samples a process repeatedly from outside, for anything that grows. */
import { type ProcessStats, processStats, type Slope, slopeOf } from "./process-stats.ts";

interface Sample extends ProcessStats {
  readonly atMs: number;
}

export class Sampler {
  readonly #samples: Sample[] = [];
  readonly #timer: Timer;

  constructor(pid: number, intervalMs: number) {
    const sample = () => {
      // A process that has just ended has no more figures: who started it tells of that.
      try {
        this.#samples.push({ atMs: performance.now(), ...processStats(pid) });
      } catch {}
    };
    sample();
    this.#timer = setInterval(sample, intervalMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  first(figure: keyof ProcessStats): number {
    return this.#samples[0]?.[figure] ?? 0;
  }

  peak(figure: keyof ProcessStats): number {
    return Math.max(0, ...this.#samples.map((sample) => sample[figure]));
  }

  get rssText(): string {
    const [first, peak] = [this.first("rssMb"), this.peak("rssMb")].map(Math.round);
    return `${first} MB before, ${peak} MB at most`;
  }

  /** Over the last `share` of the time that was looked at. */
  slope(figure: keyof ProcessStats, share: number): Slope {
    const [from = 0, to = 0] = [this.#samples[0]?.atMs, this.#samples.at(-1)?.atMs];
    const late = this.#samples.filter(({ atMs }) => atMs >= to - share * (to - from));
    return slopeOf(late.map((sample) => ({ atMs: sample.atMs, value: sample[figure] })));
  }
}

export function slopeText({ first, last, perMinute }: Slope, unit: string): string {
  const sign = perMinute < 0 ? "" : "+";
  return `${first.toFixed(1)} to ${last.toFixed(1)} ${unit}, ${sign}${perMinute.toFixed(2)} ${unit} a minute`;
}
