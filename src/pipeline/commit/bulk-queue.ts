/**
 * Bulks that wait to be committed, and the pieces of them whose hour had to be fetched first.
 *
 * Invariants:
 * - A batch is made of them only when it is about to be sent, so that small bulks share one and a large one
 *   is never in the way of others by more than one batch.
 * - Counted apart from single events: however many bulks come, they never use up the room of those.
 */
import type { Group } from "../../domain/batch.ts";
import type { Bulk } from "./bulk.ts";
import { Intake, type Refusal, type Waiter } from "./open-batch.ts";

/** What one batch takes. */
export interface BatchLimits {
  readonly maxEvents: number;
  readonly maxGroups: number;
}

interface Hydrated {
  readonly group: Group;
  readonly waiter: Waiter;
}

export class BulkQueue {
  readonly #limits: BatchLimits;
  readonly #bulks: Bulk[] = [];
  readonly #hydrated: Hydrated[] = [];
  #queuedEvents = 0;
  /** In groups whose hours are being fetched. */
  parkedEvents = 0;

  constructor(limits: BatchLimits) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#queuedEvents === 0;
  }

  /** All that wait, but for those that are in a batch already. */
  get waitingEvents(): number {
    return this.#queuedEvents + this.parkedEvents;
  }

  push(bulk: Bulk): void {
    this.#queuedEvents += bulk.restCount;
    this.#bulks.push(bulk);
  }

  /** The hour of these is there now. They go first: they have waited the longest. */
  readmit(group: Group, waiter: Waiter): void {
    this.#queuedEvents += group.users.length;
    this.#hydrated.push({ group, waiter });
  }

  /** The next batch, opened at `nowMs`, or undefined if nothing waits. */
  take(nowMs: number): Intake | undefined {
    if (this.isEmpty) return undefined;
    const { maxEvents, maxGroups } = this.#limits;
    const intake = new Intake(nowMs, true);
    const { builder } = intake;
    const isFull = () => builder.eventCount >= maxEvents || builder.groups.length >= maxGroups;
    while (this.#hydrated.length > 0 && !isFull()) {
      const { group, waiter } = this.#hydrated[0]!;
      if (builder.eventCount > 0 && builder.eventCount + group.users.length > maxEvents) break;
      this.#hydrated.shift();
      intake.addGroup(group, waiter);
    }
    while (this.#bulks.length > 0 && !isFull()) {
      const bulk = this.#bulks[0]!;
      bulk.moveInto(intake, maxEvents, maxGroups);
      if (bulk.restCount === 0) this.#bulks.shift();
    }
    this.#queuedEvents -= builder.eventCount;
    return intake;
  }

  /** Refuses all that are queued; answers how many events that were. */
  refuseAll(refusal: Refusal): number {
    const count = this.#queuedEvents;
    this.#queuedEvents = 0;
    for (const { waiter } of this.#hydrated.splice(0)) waiter.resolve(refusal);
    for (const bulk of this.#bulks.splice(0)) bulk.refuseRest(refusal);
    return count;
  }
}
