/**
 * The way of an event, put together: committer, ring, flusher, recovery, and the reads beside them.
 * Invariant: everything that runs here by a timer has ended when stop() answers.
 */
import { errorText } from "../count/deadline.ts";
import { type Event, HOUR_MS, type HourKey, hourOf } from "../count/event.ts";
import type { RetentionDays } from "../count/kept.ts";
import { Ledger, type RefusalReason } from "../count/ledger.ts";
import type { Log } from "../count/log.ts";
import type { Metrics } from "../count/metrics.ts";
import type { ColdStore, PastReads, Poison } from "../store/cold.ts";
import type { HotStore } from "../store/hot.ts";
import { AdmissionLog } from "./admission-log.ts";
import type { BulkOutcome } from "./bulk.ts";
import { Chore } from "./chore.ts";
import { Committer } from "./committer.ts";
import { Flusher } from "./flusher.ts";
import { Hydrator } from "./hydrator.ts";
import type { Outcome } from "./intake.ts";
import { RangeReader } from "./range-reader.ts";
import { type HourAnswer, Reader } from "./reader.ts";
import { adoptJournal, adoptJournals, type RecoveryOptions } from "./recovery.ts";
import { Retention } from "./retention.ts";
import { RingBuffer } from "./ring-buffer.ts";
import { readStoreLedger, type StoreLedger } from "./store-ledger.ts";
import { StreamRegistry } from "./stream-registry.ts";
import { WriterIdentity } from "./writer-identity.ts";

export interface PipelineSettings extends RetentionDays {
  readonly flushIntervalMs: number;
  readonly flushMaxEvents: number;
  readonly ringCapacityEvents: number;
  readonly journalMaxEvents: number;
  readonly hotHours: number;
  readonly maxStreams: number;
  readonly leaseMs: number;
}

/** Events that were acknowledged and are not known to be persisted. */
export interface PendingEvents {
  readonly events: number;
  /** How many of them are in memory; the others are in the journal alone. */
  readonly ring: number;
}

export interface PipelineOptions {
  readonly hot: HotStore;
  readonly cold: ColdStore;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => number;
  readonly settings: PipelineSettings;
}

const RETIRE_INTERVAL_MS = 60_000;
const DEAD_LETTERS_INTERVAL_MS = 60_000;
/** Above the longest interval between two flushes: what is taken before one refresh is stored before the next. */
const STREAMS_INTERVAL_MS = 120_000;
const RETENTION_INTERVAL_MS = 600_000;
/** With the 400 ms that a command may take, /readyz tells within a second that Redis is away. */
const PROBE_INTERVAL_MS = 400;
const STOP_GRACE_MS = 5_000;
const SHORT_RANGES_WAITING_MAX = 128;

export class Pipeline {
  readonly ledger = new Ledger();
  readonly ranges: RangeReader;
  /** For readings that are short, and made again and again: in lanes of their own, never behind long ones. */
  readonly shortRanges: RangeReader;
  readonly streams: StreamRegistry;
  readonly retention: Retention;
  readonly #options: PipelineOptions;
  readonly #stopping = new AbortController();
  readonly #recovery: RecoveryOptions;
  readonly #identity: WriterIdentity;
  readonly #flusher: Flusher;
  readonly #committer: Committer;
  readonly #reader: Reader;
  readonly #chores: Chore[];
  readonly #sweeping: Chore;
  #deadLetterCount = 0;
  #isLeaving = false;

  constructor(options: PipelineOptions) {
    const { hot, cold, metrics, log, now, settings } = options;
    const { ledger } = this;
    this.#options = options;
    const { flushIntervalMs, flushMaxEvents, ringCapacityEvents, journalMaxEvents, leaseMs } = settings;
    this.#recovery = { hot, cold, log, ledger, flushMaxEvents };
    const ring = new RingBuffer(ringCapacityEvents);
    const books = { ledger, metrics, log };
    const flusher = new Flusher({ ...books, hot, cold, ring, now, flushIntervalMs, flushMaxEvents });
    const hydrator = new Hydrator(hot, cold, metrics);
    const identity = new WriterIdentity({ hot, flusher, recovery: this.#recovery, log, now });
    this.#committer = new Committer({ ...books, hot, flusher, hydrator, identity, journalMaxEvents });
    this.#flusher = flusher;
    this.#identity = identity;
    const { signal } = this.#stopping;
    this.#reader = new Reader(hot, cold, metrics, () => this.#committer.isRecovering);
    const isRecovering = () => this.#committer.isRecovering;
    this.ranges = new RangeReader(hot, cold, isRecovering);
    this.shortRanges = new RangeReader(hot, cold, isRecovering, SHORT_RANGES_WAITING_MAX);
    this.streams = new StreamRegistry(cold, settings.maxStreams);
    this.retention = new Retention({ cold, log, now, days: settings, signal });
    this.#sweeping = new Chore("drop what is not kept", RETENTION_INTERVAL_MS, log, () =>
      this.retention.sweep(),
    );
    const admission = new AdmissionLog(this.#committer, ledger, log);
    this.#chores = [
      new Chore("renew the lease", Math.min(leaseMs / 3, PROBE_INTERVAL_MS), log, () =>
        this.#committer.probe(),
      ),
      new Chore("watch admission", PROBE_INTERVAL_MS, log, async () => admission.look()),
      new Chore("count dead letters", DEAD_LETTERS_INTERVAL_MS, log, () => this.#countDeadLetters()),
      new Chore("adopt journals", leaseMs, log, () => adoptJournals({ ...this.#recovery, signal })),
      new Chore("list streams", STREAMS_INTERVAL_MS, log, () => this.streams.refresh()),
      new Chore("retire hours", RETIRE_INTERVAL_MS, log, () => this.retire()),
    ];
  }

  /** Begins to take events as soon as the stores allow it, and answers when that was tried once. */
  async start(): Promise<void> {
    this.#flusher.start();
    await this.#committer.start();
    // Without it names are taken until there are as many again: no reason not to start.
    await Promise.allSettled([this.streams.refresh(), this.#countDeadLetters()]);
    for (const chore of this.#chores) chore.start();
    this.#sweeping.start(true);
  }

  /** Never rejects. */
  submit(event: Event): Promise<Outcome> {
    return this.#committer.submit(event);
  }

  /** Of events that came together; never rejects. Each of them is in one column of the outcome. */
  submitAll(events: readonly Event[]): Promise<BulkOutcome> {
    return this.#committer.submitAll(events);
  }

  /** What came to be counted and can't be an event: kept for an operator. Throws ColdUnavailableError. */
  async setAside(poison: readonly Poison[]): Promise<void> {
    const { cold } = this.#options;
    await cold.open();
    await cold.setAsidePoison(poison);
  }

  /** Throws HotUnavailableError or ColdUnavailableError if no store could answer. */
  read(key: HourKey): Promise<HourAnswer> {
    return this.#reader.read(key);
  }

  /** Why no event would be taken now; undefined if one would. */
  get refusal(): RefusalReason | undefined {
    return this.#committer.refusal;
  }

  /** Why nobody should send events here; some time before they are refused, if this process ends. */
  get unreadiness(): RefusalReason | undefined {
    return this.refusal ?? (this.#isLeaving ? "shutting_down" : undefined);
  }

  /** From now on it says that it is not ready, and goes on. */
  leave(): void {
    this.#isLeaving = true;
  }

  get writer(): string | undefined {
    return this.#identity.name;
  }

  /** What the stores are, for people. */
  get storeNames(): { readonly hot: string; readonly cold: string } {
    const { hot, cold } = this.#options;
    return { hot: hot.name, cold: cold.name };
  }

  /** How ranges were read, where the cold store has a replica for them. */
  get pastReads(): PastReads | undefined {
    return this.#options.cold.pastReads;
  }

  /** Aborted as soon as stop() is called: for what would never end by itself. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Why the cold store could not be flushed to the last time; undefined while all is well. */
  get flushError(): string | undefined {
    return this.#flusher.lastError;
  }

  get oldestPendingAt(): number | undefined {
    return this.#flusher.oldestPendingAt;
  }

  get oldestPendingMs(): number {
    return this.#flusher.oldestPendingMs;
  }

  /** Of those that are pending, how many are kept in memory at most. */
  get ringCapacityEvents(): number {
    return this.#options.settings.ringCapacityEvents;
  }

  /** When the cold store was last asked. */
  get deadLetterCount(): number {
    return this.#deadLetterCount;
  }

  async #countDeadLetters(): Promise<void> {
    this.#deadLetterCount = await this.#options.cold.deadLetterCount();
  }

  /** The bound of what may be pending. */
  get journalMaxEvents(): number {
    return this.#options.settings.journalMaxEvents;
  }

  /** Counted where the events are, not from the ledger: so it can be held against that. */
  get pending(): PendingEvents {
    const { pendingEvents, ringEvents } = this.#flusher;
    const { orphanEvents } = this.#committer;
    return { events: pendingEvents + orphanEvents, ring: ringEvents + orphanEvents };
  }

  /** Throws HotUnavailableError or ColdUnavailableError. */
  storeLedger(): Promise<StoreLedger> {
    return readStoreLedger(this.#options.hot, this.#options.cold);
  }

  /** Drops the hours that are too old for the hot store. Answers how many. */
  async retire(): Promise<number> {
    const { hot, now, settings } = this.#options;
    const at = now();
    const oldestHour = hourOf(at) - (settings.hotHours - 1) * HOUR_MS;
    // What the cold store does not keep is not kept here for longer.
    const beforeHour = Math.max(oldestHour, this.retention.aggregatesFrom(at));
    let retired = 0;
    for (;;) {
      const count = await hot.retire(beforeHour);
      if (count === 0) return retired;
      retired += count;
    }
  }

  /** Takes no more events, settles and flushes those it has, and leaves nothing running. Never throws. */
  async stop(): Promise<void> {
    const { log, hot } = this.#options;
    this.#stopping.abort(new Error("this process stops: the rest of the journal is left to others"));
    await Promise.all([...this.#chores, this.#sweeping].map((chore) => chore.stop()));
    await this.#committer.stop(STOP_GRACE_MS);
    const isDrained = await this.#flusher.stop();
    const { pending } = this.ledger;
    if (pending > 0 && this.#committer.isRecovering)
      log.error({ pending }, "stopped before events that the hot store lost were stored anew: they are lost");
    else if (!isDrained) log.warn({ pending }, "stopped with a backlog: it is in the journal");
    try {
      const writer = this.#identity.name;
      if (writer === undefined) return;
      await hot.abandon(writer);
      if (isDrained) await adoptJournal(this.#recovery, writer);
    } catch (error) {
      log.warn({ error: errorText(error) }, "the writer's end could not be noted: its lease will run out");
    }
  }
}
