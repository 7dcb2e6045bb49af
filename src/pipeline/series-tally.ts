/**
 * What a range comes to, step by step and in all.
 * Invariant: unique users of a step, and of the whole, are those of the union of the hours' sketches. A step
 * that is settled keeps its numbers alone: 10,000 sketches would take 160 MB.
 */
import type { HourRecord } from "../count/hour-range.ts";
import { Sketch } from "../count/sketch.ts";
import type { Steps } from "../count/steps.ts";
import type { Tally } from "./range-reader.ts";

export interface Sums {
  clicks: number;
  impressions: number;
  uniqueUsers: number;
}

export function noSums(): Sums {
  return { clicks: 0, impressions: 0, uniqueUsers: 0 };
}

export class SeriesTally implements Tally {
  readonly #steps: Steps;
  readonly #rows: Sums[];
  readonly #open = new Map<number, Sketch>();
  readonly #users = new Sketch();
  readonly #total = noSums();
  readonly #activeHours = new Set<number>();

  constructor(steps: Steps) {
    this.#steps = steps;
    this.#rows = Array.from(steps.starts, noSums);
  }

  add({ hour, clicks, impressions, sketch }: HourRecord): void {
    const step = this.#steps.indexOf(hour);
    for (const sums of [this.#rows[step]!, this.#total]) {
      sums.clicks += clicks;
      sums.impressions += impressions;
    }
    this.#activeHours.add(hour);
    this.#users.merge(sketch);
    let users = this.#open.get(step);
    if (users === undefined) {
      users = new Sketch();
      this.#open.set(step, users);
    }
    users.merge(sketch);
  }

  settleBefore(hour: number): void {
    for (const step of this.#open.keys()) if (this.#steps.endOf(step) <= hour) this.#settle(step);
  }

  #settle(step: number): void {
    this.#rows[step]!.uniqueUsers = this.#open.get(step)!.count();
    this.#open.delete(step);
  }

  /** Of each step. Once all is read. */
  rows(): readonly Readonly<Sums>[] {
    for (const step of this.#open.keys()) this.#settle(step);
    return this.#rows;
  }

  total(): Readonly<Sums> {
    return { ...this.#total, uniqueUsers: this.#users.count() };
  }

  /** Those that something was read of. */
  activeHours(): number[] {
    return [...this.#activeHours];
  }
}
