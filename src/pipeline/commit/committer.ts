/**
 * Group commit: events that arrive while a commit is in flight form the next batch.
 *
 * Invariants: a single loop does all work, in this order: replace a lost writer, commit orphans, commit waiting events.
 * While a store does not answer, unsent events are refused within a second. A refused event was never sent to a store,
 * and the ledger counts it under its reason.
 */
import { countEvents, type Event } from "../../domain/event.ts";
import type { Outcome, Refusal, RefusalReason } from "../../domain/refusal-reasons.ts";
import { backoffMs } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import { InvariantError, type InvariantHandler } from "../../runtime/invariant-error.ts";
import type { Log } from "../../runtime/log.ts";
import { ConfigError } from "../../settings/settings.ts";
import { OtherDatabaseError } from "../../store/cold-shard.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { BatchSender, type CommitParts, RETRY_FIRST_MS, RETRY_MAX_MS } from "./batch-sender.ts";
import { Bulk, type BulkOutcome, submitDivided } from "./bulk.ts";
import { LateGroups } from "./late-groups.ts";
import { PacedQueue } from "./paced-queue.ts";
import type { Doubt, SettledFate } from "./writer-identity.ts";

/** Bounds what this process has committed and not flushed, over all shards. */
export interface JournalBound {
  isFull(): boolean;
  /** Seconds until there is room: 1 to 60. */
  drainS(): number;
}

interface CommitterOptions extends CommitParts {
  readonly log: Log;
  readonly journals: JournalBound;
  readonly commitIntervalMs: number;
  readonly onBrokenInvariant: InvariantHandler;
}

const STOP_POLL_MS = 5;
/** Reads, and everything else in this thread, may be held up as long. */
const SLEEP_MAX_MS = 2;
/** Each event holds a connection, so another limit is usually reached first. */
const WAITING_MAX_EVENTS = 20_000;
/** Ten of the largest bulks. */
const BULKS_WAITING_MAX_EVENTS = 100_000;
const RESTORING_RETRY_S = 5;

export class Committer {
  readonly #options: CommitterOptions;
  readonly #queue: PacedQueue;
  readonly #lateGroups: LateGroups;
  readonly #sender: BatchSender;
  /** Set while events wait until their commit is due. */
  #cancelPause: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #isScheduled = false;
  /** Set while a store does not answer. */
  #unavailable: RefusalReason | undefined = "hot_store_away";
  #failures = 0;
  #lastError: string | undefined;
  /** It is logged once, until a step succeeds. */
  #loggedError: string | undefined;
  #cancelRetry = () => {};
  #isStopping = false;
  #isStopped = false;

  constructor(options: CommitterOptions) {
    this.#options = options;
    const { hydrate, clock, commitIntervalMs } = options;
    const refuse = this.#refuse.bind(this);
    this.#queue = new PacedQueue(clock, commitIntervalMs, () => this.#schedule());
    this.#lateGroups = new LateGroups({
      ...{ hydrate, queue: this.#queue, clock, refuse },
      unavailable: () => this.#unavailable,
    });
    this.#sender = new BatchSender({
      ...options,
      lateGroups: this.#lateGroups,
      onFailure: (error) => this.#noteFailure(error),
      onOverdue: () => this.#refuseUnsent(this.#unavailable ?? "hot_store_away"),
      onUnknownIds: () => this.#sender.refuseUnsent((eventCount) => refuse("restoring_ids", eventCount)),
    });
  }

  /** Why events are refused now; undefined if they are accepted. */
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

  /** Why this event would be refused now. */
  refusalOf({ id }: Event): RefusalReason | undefined {
    const reason = this.refusal;
    if (reason !== undefined || id === undefined || this.#options.ids.areKnown) return reason;
    return "restoring_ids";
  }

  #refuse(reason: RefusalReason, eventCount: number): Refusal {
    const { ledger, journals } = this.#options;
    ledger.refused[reason] += eventCount;
    if (reason === "journal_full") return { reason, retryAfterS: journals.drainS() };
    return { reason, retryAfterS: reason === "restoring_ids" ? RESTORING_RETRY_S : 1 };
  }

  get lastError(): string | undefined {
    return this.#lastError;
  }

  /** True while the hot store may lack acknowledged events of this process because it lost data. */
  get isRecovering(): boolean {
    return this.#options.identity.isLost || this.isOwing;
  }

  /** True if orphans or owed batches must be committed before anything else. */
  get isOwing(): boolean {
    return this.orphanEvents > 0 || this.#sender.owedEvents > 0;
  }

  /** Acknowledged events that are in no store and must be committed again. */
  get orphanEvents(): number {
    return countEvents(this.#options.identity.orphans) + this.#sender.orphanEvents;
  }

  /** Returns after the first attempt to register a writer. If it failed, retries continue in the background. */
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
   * Puts the events into batches of their own, which take turns with those of single events. Either all are accepted or
   * none; without `isAllOrNone`, events with an id may be refused alone. A store that becomes unavailable later can
   * still refuse a part.
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

  /** `reason`, if any, refuses them all. */
  #submitBulk(events: readonly Event[], reason: RefusalReason | undefined): Promise<BulkOutcome> {
    const bulk = new Bulk(events);
    if (reason !== undefined) bulk.refuseRest(this.#refuse(reason, events.length));
    else if (events.length > 0) this.#queue.push(bulk);
    return bulk.outcome.catch((error) => {
      this.#halt(error);
      throw error;
    });
  }

  /** Closes the batch at the end of the tick, so that it includes all requests that arrived together. */
  #schedule(): void {
    if (this.#running !== undefined || this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.clock.atTurnEnd(() => this.#commitOrWait());
  }

  #commitOrWait(): void {
    this.#isScheduled = false;
    if (this.#running !== undefined) return;
    const pauseMs = this.#pauseMs;
    if (pauseMs <= 0) this.kick();
    else if (this.#queue.maySleep()) this.#sleepThrough(pauseMs);
    else this.#pause(pauseMs);
  }

  #sleepThrough(ms: number): void {
    this.#isScheduled = true;
    this.#options.clock.sleepThread(Math.min(ms, SLEEP_MAX_MS), () => this.#commitOrWait());
  }

  /** How long the next commit should wait. At most 0: it may start. */
  get #pauseMs(): number {
    return this.#isStopping ? 0 : this.#queue.waitMs;
  }

  /** A timer that is already set ends sooner, and then this is called again. */
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

  /** Does all pending work. On a failure it refuses unsent events and schedules a retry. */
  async #run(): Promise<void> {
    try {
      while (!this.#isStopped && (await this.#step())) {
        this.#failures = 0;
        this.#loggedError = undefined;
        if (this.#isSettled) this.#unavailable = undefined;
      }
      this.#unavailable = undefined;
    } catch (error) {
      if (error instanceof InvariantError) return this.#halt(error);
      this.#noteFailure(error);
      this.#refuseUnsent(reasonOf(error));
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

  /** False while the last step has only discovered a fault. */
  get #isSettled(): boolean {
    return !this.#options.identity.isLost && this.#sender.doubt === undefined;
  }

  #noteFailure(error: unknown): void {
    const { log, metrics } = this.#options;
    const isKnown = error instanceof StoreUnavailableError;
    metrics.commitFailures.inc();
    this.#lastError = errorText(error);
    // That a store is unavailable is logged elsewhere, once.
    if (isKnown || this.#lastError === this.#loggedError) return;
    this.#loggedError = this.#lastError;
    const stack = error instanceof Error ? error.stack : undefined;
    if (error instanceof ConfigError) log.error({ error: this.#lastError }, "the stores are not usable as configured");
    else log.error({ error: this.#lastError, stack }, "a commit failed for an unknown reason");
  }

  /** Refuses all unsent events, and new ones until a step succeeds. */
  #refuseUnsent(reason: RefusalReason): void {
    this.#unavailable = reason;
    this.#queue.refuseAll(this.#refuse(reason, this.#queue.events));
    this.#sender.refuseUnsent((eventCount) => this.#refuse(reason, eventCount));
  }

  /** Returns false if there is nothing to do. Throws if a store is unavailable. */
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

  /** The fate of a batch is known whose writer was given up before. */
  settle(doubt: Doubt, fate: SettledFate): void {
    try {
      this.#sender.settle(doubt, fate);
    } catch (error) {
      if (!(error instanceof InvariantError)) throw error;
      this.#halt(error);
    }
  }

  /** Keeps others from adopting the writer's journal. Throws HotUnavailableError. */
  async renewLease(): Promise<void> {
    await this.#options.identity.renew(this.#sender.lastKnownSeq);
    if (this.#options.identity.isLost) this.kick();
  }

  /** Notices, without any event, that the hot store is unavailable or answers again. */
  async probe(): Promise<void> {
    try {
      await this.renewLease();
    } catch (error) {
      // A commit in flight reports its own outcome.
      if (this.#running === undefined) this.#unavailable ??= "hot_store_away";
      this.kick();
      throw error;
    }
  }

  /**
   * Accepts no more events, and returns when those it has are settled or `graceMs` have passed. Then unsent events are
   * refused, and the outcome of the others is unknown.
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

function reasonOf(error: unknown): RefusalReason {
  if (error instanceof OtherDatabaseError) return "other_database";
  return error instanceof StoreUnavailableError ? error.reason : "hot_store_away";
}
