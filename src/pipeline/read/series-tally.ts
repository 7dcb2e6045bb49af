/**
 * The sums of a range, by step and in total.
 * Invariants: a step's unique users, and the total's, are counted from the union of the hours' sketches, by kind. A
 * settled step keeps only its numbers: the sketches of 10,000 steps would take 320 MB. Steps that cut hours are settled
 * last: of those that also have whole hours, a range has at most 418.
 */
import type { HourRecord } from "../../domain/hour-range.ts";
import type { Steps } from "../../domain/time-steps.ts";
import { type UserCounts, UserSketches } from "../../domain/unique-users/sketch.ts";
import type { Tally } from "./range-reader.ts";

export interface Sums {
  clicks: number;
  impressions: number;
  uniqueUsers: number;
  uniqueClickers: number;
  /** Users with an impression. A user with both kinds counts in both numbers. */
  uniqueViewers: number;
}

/** The part of a step that lies in hours which it cuts. */
export interface StepPart {
  clicks: number;
  impressions: number;
  users: UserSketches | UserCounts;
}

/** "dead-letters": the database refused their rows. */
export type Lack = "not-flushed-yet" | "dead-letters" | "erased";

export interface Series {
  readonly rows: readonly Readonly<Sums>[];
  readonly total: Readonly<Sums>;
  /** Why events or users may be missing. */
  readonly lacks: Lack | undefined;
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
  readonly #activeHours = new Map<number, number>();

  constructor(steps: Steps) {
    this.#steps = steps;
    this.#rows = Array.from(steps.starts, noSums);
  }

  /** Notes only the number of events of an hour that a step cuts. */
  add({ hour, clicks, impressions, users }: HourRecord): void {
    const eventCount = clicks + impressions;
    // The hot store may hold an hour without any events.
    if (eventCount > 0) this.#activeHours.set(hour, (this.#activeHours.get(hour) ?? 0) + eventCount);
    const step = this.#steps.indexOfHour(hour);
    if (step === undefined) return;
    this.#count(step, { clicks, impressions });
    this.#users.merge(users);
    this.#addUsers(step, users);
  }

  /** `users`: those of all parts. */
  addParts(parts: ReadonlyMap<number, StepPart>, users: UserSketches): void {
    for (const [step, part] of parts) {
      this.#count(step, part);
      if (part.users instanceof UserSketches) this.#addUsers(step, part.users);
      else Object.assign(this.#rows[step]!, part.users);
    }
    this.#users.merge(users);
  }

  #addUsers(step: number, users: UserSketches): void {
    this.#open.getOrInsertComputed(step, () => new UserSketches()).merge(users);
  }

  #count(step: number, { clicks, impressions }: Pick<Sums, "clicks" | "impressions">): void {
    for (const sums of [this.#rows[step]!, this.#total]) {
      sums.clicks += clicks;
      sums.impressions += impressions;
    }
  }

  settleBefore(hour: number): void {
    for (const step of this.#open.keys()) {
      if (this.#steps.endOf(step) <= hour && this.#steps.isOfWholeHours(step)) this.#settle(step);
    }
  }

  #settle(step: number): void {
    Object.assign(this.#rows[step]!, this.#open.get(step)!.counts());
    this.#open.delete(step);
  }

  /** Call it once everything is read. */
  series(lacks: Series["lacks"]): Series {
    for (const step of this.#open.keys()) this.#settle(step);
    return { rows: this.#rows, total: this.total(), lacks };
  }

  total(): Readonly<Sums> {
    return { ...this.#total, ...this.#users.counts() };
  }

  activeHours(): number[] {
    return [...this.#activeHours.keys()];
  }

  /** Includes events outside the steps. */
  eventsOf(hours: readonly number[]): number {
    return hours.reduce((sum, hour) => sum + this.#activeHours.get(hour)!, 0);
  }
}
