/**
 * The sums of a range by its rows, with users counted exactly: all of them are in memory.
 * Invariant: rows come by hour, so that only one step's users are held beside those of the whole range.
 */
import type { Kind } from "../../domain/event.ts";
import type { Steps } from "../../domain/steps.ts";
import type { UserCounts } from "../../domain/unique-users/user-sketches.ts";
import type { ErasedHour } from "../../store/cold/erasure-store.ts";
import type { UserRow } from "../../store/cold/read-store.ts";
import { noSums, type Sums } from "./series-tally.ts";

const KIND_BITS: Readonly<Record<Kind, number>> = { click: 1, impression: 2 };

/** The distinct users of the events that it is given, in all and by kind. */
class Users {
  readonly #kinds = new Map<string, number>();
  readonly #countOf: Record<Kind, number> = { click: 0, impression: 0 };

  add(user: string, kind: Kind): void {
    const kinds = this.#kinds.get(user) ?? 0;
    if ((kinds & KIND_BITS[kind]) !== 0) return;
    this.#kinds.set(user, kinds | KIND_BITS[kind]);
    this.#countOf[kind] += 1;
  }

  clear(): void {
    this.#kinds.clear();
    this.#countOf.click = 0;
    this.#countOf.impression = 0;
  }

  get counts(): UserCounts {
    const { click, impression } = this.#countOf;
    return { uniqueUsers: this.#kinds.size, uniqueClickers: click, uniqueViewers: impression };
  }
}

export class ExactTally {
  readonly #steps: Steps;
  readonly #rows: Sums[];
  readonly #total = noSums();
  readonly #users = new Users();
  readonly #usersOfStep = new Users();
  #step = -1;

  constructor(steps: Steps) {
    this.#steps = steps;
    this.#rows = Array.from(steps.starts, noSums);
  }

  add({ hour, kind, user }: UserRow): void {
    const step = this.#steps.indexOf(hour);
    if (step !== this.#step) this.#settle();
    this.#step = step;
    this.#usersOfStep.add(user, kind);
    this.#users.add(user, kind);
    for (const sums of [this.#rows[step]!, this.#total]) {
      if (kind === "click") sums.clicks += 1;
      else sums.impressions += 1;
    }
  }

  /** Erased events, whose users are unknown. */
  addErased({ hour, clicks, impressions }: ErasedHour): void {
    for (const sums of [this.#rows[this.#steps.indexOf(hour)]!, this.#total]) {
      sums.clicks += clicks;
      sums.impressions += impressions;
    }
  }

  #settle(): void {
    const row = this.#rows[this.#step];
    if (row !== undefined) Object.assign(row, this.#usersOfStep.counts);
    this.#usersOfStep.clear();
    this.#step = -1;
  }

  /** Once everything is read. */
  rows(): readonly Readonly<Sums>[] {
    this.#settle();
    return this.#rows;
  }

  total(): Readonly<Sums> {
    return { ...this.#total, ...this.#users.counts };
  }
}
