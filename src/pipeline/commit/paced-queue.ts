/**
 * The queue of unsent events: the batches that still accept events, and when the next one is due. Single events form
 * batches of their own; bulks are divided among others.
 *
 * Invariants:
 * - Each group of a batch has exactly one waiter, shared by all requests with an event in it.
 * - When both wait, single events and bulks take turns, so neither waits for more than one batch of the other.
 * - A batch of bulks is assembled just before it is sent, so that small bulks share one and a large one delays others
 *   by at most one batch.
 * - Bulks are counted apart from single events: however many there are, they never use up the room of single events.
 * - No event in this queue was ever sent.
 */
import { BatchBuilder, type Event, type Group } from "../../domain/event.ts";
import type { Outcome, Refusal } from "../../domain/refusal-reasons.ts";
import type { Clock } from "../../runtime/clock.ts";

/** Events in one batch. A larger one would block Redis, which is single-threaded, for milliseconds. */
const BATCH_MAX_EVENTS = 2_000;
/** Streams and hours in one batch of bulks. Each costs Redis as much as ten events. */
const BULK_MAX_GROUPS = 250;
/** Beyond this size, a larger batch makes an event less than a tenth cheaper. */
const ENOUGH_EVENTS = 64;
/** Intervals of credit that a quiet moment can earn. */
const CREDIT_MAX = 4;
/** Of an interval: so little is not waited for. A sleep and the reading of what has arrived end no more exactly. */
const LEEWAY_SHARE = 0.125;
/** Waits that are slept through after one that was watched. */
const SLEEPS = 15;
/** A clock may tell the same time twice. */
const TIME_MIN_MS = 0.001;
/** A busy thread reads many events each time it wakes up anyway. */
const BUSY_SHARE_MAX = 0.6;

/** The events of one bulk in one group: `count` adjacent ones from `start`. */
export interface Part {
  start: number;
  count: number;
  /** How many were already stored under their id. */
  duplicates: number;
}

interface Waiter {
  readonly promise: Promise<Outcome>;
  readonly resolve: (outcome: Outcome) => void;
  /** Sorted by ascending start; empty except in a batch of bulks. */
  readonly parts: Part[];
}

/** It consists of single events or of bulks; only bulks learn how many of their events were duplicates. */
export class OpenBatch {
  readonly builder = new BatchBuilder();
  /** Monotonic time of its first event. */
  readonly openedMs: number;
  readonly isOfBulks: boolean;
  readonly #waiters = new Map<Group, Waiter>();
  #lastGroup: Group | undefined;
  #lastWaiter: Waiter | undefined;

  constructor(openedMs: number, isOfBulks = false) {
    this.openedMs = openedMs;
    this.isOfBulks = isOfBulks;
  }

  add(event: Event): Promise<Outcome> {
    return this.#waiterOf(this.builder.add(event)).promise;
  }

  addGroup(group: Group, waiter: Waiter): void {
    const target = this.builder.addGroup(group);
    const own = this.#waiterOf(target);
    const firstStart = target.users.length - group.users.length;
    for (const part of waiter.parts) {
      part.start += firstStart;
      own.parts.push(part);
    }
    void own.promise.then(waiter.resolve);
  }

  /** Begins a part at the last added event, which must be in this group. The caller maintains the count. */
  openPart(group: Group): Part {
    const part = { start: group.users.length - 1, count: 0, duplicates: 0 };
    this.#waiterOf(group).parts.push(part);
    return part;
  }

  outcomeOf(group: Group): Promise<Outcome> {
    return this.#waiterOf(group).promise;
  }

  /** Adds the duplicates to their parts. `ordinals` number the events of these groups, ascending. */
  noteDuplicates(groups: readonly Group[], ordinals: readonly number[]): void {
    let next = 0;
    let firstOrdinal = 0;
    for (const group of groups) {
      const { parts } = this.#waiterOf(group);
      let at = 0;
      const end = firstOrdinal + group.users.length;
      for (; next < ordinals.length && ordinals[next]! < end; next++) {
        const place = ordinals[next]! - firstOrdinal;
        while (at < parts.length && place >= parts[at]!.start + parts[at]!.count) at += 1;
        if (at < parts.length) parts[at]!.duplicates += 1;
      }
      firstOrdinal = end;
    }
  }

  #waiterOf(group: Group): Waiter {
    if (group === this.#lastGroup) return this.#lastWaiter!;
    let waiter = this.#waiters.get(group);
    if (waiter === undefined) {
      waiter = { ...Promise.withResolvers<Outcome>(), parts: [] };
      this.#waiters.set(group, waiter);
    }
    this.#lastGroup = group;
    this.#lastWaiter = waiter;
    return waiter;
  }

  /** Takes out the waiter of a group that another batch will commit. */
  take(group: Group): Waiter {
    const waiter = this.#waiters.get(group)!;
    this.#waiters.delete(group);
    return waiter;
  }

  resolve(outcome: Outcome): void {
    for (const waiter of this.#waiters.values()) waiter.resolve(outcome);
    this.#waiters.clear();
  }
}

/** The events of one request with many. */
interface WaitingBulk {
  /** How many of them are in no batch yet. */
  readonly restCount: number;
  /** Moves events into the batch until it is full or none is left. */
  moveInto(batch: OpenBatch, maxEvents: number, maxGroups: number): void;
  refuseRest(refusal: Refusal): void;
}

export class PacedQueue {
  readonly #clock: Clock;
  readonly #pace: CommitPace;
  readonly #onWork: () => void;
  readonly #batches: OpenBatch[] = [];
  readonly #bulks: WaitingBulk[] = [];
  /** Pieces of bulks whose hour had to be fetched first. */
  readonly #hydrated: { readonly group: Group; readonly waiter: Waiter }[] = [];
  singleEvents = 0;
  bulkEvents = 0;
  #isTurnOfBulks = false;

  /** `intervalMs`: see CommitPace. `onWork` is called when events may wait unnoticed. */
  constructor(clock: Clock, intervalMs: number, onWork: () => void) {
    this.#clock = clock;
    this.#pace = new CommitPace(intervalMs, () => clock.threadBusyMs());
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

  /** Says that the next batch waits, and answers whether the thread may sleep meanwhile. */
  maySleep(): boolean {
    return this.#pace.maySleep(this.#clock.monotonicMs());
  }

  /** Records how many events the last batch has answered. */
  answered(events: number): void {
    this.#pace.answered(events, this.events);
  }

  add(event: Event): Promise<Outcome> {
    this.singleEvents += 1;
    return this.#openBatch().add(event);
  }

  push(bulk: WaitingBulk): void {
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
    const { events } = this;
    const batch = this.#isTurnOfBulks
      ? (this.#takeBulks(nowMs) ?? this.#takeSingles())
      : (this.#takeSingles() ?? this.#takeBulks(nowMs));
    this.#isTurnOfBulks = batch?.isOfBulks === false;
    if (batch !== undefined) this.#pace.started(nowMs, events);
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
 * Each event that arrives during a wait would wake the thread, which costs more than all that is done for it. So the
 * thread sleeps through most waits, and reads together what has arrived. It stays awake through every 16th, and sleeps
 * on only if a sleep would have delayed nobody: if the wait was not cut short by enough events, and the thread is idle
 * for most of the time.
 *
 * Invariant: no event waits longer than the interval, except for a commit in flight.
 */
export class CommitPace {
  readonly #intervalMs: number;
  readonly #threadBusyMs: () => number;
  /** The further in the past it is, the more credit there is. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #enoughEvents = 1;
  /** When the last commit started, and the thread's CPU time then. */
  #last = { startedMs: 0, busyMs: 0 };
  /** Since when the next commit waits, if the thread stays awake. */
  #watchedMs: number | undefined;
  /** Of the thread's time, on average between the starts of commits that waited awake. */
  #busyShare = 1;
  #isAsleep = false;
  #sleepsLeft = 0;

  /** If `intervalMs` is 0, every commit starts at once. `threadBusyMs`: CPU time that the thread has used. */
  constructor(intervalMs: number, threadBusyMs: () => number) {
    this.#intervalMs = intervalMs;
    this.#threadBusyMs = threadBusyMs;
  }

  /** How long the next commit should wait. At most 0: it may start. */
  waitMs(nowMs: number, waitingEvents: number): number {
    const leftMs = this.#dueMs - nowMs;
    return waitingEvents >= this.#enoughEvents || leftMs < this.#intervalMs * LEEWAY_SHARE ? 0 : leftMs;
  }

  /** Says that the next commit waits, and answers whether the thread may sleep meanwhile. */
  maySleep(nowMs: number): boolean {
    this.#isAsleep ||= this.#watchedMs === undefined && this.#sleepsLeft > 0;
    if (!this.#isAsleep) this.#watchedMs ??= nowMs;
    return this.#isAsleep;
  }

  started(nowMs: number, waitingEvents: number): void {
    const busyMs = this.#threadBusyMs();
    // As many as were answered: maybe all clients have been waiting.
    if (this.#isAsleep) this.#sleepsLeft = waitingEvents === this.#enoughEvents ? 0 : this.#sleepsLeft - 1;
    if (this.#watchedMs !== undefined) {
      const isCutShort = this.#dueMs - nowMs > nowMs - this.#watchedMs;
      const busyShare = (busyMs - this.#last.busyMs) / Math.max(nowMs - this.#last.startedMs, TIME_MIN_MS);
      this.#busyShare += (Math.min(1, busyShare) - this.#busyShare) / 4;
      this.#sleepsLeft = isCutShort || this.#busyShare > BUSY_SHARE_MAX ? 0 : SLEEPS;
    }
    this.#isAsleep = false;
    this.#watchedMs = undefined;
    this.#last = { startedMs: nowMs, busyMs };
    const earliestMs = nowMs - CREDIT_MAX * this.#intervalMs;
    this.#dueMs = Math.min(Math.max(this.#dueMs, earliestMs), nowMs) + this.#intervalMs;
  }

  /** A commit has answered `events` events, while `waitingEvents` already wait for the next. */
  answered(events: number, waitingEvents: number): void {
    this.#enoughEvents = events === 1 ? ENOUGH_EVENTS : Math.min(ENOUGH_EVENTS, events + waitingEvents);
  }
}
