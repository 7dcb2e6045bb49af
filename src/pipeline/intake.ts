/**
 * The events of a batch that is not committed yet, and those who wait for its outcome.
 * Invariant: each group of the batch has exactly one waiter, which all requests with an event in it share.
 */
import { type Batch, BatchBuilder, type Group } from "../count/batch.ts";
import type { Event } from "../count/event.ts";
import type { RefusalReason } from "../count/ledger.ts";

/** Why events were not taken, and when to come again. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly retryAfterS: number;
}

/** Undefined: the event is stored, now or (by its id) since earlier. */
export type Outcome = Refusal | undefined;

export interface Waiter {
  readonly promise: Promise<Outcome>;
  readonly resolve: (outcome: Outcome) => void;
}

export class Intake {
  readonly builder = new BatchBuilder();
  /** performance.now() of its first event. */
  readonly openedMs: number;
  readonly #waiters = new Map<Group, Waiter>();
  #lastGroup: Group | undefined;
  #lastWaiter: Waiter | undefined;

  constructor(openedMs: number) {
    this.openedMs = openedMs;
  }

  add(event: Event): Promise<Outcome> {
    return this.#waiterOf(this.builder.add(event)).promise;
  }

  /** Takes in a group of another intake, with those who wait for it. */
  addGroup(group: Group, waiter: Waiter): void {
    const own = this.#waiterOf(this.builder.addGroup(group));
    void own.promise.then(waiter.resolve);
  }

  #waiterOf(group: Group): Waiter {
    if (group === this.#lastGroup) return this.#lastWaiter!;
    let waiter = this.#waiters.get(group);
    if (waiter === undefined) {
      waiter = Promise.withResolvers<Outcome>();
      this.#waiters.set(group, waiter);
    }
    this.#lastGroup = group;
    this.#lastWaiter = waiter;
    return waiter;
  }

  /** For groups that go another way: their waiters are taken out with them. */
  take(group: Group): Waiter {
    const waiter = this.#waiters.get(group)!;
    this.#waiters.delete(group);
    return waiter;
  }

  /** Tells all that still wait here. */
  resolve(outcome: Outcome): void {
    for (const waiter of this.#waiters.values()) waiter.resolve(outcome);
    this.#waiters.clear();
  }
}

/** A batch on its way to the hot store: an intake's, or part of one, or orphans (nobody waits for those). */
export interface Sending {
  batch: Batch;
  readonly intake: Intake | undefined;
  /** True once it may have been applied under the present seq: it must not be changed or sent under another. */
  isInDoubt: boolean;
}
