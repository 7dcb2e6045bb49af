/**
 * Group commit: events that arrive while a commit is under way form the next batch.
 *
 * Invariants: one loop at a time does what there is to do, in this order: it replaces a lost writer, commits orphans,
 * then what waits. While a store does not answer, events that were not sent are refused within a second. An event that
 * is refused was never sent to a store, and is in the ledger under its reason.
 */
import { countEvents } from "../../domain/batch.ts";
import type { Event } from "../../domain/event.ts";
import type { Outcome, Refusal, RefusalReason } from "../../domain/refusal-reasons.ts";
import { InvariantError, type InvariantHandler } from "../../runtime/assert.ts";
import { backoffMs } from "../../runtime/backoff.ts";
import { errorText } from "../../runtime/error-text.ts";
import type { Log } from "../../runtime/log.ts";
import { ColdUnavailableError } from "../../store/cold.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import { BatchSender, type CommitParts } from "./batch-sender.ts";
import { Bulk, type BulkOutcome, submitDivided } from "./bulk.ts";
import { CommitQueue } from "./commit-queue.ts";
import { LateGroups } from "./late-groups.ts";

/** Of what this process has committed and not flushed, in whatever shard. */
export interface JournalBound {
  /** True while no more is to be taken. */
  isFull(): boolean;
  /** How long it will take until there is room: 1 to 60 s. */
  drainS(): number;
}

interface CommitterOptions extends CommitParts {
  readonly log: Log;
  readonly journals: JournalBound;
  /** As COMMIT_INTERVAL_MS. */
  readonly commitIntervalMs: number;
  readonly onBrokenInvariant: InvariantHandler;
}

const RETRY_FIRST_MS = 10;
const RETRY_MAX_MS = 500;
const STOP_POLL_MS = 5;
/** Each holds a connection, so that this is rarely what is met first. */
const WAITING_MAX_EVENTS = 20_000;
/** 10 of the largest bulks. */
const BULKS_WAITING_MAX_EVENTS = 100_000;
const RESTORING_RETRY_S = 5;

export class Committer {
  readonly #options: CommitterOptions;
  readonly #queue: CommitQueue;
  readonly #lateGroups: LateGroups;
  readonly #sender: BatchSender;
  /** Set while events wait for their commit to be due. */
  #cancelPause: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #isScheduled = false;
  /** Set while a store does not answer. */
  #unavailable: RefusalReason | undefined = "hot_store_away";
  #failures = 0;
  #lastError: string | undefined;
  #cancelRetry = () => {};
  #isStopping = false;
  #isStopped = false;

  constructor(options: CommitterOptions) {
    this.#options = options;
    const { hydrate, clock, commitIntervalMs } = options;
    const refuse = this.#refuse.bind(this);
    this.#queue = new CommitQueue(clock, commitIntervalMs, () => this.#schedule());
    this.#lateGroups = new LateGroups({
      ...{ hydrate, queue: this.#queue, clock, refuse },
      unavailable: () => this.#unavailable,
    });
    this.#sender = new BatchSender({
      ...options,
      lateGroups: this.#lateGroups,
      onFailure: (error) => this.#noteFailure(error),
      onOverdue: () => this.#refuseUnsent("hot_store_away"),
      onUnknownIds: () => this.#sender.refuseUnsent((eventCount) => refuse("restoring_ids", eventCount)),
    });
  }

  /** Why no event is taken now; undefined if they are. */
  get refusal(): RefusalReason | undefined {
    if (this.#isStopping) return "shutting_down";
    if (this.#unavailable !== undefined) return this.#unavailable;
    if (this.#options.journals.isFull()) return "journal_full";
    const waiting = this.#queue.singleEvents + this.#lateGroups.singleEvents + this.#sender.waitingEvents;
    return waiting >= WAITING_MAX_EVENTS ? "overloaded" : undefined;
  }

  get #bulkRefusal(): RefusalReason | undefined {
    const isFull = this.#queue.bulkEvents + this.#lateGroups.bulkEvents >= BULKS_WAITING_MAX_EVENTS;
    return this.refusal ?? (isFull ? "overloaded" : undefined);
  }

  /** Why this event is not taken now. */
  refusalOf({ id }: Event): RefusalReason | undefined {
    const reason = this.refusal;
    if (reason !== undefined || id === undefined || this.#options.ids.areKnown) return reason;
    return "restoring_ids";
  }

  /** For this many events. */
  #refuse(reason: RefusalReason, eventCount: number): Refusal {
    const { ledger, journals } = this.#options;
    ledger.refused[reason] += eventCount;
    if (reason === "journal_full") return { reason, retryAfterS: journals.drainS() };
    return { reason, retryAfterS: reason === "restoring_ids" ? RESTORING_RETRY_S : 1 };
  }

  /** What the last commit failed by. */
  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** True while the hot store may lack events of this process that were acknowledged: it has lost data. */
  get isRecovering(): boolean {
    return this.#options.identity.isLost || this.isOwing;
  }

  /** Orphans or owed batches are to be committed before anything else. */
  get isOwing(): boolean {
    return this.orphanEvents > 0 || this.#sender.owedEvents > 0;
  }

  /** Acknowledged, in no store, and to be committed again. */
  get orphanEvents(): number {
    return countEvents(this.#options.identity.orphans) + this.#sender.orphanEvents;
  }

  /** Returns once it was tried to take up a writer: it goes on trying by itself. */
  async start(): Promise<void> {
    this.kick();
    await this.#running;
  }

  /** Never rejects. */
  submit(event: Event): Promise<Outcome> {
    const reason = this.refusalOf(event);
    if (reason !== undefined) return Promise.resolve(this.#refuse(reason, 1));
    const outcome = this.#queue.add(event);
    if (this.#cancelPause !== undefined && this.#pauseMs <= 0) this.#schedule();
    return outcome;
  }

  /**
   * The events go into batches of their own, in turns with those of single events. Either all are taken
   * or none, but that those with an id may be refused alone, unless `isAllOrNone`; after that a store that becomes
   * unavailable can still refuse a part.
   */
  submitAll(events: readonly Event[], isAllOrNone = false): Promise<BulkOutcome> {
    const reason = this.#bulkRefusal;
    const hasId = ({ id }: Event) => id !== undefined;
    const areIdsMissing = !this.#options.ids.areKnown && events.some(hasId);
    if (reason !== undefined || !areIdsMissing) return this.#submitBulk(events, reason);
    if (isAllOrNone) return this.#submitBulk(events, "restoring_ids");
    return submitDivided(events, hasId, (haveIds, part) => {
      return this.#submitBulk(part, haveIds ? "restoring_ids" : undefined);
    });
  }

  /** `reason`: to refuse them all. */
  #submitBulk(events: readonly Event[], reason: RefusalReason | undefined): Promise<BulkOutcome> {
    const bulk = new Bulk(events);
    if (reason !== undefined) bulk.refuseRest(this.#refuse(reason, events.length));
    else if (events.length > 0) this.#queue.push(bulk);
    return bulk.outcome.catch((error) => {
      this.#halt(error);
      throw error;
    });
  }

  /** The batch closes at the end of the tick, so that all requests that came with this one are in it. */
  #schedule(): void {
    if (this.#running !== undefined || this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.clock.atTurnEnd(() => {
      this.#isScheduled = false;
      const pauseMs = this.#pauseMs;
      if (pauseMs <= 0) this.kick();
      else this.#pause(pauseMs);
    });
  }

  /** How long the next commit should wait; 0: it may start. */
  get #pauseMs(): number {
    return this.#isStopping ? 0 : this.#queue.waitMs;
  }

  /** A timer that is already set ends sooner; then it is set again. */
  #pause(ms: number): void {
    this.#cancelPause ??= this.#options.clock.after(ms, () => {
      this.#cancelPause = undefined;
      this.#schedule();
    });
  }

  /** Makes the loop look for work. */
  kick(): void {
    if (this.#running !== undefined || this.#isStopped) return;
    this.#cancelRetry();
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (!this.#queue.isEmpty && this.#unavailable === undefined) this.#schedule();
    });
  }

  /** Does all there is to do; on a failure it refuses what was not sent, and retries by itself. */
  async #run(): Promise<void> {
    try {
      while (!this.#isStopped && (await this.#step())) {
        this.#failures = 0;
        if (this.#isSettled) this.#unavailable = undefined;
      }
      this.#unavailable = undefined;
    } catch (error) {
      if (error instanceof InvariantError) return this.#halt(error);
      this.#noteFailure(error);
      this.#refuseUnsent(error instanceof ColdUnavailableError ? "cold_store_away" : "hot_store_away");
      const { clock } = this.#options;
      const pauseMs = backoffMs(this.#failures++, RETRY_FIRST_MS, RETRY_MAX_MS, clock.random);
      if (!this.#isStopped) this.#cancelRetry = clock.after(pauseMs, () => this.kick());
    }
    if (this.#isStopped) this.#refuseUnsent("shutting_down");
  }

  #halt(error: InvariantError): void {
    this.#isStopped = true;
    this.#options.onBrokenInvariant(error);
  }

  /** False while a step has only found out that something is wrong. */
  get #isSettled(): boolean {
    return !this.#options.identity.isLost && this.#sender.doubt === undefined;
  }

  #noteFailure(error: unknown): void {
    const { log, metrics } = this.#options;
    const isKnown = error instanceof ColdUnavailableError || error instanceof HotUnavailableError;
    metrics.commitFailures.inc();
    this.#lastError = errorText(error);
    // That a store is unavailable is said elsewhere, once.
    if (isKnown || this.#failures > 0) return;
    const stack = error instanceof Error ? error.stack : undefined;
    log.error({ error: this.#lastError, stack }, "a commit failed for an unknown reason");
  }

  /** All that was not sent, and what comes from now on, until a step has succeeded. */
  #refuseUnsent(reason: RefusalReason): void {
    this.#unavailable = reason;
    this.#queue.refuseAll(this.#refuse(reason, this.#queue.events));
    this.#sender.refuseUnsent((eventCount) => this.#refuse(reason, eventCount));
  }

  /** False if there is nothing to do. Throws when a store is unavailable. */
  async #step(): Promise<boolean> {
    const { identity } = this.#options;
    const sender = this.#sender;
    if (identity.name === undefined || identity.isLost) {
      sender.writerReplaced(await sender.overdueAfterDeadline(identity.replace(sender.doubt)));
      return true;
    }
    if (sender.isIdle) this.#takeNext();
    if (!sender.isIdle) {
      const eventCount = sender.waitingEvents;
      await sender.send();
      if (sender.isIdle) this.#queue.answered(eventCount);
      return true;
    }
    if (this.#unavailable === "hot_store_away") await this.renewLease();
    return identity.isLost;
  }

  #takeNext(): void {
    const orphan = this.#options.identity.orphans.shift();
    if (orphan !== undefined) {
      this.#sender.take(orphan, undefined);
      return;
    }
    if (this.#sender.takeOwed()) return;
    const opened = this.#pauseMs > 0 ? undefined : this.#queue.next();
    if (opened !== undefined) this.#sender.take(opened.builder, opened);
  }

  /** Keeps the writer's journal from being adopted. Throws HotUnavailableError. */
  async renewLease(): Promise<void> {
    await this.#options.identity.renew(this.#sender.lastKnownSeq);
    if (this.#options.identity.isLost) this.kick();
  }

  /** Notices that the hot store is unavailable, or answers again, while no event comes that would show it. */
  async probe(): Promise<void> {
    try {
      await this.renewLease();
    } catch (error) {
      // With a commit under way its own outcome will tell.
      if (this.#running === undefined) this.#unavailable ??= "hot_store_away";
      this.kick();
      throw error;
    }
  }

  /**
   * Takes no more events, and returns once those it has are settled, or `graceMs` have passed: then events that were
   * not sent are refused, and the outcome of the others is unknown.
   */
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
    this.#cancelPause?.();
    this.#lateGroups.stop();
    this.#sender.stop();
    this.#refuseUnsent("shutting_down");
  }

  async #settled(): Promise<void> {
    await this.#running;
    if (this.#isBusy) await this.#options.clock.sleep(STOP_POLL_MS);
  }

  get #isBusy(): boolean {
    const isIdle = this.#queue.isEmpty && this.#lateGroups.isEmpty && this.#sender.isIdle;
    return this.#running !== undefined || !isIdle || this.isOwing;
  }
}
