/**
 * Events that wait to be sent: single ones, which form the next batch, and bulks.
 *
 * Invariant: single events and bulks take turns when both wait, so that neither waits for more than one batch of the
 * other. What is in here was never sent.
 */
import type { Group } from "../../domain/batch.ts";
import type { Event } from "../../domain/event.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Bulk } from "./bulk.ts";
import { BulkQueue } from "./bulk-queue.ts";
import { OpenBatch, type Outcome, type Refusal, type Waiter } from "./open-batch.ts";

/** Events in one batch: above that Redis, which does nothing else meanwhile, would be busy for milliseconds. */
const BATCH_MAX_EVENTS = 2_000;
/** Streams and hours in one batch of bulks: each costs Redis as much as ten events. */
const BULK_MAX_GROUPS = 250;

export class CommitQueue {
  readonly #clock: Clock;
  readonly #onWork: () => void;
  readonly #batches: OpenBatch[] = [];
  readonly #bulks = new BulkQueue({ maxEvents: BATCH_MAX_EVENTS, maxGroups: BULK_MAX_GROUPS });
  #singleEvents = 0;
  #isTurnOfBulks = false;

  /** `onWork`: called when something waits that nobody may have noticed. */
  constructor(clock: Clock, onWork: () => void) {
    this.#clock = clock;
    this.#onWork = onWork;
  }

  get singleEvents(): number {
    return this.#singleEvents;
  }

  get bulkEvents(): number {
    return this.#bulks.waitingEvents;
  }

  get events(): number {
    return this.#singleEvents + this.#bulks.waitingEvents;
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0 && this.#bulks.waitingEvents === 0;
  }

  add(event: Event): Promise<Outcome> {
    this.#singleEvents += 1;
    return this.#openBatch().add(event);
  }

  push(bulk: Bulk): void {
    this.#bulks.push(bulk);
    this.#onWork();
  }

  /** A group whose hour had to be fetched first. */
  readmit(group: Group, waiter: Waiter, isOfBulks: boolean): void {
    if (isOfBulks) {
      this.#bulks.readmit(group, waiter);
      this.#onWork();
      return;
    }
    this.#singleEvents += group.users.length;
    this.#openBatch().addGroup(group, waiter);
  }

  #openBatch(): OpenBatch {
    const last = this.#batches.at(-1);
    if (last !== undefined && last.builder.eventCount < BATCH_MAX_EVENTS) return last;
    const batch = new OpenBatch(this.#clock.monotonicMs());
    this.#batches.push(batch);
    this.#onWork();
    return batch;
  }

  /** The next batch, which takes no more events; undefined if nothing waits. */
  next(): OpenBatch | undefined {
    const batch = this.#isTurnOfBulks
      ? (this.#takeBulks() ?? this.#takeSingles())
      : (this.#takeSingles() ?? this.#takeBulks());
    this.#isTurnOfBulks = batch?.isOfBulks === false;
    return batch;
  }

  #takeSingles(): OpenBatch | undefined {
    const batch = this.#batches.shift();
    this.#singleEvents -= batch?.builder.eventCount ?? 0;
    return batch;
  }

  #takeBulks(): OpenBatch | undefined {
    return this.#bulks.take(this.#clock.monotonicMs());
  }

  /** Answers how many events that were. */
  refuseAll(refusal: Refusal): number {
    const count = this.#singleEvents + this.#bulks.waitingEvents;
    this.#singleEvents = 0;
    for (const batch of this.#batches.splice(0)) batch.resolve(refusal);
    this.#bulks.refuseAll(refusal);
    return count;
  }
}
