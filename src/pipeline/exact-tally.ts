/**
 * What the rows of a range come to, with every user told from every other: as many are in memory as there are.
 * Invariant: rows come by hour, so that only one step's users are kept beside those of all.
 */
import type { Steps } from "../count/steps.ts";
import type { ErasedHour, UserRow } from "../store/cold.ts";
import { noSums, type Sums } from "./series-tally.ts";

export class ExactTally {
  readonly #steps: Steps;
  readonly #rows: Sums[];
  readonly #total = noSums();
  readonly #users = new Set<string>();
  readonly #usersOfStep = new Set<string>();
  #step = -1;

  constructor(steps: Steps) {
    this.#steps = steps;
    this.#rows = Array.from(steps.starts, noSums);
  }

  add({ hour, kind, user }: UserRow): void {
    const step = this.#steps.indexOf(hour);
    if (step !== this.#step) this.#usersOfStep.clear();
    this.#step = step;
    this.#usersOfStep.add(user);
    this.#users.add(user);
    const row = this.#rows[step]!;
    row.uniqueUsers = this.#usersOfStep.size;
    for (const sums of [row, this.#total]) {
      if (kind === "click") sums.clicks += 1;
      else sums.impressions += 1;
    }
  }

  /** Of events whose users are not known any more. */
  addErased({ hour, clicks, impressions }: ErasedHour): void {
    for (const sums of [this.#rows[this.#steps.indexOf(hour)]!, this.#total]) {
      sums.clicks += clicks;
      sums.impressions += impressions;
    }
  }

  rows(): readonly Readonly<Sums>[] {
    return this.#rows;
  }

  total(): Readonly<Sums> {
    return { ...this.#total, uniqueUsers: this.#users.size };
  }
}
