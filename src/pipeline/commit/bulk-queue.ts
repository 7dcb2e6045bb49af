/**
 * Bulks that wait to be committed, and the pieces of them whose hour had to be fetched first.
 *
 * Invariants:
 * - A batch is made of them only when it is about to be sent, so that small bulks share one and a large one
 *   never delays others by more than one batch.
 * - Counted apart from single events: however many bulks come, they never use up the room of those.
 */
import type { Group } from "../../domain/batch.ts";
import type { Bulk } from "./bulk.ts";
import { OpenBatch, type Refusal, type Waiter } from "./open-batch.ts";

/** Of one batch. */
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
  #waitingEvents = 0;

  constructor(limits: BatchLimits) {
    this.#limits = limits;
  }

  get waitingEvents(): number {
    return this.#waitingEvents;
  }

  push(bulk: Bulk): void {
    this.#waitingEvents += bulk.restCount;
    this.#bulks.push(bulk);
  }

  /** The hour of these is held now. They go first: they have waited the longest. */
  readmit(group: Group, waiter: Waiter): void {
    this.#waitingEvents += group.users.length;
    this.#hydrated.push({ group, waiter });
  }

  /** The next batch, opened at `nowMs`, or undefined if nothing waits. */
  take(nowMs: number): OpenBatch | undefined {
    if (this.#waitingEvents === 0) return undefined;
    const { maxEvents, maxGroups } = this.#limits;
    const batch = new OpenBatch(nowMs, true);
    const { builder } = batch;
    const isFull = () => builder.eventCount >= maxEvents || builder.groups.length >= maxGroups;
    while (this.#hydrated.length > 0 && !isFull()) {
      const { group, waiter } = this.#hydrated[0]!;
      if (builder.eventCount > 0 && builder.eventCount + group.users.length > maxEvents) break;
      this.#hydrated.shift();
      batch.addGroup(group, waiter);
    }
    while (this.#bulks.length > 0 && !isFull()) {
      const bulk = this.#bulks[0]!;
      bulk.moveInto(batch, maxEvents, maxGroups);
      if (bulk.restCount === 0) this.#bulks.shift();
    }
    this.#waitingEvents -= builder.eventCount;
    return batch;
  }

  refuseAll(refusal: Refusal): void {
    this.#waitingEvents = 0;
    for (const { waiter } of this.#hydrated.splice(0)) waiter.resolve(refusal);
    for (const bulk of this.#bulks.splice(0)) bulk.refuseRest(refusal);
  }
}
