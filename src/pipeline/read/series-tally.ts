/**
 * The sums of a range, step by step and in all.
 * Invariants: unique users of a step, and of the whole, are those of the union of the hours' sketches, kind by kind.
 * A step that is settled keeps its numbers alone: the sketches of 10,000 would take 320 MB.
 */
import type { HourRecord } from "../../domain/hour-range.ts";
import type { Steps } from "../../domain/steps.ts";
import { UserSketches } from "../../domain/unique-users/user-sketches.ts";
import type { Tally } from "./range-reader.ts";

export interface Sums {
  clicks: number;
  impressions: number;
  uniqueUsers: number;
  /** Users with a click. */
  uniqueClickers: number;
  /** Users with an impression. A user with both counts in both. */
  uniqueViewers: number;
}

export function noSums(): Sums {
  return { clicks: 0, impressions: 0, uniqueUsers: 0, uniqueClickers: 0, uniqueViewers: 0 };
}

export class SeriesTally implements Tally {
  readonly #steps: Steps;
  readonly #rows: Sums[];
  readonly #open = new Map<number, UserSketches>();
  readonly #users = new UserSketches();
  readonly #total = noSums();
  readonly #activeHours = new Set<number>();

  constructor(steps: Steps) {
    this.#steps = steps;
    this.#rows = Array.from(steps.starts, noSums);
  }

  add({ hour, clicks, impressions, users }: HourRecord): void {
    const step = this.#steps.indexOf(hour);
    for (const sums of [this.#rows[step]!, this.#total]) {
      sums.clicks += clicks;
      sums.impressions += impressions;
    }
    this.#activeHours.add(hour);
    this.#users.merge(users);
    let ofStep = this.#open.get(step);
    if (ofStep === undefined) {
      ofStep = new UserSketches();
      this.#open.set(step, ofStep);
    }
    ofStep.merge(users);
  }

  settleBefore(hour: number): void {
    for (const step of this.#open.keys()) if (this.#steps.endOf(step) <= hour) this.#settle(step);
  }

  #settle(step: number): void {
    Object.assign(this.#rows[step]!, this.#open.get(step)!.counts());
    this.#open.delete(step);
  }

  /** One a step, once everything is read. */
  rows(): readonly Readonly<Sums>[] {
    for (const step of this.#open.keys()) this.#settle(step);
    return this.#rows;
  }

  total(): Readonly<Sums> {
    return { ...this.#total, ...this.#users.counts() };
  }

  /** Hours that have events. */
  activeHours(): number[] {
    return [...this.#activeHours];
  }
}
