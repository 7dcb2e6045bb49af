/**
 * Events that wait to be sent: single ones, which form the next batch, and bulks, which are divided among batches. And
 * when the next batch is due.
 *
 * Invariants:
 * - Single events and bulks take turns when both wait, so that neither waits for more than one batch of the other.
 * - A batch of bulks is made only when it is about to be sent, so that small bulks share one and a large one never
 *   delays others by more than one batch.
 * - Bulks are counted apart from single events: however many come, they never use up the room of those.
 * - What is in here was never sent.
 */

import type { Group } from "../../domain/batch.ts";
import type { Event } from "../../domain/event.ts";
import type { Outcome, Refusal } from "../../domain/refusal-reasons.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Bulk } from "./bulk.ts";
import { OpenBatch, type Waiter } from "./open-batch.ts";

/** Events in one batch: above that Redis, which does nothing else meanwhile, would be busy for milliseconds. */
const BATCH_MAX_EVENTS = 2_000;
/** Streams and hours in one batch of bulks: each costs Redis as much as ten events. */
const BULK_MAX_GROUPS = 250;
/** From here on a larger batch makes an event cheaper by less than a tenth. */
const ENOUGH_EVENTS = 64;
/** Earned by a quiet moment, in intervals. */
const CREDIT_MAX = 4;

export class CommitQueue {
  readonly #clock: Clock;
  readonly #pace: CommitPace;
  readonly #onWork: () => void;
  readonly #batches: OpenBatch[] = [];
  readonly #bulks: Bulk[] = [];
  /** Pieces of bulks whose hour had to be fetched first. */
  readonly #hydrated: { readonly group: Group; readonly waiter: Waiter }[] = [];
  singleEvents = 0;
  bulkEvents = 0;
  #isTurnOfBulks = false;

  /** `intervalMs`: as CommitPace takes it. `onWork`: called when something waits that nobody may have noticed. */
  constructor(clock: Clock, intervalMs: number, onWork: () => void) {
    this.#clock = clock;
    this.#pace = new CommitPace(intervalMs);
    this.#onWork = onWork;
  }

  get events(): number {
    return this.singleEvents + this.bulkEvents;
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0 && this.bulkEvents === 0;
  }

  /** How long the next batch should wait; at most 0: it may be sent. */
  get waitMs(): number {
    return this.#pace.waitMs(this.#clock.monotonicMs(), this.events);
  }

  /** The last batch has answered so many events. */
  answered(events: number): void {
    this.#pace.answered(events, this.events);
  }

  add(event: Event): Promise<Outcome> {
    this.singleEvents += 1;
    return this.#openBatch().add(event);
  }

  push(bulk: Bulk): void {
    this.bulkEvents += bulk.restCount;
    this.#bulks.push(bulk);
    this.#onWork();
  }

  /** A group whose hour had to be fetched first. */
  readmit(group: Group, waiter: Waiter, isOfBulks: boolean): void {
    if (isOfBulks) {
      this.bulkEvents += group.users.length;
      this.#hydrated.push({ group, waiter });
      this.#onWork();
      return;
    }
    this.singleEvents += group.users.length;
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
    const nowMs = this.#clock.monotonicMs();
    const batch = this.#isTurnOfBulks
      ? (this.#takeBulks(nowMs) ?? this.#takeSingles())
      : (this.#takeSingles() ?? this.#takeBulks(nowMs));
    this.#isTurnOfBulks = batch?.isOfBulks === false;
    if (batch !== undefined) this.#pace.started(nowMs);
    return batch;
  }

  #takeSingles(): OpenBatch | undefined {
    const batch = this.#batches.shift();
    this.singleEvents -= batch?.builder.eventCount ?? 0;
    return batch;
  }

  #takeBulks(nowMs: number): OpenBatch | undefined {
    if (this.bulkEvents === 0) return undefined;
    const batch = new OpenBatch(nowMs, true);
    const { builder } = batch;
    const isFull = () => builder.eventCount >= BATCH_MAX_EVENTS || builder.groups.length >= BULK_MAX_GROUPS;
    // Hydrated pieces go first: they have waited the longest.
    while (this.#hydrated.length > 0 && !isFull()) {
      const { group, waiter } = this.#hydrated[0]!;
      if (builder.eventCount > 0 && builder.eventCount + group.users.length > BATCH_MAX_EVENTS) break;
      this.#hydrated.shift();
      batch.addGroup(group, waiter);
    }
    while (this.#bulks.length > 0 && !isFull()) {
      const bulk = this.#bulks[0]!;
      bulk.moveInto(batch, BATCH_MAX_EVENTS, BULK_MAX_GROUPS);
      if (bulk.restCount === 0) this.#bulks.shift();
    }
    this.bulkEvents -= builder.eventCount;
    return batch;
  }

  refuseAll(refusal: Refusal): void {
    this.singleEvents = 0;
    this.bulkEvents = 0;
    for (const batch of this.#batches.splice(0)) batch.resolve(refusal);
    for (const { waiter } of this.#hydrated.splice(0)) waiter.resolve(refusal);
    for (const bulk of this.#bulks.splice(0)) bulk.refuseRest(refusal);
  }
}

/**
 * When the next commit may start. A commit costs as much as 20 events, and a disk or a Redis can do only so many per
 * second; so under load commits start an interval apart, on average.
 *
 * Waiting pays only while events keep arriving. A commit therefore starts at once
 * - after a quiet moment, which earns a few commits without a wait;
 * - when enough events wait that its cost is spread over them;
 * - when as many events have arrived since the last answers as there were answers: clients that send one event after
 *   the other have all sent their next one, and send no more before they are answered. (Of a single answer that says
 *   nothing: the next event, whoever sends it, would be enough.)
 *
 * Invariant: nothing waits for longer than the interval, except for a commit in flight.
 */
export class CommitPace {
  readonly #intervalMs: number;
  /** When the next commit is due. The further it is in the past, the more credit there is. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #enoughEvents = 1;

  /** `intervalMs`: 0 lets each commit start at once. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  started(nowMs: number): void {
    const earliestMs = nowMs - CREDIT_MAX * this.#intervalMs;
    this.#dueMs = Math.min(Math.max(this.#dueMs, earliestMs), nowMs) + this.#intervalMs;
  }

  /** A commit has answered so many events, while others already wait for the next one. */
  answered(events: number, waitingEvents: number): void {
    this.#enoughEvents = events === 1 ? ENOUGH_EVENTS : Math.min(ENOUGH_EVENTS, events + waitingEvents);
  }

  /** How long the next commit should wait; at most 0: it may start. */
  waitMs(nowMs: number, waitingEvents: number): number {
    return waitingEvents >= this.#enoughEvents ? 0 : this.#dueMs - nowMs;
  }
}
