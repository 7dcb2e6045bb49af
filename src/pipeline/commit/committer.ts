/**
 * Group commit: events that arrive while a commit is under way form the next batch.
 *
 * Invariants:
 * - One batch is on its way at a time, and the seqs of a writer have no gaps.
 * - An event is answered as stored only after the hot store has said so.
 * - A batch in doubt (sent, not answered) is sent again unchanged until its deadline. Then its events are
 *   refused, and nothing else is sent before the store has confirmed that it will never count.
 * - A batch never waits for the cold store: events of hours that have to be fetched from there step aside.
 */

import { countEvents, type Group, PackedBatch, withoutGroups } from "../../domain/batch.ts";
import type { Event } from "../../domain/event.ts";
import type { Ledger, RefusalReason } from "../../domain/ledger.ts";
import { backoffMs } from "../../runtime/backoff.ts";
import type { Clock } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/deadline.ts";
import type { Log } from "../../runtime/log.ts";
import type { Metrics } from "../../runtime/metrics.ts";
import { Slots } from "../../runtime/slots.ts";
import { ColdUnavailableError } from "../../store/cold/errors.ts";
import { type CommitResult, type HotStore, HotUnavailableError } from "../../store/hot.ts";
import type { Flusher } from "../flush/flusher.ts";
import { Bulk, type BulkOutcome } from "./bulk.ts";
import { BulkQueue } from "./bulk-queue.ts";
import type { Hydrator } from "./hydrator.ts";
import { Intake, type Outcome, type Refusal, type Sending, type Waiter } from "./open-batch.ts";
import type { WriterIdentity } from "./writer-identity.ts";

export interface CommitterOptions {
  readonly hot: HotStore;
  readonly flusher: Flusher;
  readonly hydrator: Hydrator;
  readonly identity: WriterIdentity;
  readonly ledger: Ledger;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly journals: JournalBound;
}

/** Of what this process has committed and not flushed, in whatever shard. */
export interface JournalBound {
  /** True while no more is to be taken. */
  isFull(): boolean;
  /** How long it will take until there is room: 1 to 60 s. */
  drainS(): number;
}

/** The 503 of a store that is away is to be out within a second. */
const COMMIT_DEADLINE_MS = 900;
/** For an event whose hour has to be fetched from the cold store first. */
const HYDRATION_DEADLINE_MS = 3_000;
/** Events in one batch: above that Redis, which does nothing else meanwhile, would be busy for milliseconds. */
const BATCH_MAX_EVENTS = 2_000;
/** Events not committed yet. Each holds a connection, so that this is rarely what is met first. */
const WAITING_MAX_EVENTS = 20_000;
/** Streams and hours in one batch of bulks: each costs Redis as much as ten events. */
const BULK_MAX_GROUPS = 250;
/** Events of bulks not committed yet, over which no more bulks are taken: 10 of the largest. */
const BULKS_WAITING_MAX_EVENTS = 100_000;
/** For bulks, which may hold any number of hours; single events and reads need the cold store meanwhile. */
const BULK_HYDRATIONS_MAX = 8;
const RETRY_FIRST_MS = 10;
const RETRY_MAX_MS = 500;
const STOP_POLL_MS = 5;

export class Committer {
  readonly #options: CommitterOptions;
  readonly #queue: Intake[] = [];
  readonly #bulks = new BulkQueue({ maxEvents: BATCH_MAX_EVENTS, maxGroups: BULK_MAX_GROUPS });
  readonly #bulkHydrations = new Slots(BULK_HYDRATIONS_MAX, Number.POSITIVE_INFINITY);
  /** Whose turn it is when both wait, so that neither waits for more than one batch of the other. */
  #isTurnOfBulks = false;
  #waitingEvents = 0;
  #parkedEvents = 0;
  #sending: Sending | undefined;
  /** The seq that `#sending`, or else the next batch, goes under. */
  #seq = 1;
  #isDoubtRefused = false;
  #running: Promise<void> | undefined;
  #isScheduled = false;
  #failures = 0;
  #awayReason: RefusalReason | undefined = "hot_store_away";
  #lastError: string | undefined;
  #cancelRetry = () => {};
  #isStopping = false;
  #isStopped = false;

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Why no event is taken now; undefined if they are. */
  get refusal(): RefusalReason | undefined {
    if (this.#isStopping) return "shutting_down";
    if (this.#awayReason !== undefined) return this.#awayReason;
    if (this.#options.journals.isFull()) return "journal_full";
    if (this.#waitingEvents + this.#parkedEvents >= WAITING_MAX_EVENTS) return "overloaded";
    return undefined;
  }

  /** What the last commit failed by. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** True while the hot store may lack events of this process that were acknowledged: it has lost data. */
  get isRecovering(): boolean {
    return this.#options.identity.isLost || this.orphanEvents > 0;
  }

  /** Acknowledged, in no store, and to be committed again. */
  get orphanEvents(): number {
    const sending = this.#sending?.intake === undefined ? this.#sending?.batch.eventCount : 0;
    return countEvents(this.#options.identity.orphans) + (sending ?? 0);
  }

  /** Answers when it was tried to take up a writer: it goes on trying by itself. */
  async start(): Promise<void> {
    this.kick();
    await this.#running;
  }

  /** Never rejects. */
  submit(event: Event): Promise<Outcome> {
    const reason = this.refusal;
    if (reason !== undefined) {
      this.#options.ledger.refused[reason] += 1;
      return Promise.resolve(this.#refusal(reason));
    }
    this.#waitingEvents += 1;
    return this.#openIntake().add(event);
  }

  /**
   * Never rejects. The events go into batches of their own, in turns with those of single events. Either all
   * are taken or none; after that a store that goes away can still refuse a part.
   */
  submitAll(events: readonly Event[]): Promise<BulkOutcome> {
    const bulk = new Bulk(events);
    const reason = this.#bulkRefusal;
    if (reason !== undefined) {
      this.#options.ledger.refused[reason] += events.length;
      bulk.refuseRest(this.#refusal(reason));
    } else if (events.length > 0) {
      this.#bulks.push(bulk);
      this.#schedule();
    }
    return bulk.outcome;
  }

  get #bulkRefusal(): RefusalReason | undefined {
    const isFull = this.#bulks.waitingEvents >= BULKS_WAITING_MAX_EVENTS;
    return this.refusal ?? (isFull ? "overloaded" : undefined);
  }

  #openIntake(): Intake {
    const last = this.#queue.at(-1);
    if (last !== undefined && last.builder.eventCount < BATCH_MAX_EVENTS) return last;
    const intake = new Intake(this.#options.clock.monotonicMs());
    this.#queue.push(intake);
    this.#schedule();
    return intake;
  }

  /** The batch closes at the end of the tick, so that all requests that came with this one are in it. */
  #schedule(): void {
    if (this.#running !== undefined || this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.clock.atTurnEnd(() => {
      this.#isScheduled = false;
      this.kick();
    });
  }

  /** Makes the loop look for work: a lost writer, a doubt, a batch. */
  kick(): void {
    if (this.#running !== undefined || this.#isStopped) return;
    this.#cancelRetry();
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      const isAnyWaiting = this.#queue.length > 0 || !this.#bulks.isEmpty;
      if (isAnyWaiting && this.#awayReason === undefined) this.#schedule();
    });
  }

  /** Does all there is to do; on a failure it refuses who waits, and comes again by itself. */
  async #run(): Promise<void> {
    try {
      while (!this.#isStopped && (await this.#step())) {
        this.#failures = 0;
        this.#awayReason = undefined;
      }
      this.#awayReason = undefined;
    } catch (error) {
      this.#noteFailure(error);
      const { clock } = this.#options;
      const pauseMs = backoffMs(this.#failures++, RETRY_FIRST_MS, RETRY_MAX_MS, clock.random);
      if (!this.#isStopped) this.#cancelRetry = clock.after(pauseMs, () => this.kick());
    }
    if (this.#isStopped) this.#refuseWaiting("shutting_down");
  }

  #noteFailure(error: unknown): void {
    const isKnown = error instanceof ColdUnavailableError || error instanceof HotUnavailableError;
    this.#refuseWaiting(error instanceof ColdUnavailableError ? "cold_store_away" : "hot_store_away");
    const { log, metrics } = this.#options;
    metrics.commitFailures.inc();
    this.#lastError = errorText(error);
    // That a store is away is said elsewhere, once.
    if (isKnown || this.#failures > 0) return;
    const stack = error instanceof Error ? error.stack : undefined;
    log.error({ error: this.#lastError, stack }, "a commit failed, for no reason that is known");
  }

  /** All who wait are refused, and those who come are too, until a step has succeeded. */
  #refuseWaiting(reason: RefusalReason): void {
    this.#awayReason = reason;
    for (const intake of this.#queue.splice(0)) this.#refuseIntake(intake, reason);
    this.#options.ledger.refused[reason] += this.#bulks.refuseAll(this.#refusal(reason));
    this.#giveUpSending(reason);
  }

  /** Orphans are acknowledged: they are never given up. */
  #giveUpSending(reason: RefusalReason): void {
    const sending = this.#sending;
    if (sending?.intake === undefined || this.#isDoubtRefused) return;
    this.#options.ledger.refused[reason] += sending.batch.eventCount;
    this.#waitingEvents -= sending.batch.eventCount;
    sending.intake.resolve(this.#refusal(reason));
    if (sending.isInDoubt) this.#isDoubtRefused = true;
    else this.#sending = undefined;
  }

  /** For work whose length nothing bounds: who waits is refused in time, and the work goes on. */
  async #keepingNobody<T>(work: Promise<T>): Promise<T> {
    const refuse = () => this.#refuseWaiting("hot_store_away");
    const cancel = this.#options.clock.after(COMMIT_DEADLINE_MS, refuse);
    try {
      return await work;
    } finally {
      cancel();
    }
  }

  /** False if there is nothing to do. Throws when a store is away. */
  async #step(): Promise<boolean> {
    const { identity } = this.#options;
    if (identity.name === undefined || identity.isLost) {
      await this.#replaceWriter();
      return true;
    }
    if (this.#isDoubtRefused) {
      await this.#settle();
      return true;
    }
    this.#sending ??= this.#nextSending();
    if (this.#sending !== undefined) {
      await this.#send(this.#sending);
      return true;
    }
    // Nothing to send: is it back?
    if (this.#awayReason === "hot_store_away") await this.renewLease();
    return identity.isLost;
  }

  /** Keeps the writer's journal from being adopted. Throws HotUnavailableError. */
  async renewLease(): Promise<void> {
    await this.#options.identity.renew(this.#seq - 1);
    if (this.#options.identity.isLost) this.kick();
  }

  /** Notices that the hot store is away, or back, while no event comes that would show it. */
  async probe(): Promise<void> {
    try {
      await this.renewLease();
    } catch (error) {
      // With a commit under way its own outcome will tell.
      if (this.#running === undefined) this.#awayReason ??= "hot_store_away";
      this.kick();
      throw error;
    }
  }

  #nextSending(): Sending | undefined {
    const orphan = this.#options.identity.orphans.shift();
    if (orphan !== undefined) return { batch: orphan, intake: undefined, isInDoubt: false };
    const intake = this.#isTurnOfBulks ? (this.#takeBulks() ?? this.#queue.shift()) : this.#takeAny();
    this.#isTurnOfBulks = intake?.isOfBulks === false;
    return intake && { batch: intake.builder, intake, isInDoubt: false };
  }

  #takeAny(): Intake | undefined {
    return this.#queue.shift() ?? this.#takeBulks();
  }

  #takeBulks(): Intake | undefined {
    const intake = this.#bulks.take(this.#options.clock.monotonicMs());
    this.#waitingEvents += intake?.builder.eventCount ?? 0;
    return intake;
  }

  async #replaceWriter(): Promise<void> {
    const lastSeq = await this.#keepingNobody(this.#options.identity.replace());
    if (this.#sending?.isInDoubt) this.#endDoubt(this.#sending, this.#seq <= lastSeq);
    this.#seq = 1;
  }

  /** The store has given up the writer that sent it, so that what became of it is settled. */
  #endDoubt(sending: Sending, isApplied: boolean): void {
    const { ledger, log } = this.#options;
    const { eventCount } = sending.batch;
    sending.isInDoubt = false;
    if (isApplied) {
      // Its adopter has it, and counts it, even if nobody was told so.
      ledger.accepted += sending.intake === undefined ? 0 : eventCount;
      ledger.handedOver += eventCount;
      if (this.#isDoubtRefused) log.warn({ eventCount }, "refused events could not be taken back");
    }
    if (this.#isDoubtRefused) this.#sending = undefined;
    else if (isApplied) this.#finish(sending, undefined);
    this.#isDoubtRefused = false;
  }

  async #send(sending: Sending): Promise<void> {
    const result = await this.#commit(sending);
    switch (result.status) {
      case "committed":
        this.#committed(sending, result.duplicates);
        break;
      case "absent":
        if (sending.isInDoubt) await this.#voidDoubt(sending);
        if (!sending.isInDoubt) await this.#stepAside(sending, result.groups);
        break;
      case "fenced":
      case "unborn":
      case "unknown":
        this.#options.identity.isLost = true;
    }
  }

  /** Tries until the deadline of those who wait; then refuses them. Orphans wait for ever. */
  async #commit(sending: Sending): Promise<CommitResult> {
    const { hot, identity, clock } = this.#options;
    const openedMs = sending.intake?.openedMs ?? clock.monotonicMs();
    for (let attempt = 0; ; attempt++) {
      try {
        return await hot.commit(identity.name!, this.#seq, sending.batch);
      } catch (error) {
        sending.isInDoubt ||= !(error instanceof HotUnavailableError) || error.mayHaveApplied;
        const pauseMs = backoffMs(attempt, RETRY_FIRST_MS, RETRY_MAX_MS, clock.random);
        if (clock.monotonicMs() - openedMs + pauseMs > COMMIT_DEADLINE_MS) throw error;
        await clock.sleep(pauseMs);
      }
    }
  }

  /** A batch whose events were refused must not count, whatever became of it. */
  async #settle(): Promise<void> {
    const sending = this.#sending!;
    await this.#voidDoubt(sending);
    if (sending.isInDoubt) return;
    this.#isDoubtRefused = false;
    this.#sending = undefined;
  }

  /** It is still in doubt afterwards if the writer turns out to be lost: the end of that tells. */
  async #voidDoubt(sending: Sending): Promise<void> {
    const { hot, identity, flusher, ledger, log } = this.#options;
    const { eventCount } = sending.batch;
    const result = await hot.voidBatch(identity.name!, this.#seq);
    sending.isInDoubt = result.status === "fenced" || result.status === "unknown";
    switch (result.status) {
      case "reverted": {
        const kept = new PackedBatch(this.#seq, sending.batch, result.duplicates);
        ledger.accepted += kept.eventCount;
        if (kept.eventCount > 0) flusher.offer(kept);
        log.warn({ taken: eventCount - kept.eventCount, kept: kept.eventCount }, "took back refused events");
        this.#seq += 1;
        return;
      }
      case "voided":
        this.#seq += 1;
        return;
      case "fenced":
      case "unknown":
        identity.isLost = true;
    }
  }

  #committed(sending: Sending, duplicates: readonly number[]): void {
    const { ledger, metrics, flusher, clock } = this.#options;
    const batch = new PackedBatch(this.#seq, sending.batch, duplicates);
    if (sending.intake === undefined) {
      ledger.handedOver += duplicates.length;
    } else {
      const { isOfBulks } = sending.intake;
      if (isOfBulks && duplicates.length > 0) sending.intake.noteDuplicates(sending.batch.groups, duplicates);
      ledger.accepted += batch.eventCount;
      ledger.duplicates += duplicates.length;
      metrics.commitSeconds.observe((clock.monotonicMs() - sending.intake.openedMs) / 1_000);
      metrics.batchEvents.observe(sending.batch.eventCount);
    }
    flusher.offer(batch);
    this.#seq += 1;
    this.#finish(sending, undefined);
  }

  #finish(sending: Sending, outcome: Outcome): void {
    if (sending.intake !== undefined) this.#waitingEvents -= sending.batch.eventCount;
    sending.intake?.resolve(outcome);
    this.#sending = undefined;
  }

  /** Takes out the groups whose hours are not here: they come back when those are. */
  async #stepAside(sending: Sending, positions: readonly number[]): Promise<void> {
    const { groups: all } = sending.batch;
    const groups = positions.map((position) => all[position]!);
    if (sending.intake === undefined) {
      // Orphans are acknowledged: they wait, and all others behind them.
      const hydrations = groups.map((group) => this.#options.hydrator.hydrate(group));
      await this.#keepingNobody(Promise.all(hydrations));
      return;
    }
    for (const group of groups) void this.#hydrate(group, sending.intake);
    sending.batch = withoutGroups(sending.batch, new Set(positions));
    if (sending.batch.eventCount === 0) this.#sending = undefined;
  }

  /** Takes the group out of its intake, and brings it back once its hour is there. Never rejects. */
  async #hydrate(group: Group, intake: Intake): Promise<void> {
    const { isOfBulks } = intake;
    const waiter = intake.take(group);
    const eventCount = group.users.length;
    this.#waitingEvents -= eventCount;
    this.#park(eventCount, isOfBulks);
    const refuse = (reason: RefusalReason) => {
      this.#options.ledger.refused[reason] += eventCount;
      waiter.resolve(this.#refusal(reason));
    };
    try {
      if (isOfBulks) await this.#bulkHydrations.take(1);
      if (this.#options.clock.monotonicMs() - intake.openedMs > HYDRATION_DEADLINE_MS)
        return refuse("overloaded");
      if (this.#isStopped) return refuse("shutting_down");
      await this.#options.hydrator.hydrate(group);
      const reason = this.#isStopped ? "shutting_down" : this.#awayReason;
      if (reason !== undefined) return refuse(reason);
      this.#readmit(group, waiter, isOfBulks);
    } catch (error) {
      refuse(error instanceof ColdUnavailableError ? "cold_store_away" : "hot_store_away");
    } finally {
      if (isOfBulks) this.#bulkHydrations.give(1);
      this.#park(-eventCount, isOfBulks);
    }
  }

  #park(eventCount: number, isOfBulks: boolean): void {
    if (isOfBulks) this.#bulks.parkedEvents += eventCount;
    else this.#parkedEvents += eventCount;
  }

  #readmit(group: Group, waiter: Waiter, isOfBulks: boolean): void {
    if (isOfBulks) {
      this.#bulks.readmit(group, waiter);
      this.#schedule();
      return;
    }
    this.#waitingEvents += group.users.length;
    this.#openIntake().addGroup(group, waiter);
  }

  #refuseIntake(intake: Intake, reason: RefusalReason): void {
    const { eventCount } = intake.builder;
    this.#waitingEvents -= eventCount;
    this.#options.ledger.refused[reason] += eventCount;
    intake.resolve(this.#refusal(reason));
  }

  #refusal(reason: RefusalReason): Refusal {
    return { reason, retryAfterS: reason === "journal_full" ? this.#options.journals.drainS() : 1 };
  }

  /** Takes no more events, and answers once those it has are settled, or `graceMs` have passed. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    const graceEnd = Promise.withResolvers<void>();
    let isGraceOver = false;
    const cancel = this.#options.clock.after(graceMs, () => {
      isGraceOver = true;
      graceEnd.resolve();
    });
    while (this.#isBusy && !isGraceOver) await Promise.race([this.#settled(), graceEnd.promise]);
    cancel();
    this.#isStopped = true;
    this.#cancelRetry();
    if (this.#running === undefined) this.#refuseWaiting("shutting_down");
  }

  async #settled(): Promise<void> {
    await this.#running;
    if (this.#isBusy) await this.#options.clock.sleep(STOP_POLL_MS);
  }

  get #isBusy(): boolean {
    return (
      this.#running !== undefined ||
      this.#options.identity.orphans.length > 0 ||
      this.#waitingEvents > 0 ||
      this.#parkedEvents > 0 ||
      this.#bulks.waitingEvents > 0 ||
      this.#sending !== undefined
    );
  }
}
