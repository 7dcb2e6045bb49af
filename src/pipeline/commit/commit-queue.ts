/**
 * The queue of unsent events, and when its next batch is due. Single events form batches; bulks are divided among some.
 *
 * Invariants:
 * - When both wait, single events and bulks take turns, so neither waits for more than one batch of the other.
 * - A batch of bulks is assembled just before it is sent, so that small bulks share one and a large one delays others
 *   by at most one batch.
 * - Bulks are counted apart from single events: however many there are, they never use up the room of single events.
 * - No event in this queue was ever sent.
 */
import type { Group } from "../../domain/batch.ts";
import type { Event } from "../../domain/event.ts";
import type { Outcome, Refusal } from "../../domain/refusal-reasons.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Bulk } from "./bulk.ts";
import { OpenBatch, type Waiter } from "./open-batch.ts";

/** Events in one batch. A larger one would block Redis, which is single-threaded, for milliseconds. */
const BATCH_MAX_EVENTS = 2_000;
/** Streams and hours in one batch of bulks. Each costs Redis as much as ten events. */
const BULK_MAX_GROUPS = 250;
/** Beyond this size, a larger batch makes an event less than a tenth cheaper. */
const ENOUGH_EVENTS = 64;
/** Intervals of credit that a quiet moment can earn. */
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

  /** `intervalMs`: see CommitPace. `onWork` is called when events may wait unnoticed. */
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

  /** How long the next batch should wait. At most 0: it may be sent. */
  get waitMs(): number {
    return this.#pace.waitMs(this.#clock.monotonicMs(), this.events);
  }

  /** Records how many events the last batch has answered. */
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

  /** Queues a group whose hour had to be fetched first. */
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

  /** Closes and returns the next batch; undefined if nothing waits. */
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
 * Decides when the next commit may start. A commit costs as much as 20 events, and a disk or Redis can do only so many
 * a second, so under load commits start one interval apart on average.
 *
 * Waiting pays only while events keep arriving. A commit therefore starts at once
 * - after a quiet moment, which earns a few commits without a wait;
 * - when enough events wait to spread its cost over them;
 * - when as many events have arrived since the last answers as there were answers: clients that send one event at a
 *   time have all sent their next one, and send no more before they are answered. (A single answer is no such sign: any
 *   one event would be enough.)
 *
 * Invariant: no event waits longer than the interval, except for a commit in flight.
 */
export class CommitPace {
  readonly #intervalMs: number;
  /** The further in the past it is, the more credit there is. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #enoughEvents = 1;

  /** With `intervalMs` 0 every commit starts at once. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  started(nowMs: number): void {
    const earliestMs = nowMs - CREDIT_MAX * this.#intervalMs;
    this.#dueMs = Math.min(Math.max(this.#dueMs, earliestMs), nowMs) + this.#intervalMs;
  }

  /** A commit has answered `events` events, while `waitingEvents` already wait for the next. */
  answered(events: number, waitingEvents: number): void {
    this.#enoughEvents = events === 1 ? ENOUGH_EVENTS : Math.min(ENOUGH_EVENTS, events + waitingEvents);
  }

  /** How long the next commit should wait. At most 0: it may start. */
  waitMs(nowMs: number, waitingEvents: number): number {
    return waitingEvents >= this.#enoughEvents ? 0 : this.#dueMs - nowMs;
  }
}
