/** Prints which test files run, their results, and the slowest ones. */
import type { Job, Progress } from "./lanes.ts";
import type { Tally } from "./report.ts";

const SLOW_AFTER_S = 30;
const SLOWEST_SHOWN = 10;

export class ConsoleProgress implements Progress {
  readonly seconds = new Map<string, number>();
  readonly #running = new Map<string, number>();
  readonly #jobCount: number;
  readonly #tallyOf: (job: Job) => Tally | undefined;
  readonly #reminder: Timer;

  constructor(jobCount: number, tallyOf: (job: Job) => Tally | undefined) {
    this.#jobCount = jobCount;
    this.#tallyOf = tallyOf;
    this.#reminder = setInterval(() => this.#nameSlow(), SLOW_AFTER_S * 1_000);
  }

  started({ name }: Job): void {
    this.#running.set(name, performance.now());
  }

  ended(job: Job, seconds: number): void {
    this.#running.delete(job.name);
    this.seconds.set(job.name, seconds);
    const number = `${this.seconds.size}`.padStart(`${this.#jobCount}`.length);
    const time = `${seconds.toFixed(1)} s`.padStart(7);
    console.log(`[${number}/${this.#jobCount}] ${time}  ${job.name}  ${outcome(this.#tallyOf(job))}`);
  }

  #nameSlow(): void {
    const now = performance.now();
    const slow = Array.from(this.#running, ([name, startMs]) => ({ name, s: (now - startMs) / 1_000 }))
      .filter(({ s }) => s > SLOW_AFTER_S)
      .map(({ name, s }) => `${name} (${Math.round(s)} s)`);
    if (slow.length > 0) console.log(`    still running: ${slow.join(", ")}`);
  }

  close(): void {
    clearInterval(this.#reminder);
    const slowest = [...this.seconds].sort(([, a], [, b]) => b - a).slice(0, SLOWEST_SHOWN);
    console.log("\nThe slowest:");
    for (const [name, seconds] of slowest) console.log(`${`${seconds.toFixed(1)} s`.padStart(9)}  ${name}`);
  }
}

function outcome(tally: Tally | undefined): string {
  if (tally === undefined) return "";
  const { passed, failed, skipped } = tally;
  const parts = [`${passed} passed`];
  if (failed.length > 0) parts.push(`${failed.length} FAILED`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  return parts.join(", ");
}
