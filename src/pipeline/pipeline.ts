/**
 * Wires one process: routes events to their shards, and serves reads. Invariant: when stop() resolves, nothing started
 * here is still running on a timer.
 */
import type { Event, HourKey } from "../domain/event.ts";
import { Ledger } from "../domain/ledger.ts";
import type { Outcome, RefusalReason } from "../domain/refusal-reasons.ts";
import { shardOf } from "../domain/shard-of.ts";
import type { Clock } from "../runtime/clock.ts";
import { errorText } from "../runtime/error-text.ts";
import type { InvariantHandler } from "../runtime/invariant-error.ts";
import { type Log, logWith } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Config } from "../settings/settings.ts";
import type { ColdStore, PastReads, Poison } from "../store/cold.ts";
import { coldShard } from "../store/cold-shard.ts";
import type { HotStore } from "../store/hot.ts";
import { type BulkOutcome, submitDivided } from "./commit/bulk.ts";
import type { JournalBound } from "./commit/committer.ts";
import { HomeShard } from "./commit/home-shard.ts";
import { StreamRegistry } from "./commit/stream-registry.ts";
import { RingRoom } from "./flush/flusher.ts";
import { type HourAnswer, type HourReader, MergingReader, SingleShardReader } from "./read/hour-reader.ts";
import { RangeReader } from "./read/range-reader.ts";
import { type RecurringTask, recurringTask } from "./recurring-task.ts";
import { Shard, type ShardSettings } from "./shard.ts";
import { readStoresLedger, type StoresLedger } from "./stores-ledger.ts";
import { ColdProblems } from "./upkeep/cold-problems.ts";
import { Retention, type RetentionDays } from "./upkeep/retention.ts";

export type PipelineSettings = ShardSettings &
  RetentionDays &
  Pick<Config, "journalMaxEvents" | "ringCapacityEvents" | "maxStreams">;

/** Events that were acknowledged and are not known to be persisted. */
interface PendingEvents {
  readonly events: number;
  /** How many of them are in memory. The others are only in the journal. */
  readonly ring: number;
}

export interface ShardState {
  readonly shard: number;
  readonly writer: string | undefined;
  /** Why it refuses events; undefined if it accepts them. */
  readonly refusal: RefusalReason | undefined;
}

interface PipelineOptions {
  /** Indexed by shard; there is at least one. */
  readonly hotShards: readonly HotStore[];
  readonly cold: ColdStore;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly settings: PipelineSettings;
  readonly onBrokenInvariant: InvariantHandler;
}

const PROBLEMS_INTERVAL_MS = 60_000;
/** Longer than any interval between flushes: without a backlog, events committed before one are stored at the next. */
const STREAMS_INTERVAL_MS = 120_000;
const RETENTION_INTERVAL_MS = 600_000;
const SHORT_RANGES_WAITING_MAX = 128;

export class Pipeline {
  readonly ledger = new Ledger();
  readonly ranges: RangeReader;
  /** Serves short, frequent reads: they have lanes of their own and never queue behind long ones. */
  readonly shortRanges: RangeReader;
  readonly streams: StreamRegistry;
  readonly retention: Retention;
  readonly coldProblems: ColdProblems;
  readonly #options: PipelineOptions;
  readonly #stopping = new AbortController();
  readonly #ringRoom: RingRoom;
  readonly #shards: readonly Shard[];
  /** Undefined if there are several shards. */
  readonly #onlyShard: Shard | undefined;
  readonly #home: HomeShard;
  readonly #reader: HourReader;
  readonly #tasks: RecurringTask[];
  readonly #sweeping: RecurringTask;
  #isLeaving = false;
  /** It never changes. */
  #dataSetIdentity: string | undefined;

  constructor(options: PipelineOptions) {
    const { hotShards, cold, metrics, log, clock, settings } = options;
    this.#options = options;
    const { signal } = this.#stopping;
    this.retention = new Retention({ cold, log, clock, days: settings, signal });
    this.coldProblems = new ColdProblems(cold, log);
    this.streams = new StreamRegistry(cold, settings.maxStreams);
    this.#ringRoom = new RingRoom(settings.ringCapacityEvents);
    this.#shards = hotShards.map((hot, number) => this.#newShard(hot, number));
    this.#onlyShard = hotShards.length === 1 ? this.#shards[0] : undefined;
    this.#home = new HomeShard(this.#shards, Math.floor(clock.random() * hotShards.length));
    const parts = { shards: this.#shards, cold, metrics, clock };
    this.#reader = this.#onlyShard === undefined ? new MergingReader(parts) : new SingleShardReader(parts);
    this.ranges = new RangeReader(this.#shards, cold);
    this.shortRanges = new RangeReader(this.#shards, cold, SHORT_RANGES_WAITING_MAX);
    this.#sweeping = recurringTask("delete expired data", RETENTION_INTERVAL_MS, log, clock, () =>
      this.retention.sweep(),
    );
    this.#tasks = [
      recurringTask("look for problems", PROBLEMS_INTERVAL_MS, log, clock, () => this.coldProblems.check()),
      recurringTask("list streams", STREAMS_INTERVAL_MS, log, clock, () => this.streams.refresh()),
    ];
    if (this.#onlyShard === undefined)
      this.#tasks.push(recurringTask("choose a shard", settings.leaseMs, log, clock, () => this.#home.choose()));
  }

  #newShard(hot: HotStore, number: number): Shard {
    const { hotShards, cold, metrics, clock, settings, onBrokenInvariant } = this.#options;
    const log = hotShards.length === 1 ? this.#options.log : logWith(this.#options.log, { shard: number });
    return new Shard({
      ...{ number, hot, ledger: this.ledger, metrics, log, clock, settings, onBrokenInvariant },
      cold: coldShard(cold, number, hotShards.length),
      journals: this.#journals(),
      streams: this.streams,
      ringRoom: this.#ringRoom,
      aggregatesFrom: (at) => this.retention.aggregatesFrom(at),
      signal: this.#stopping.signal,
    });
  }

  #journals(): JournalBound {
    return {
      isFull: () => this.#pendingFlush >= this.#options.settings.journalMaxEvents,
      drainS: () => Math.max(...this.#shards.map(({ flusher }) => flusher.drainS)),
    };
  }

  #sum(of: (shard: Shard) => number): number {
    let sum = 0;
    for (const shard of this.#shards) sum += of(shard);
    return sum;
  }

  /** Read for each event, so it must be cheap. */
  get #pendingFlush(): number {
    return this.#onlyShard?.flusher.pendingEvents ?? this.#sum(({ flusher }) => flusher.pendingEvents);
  }

  /** Starts accepting events as soon as the stores allow it; returns after the first attempt. */
  async start(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.start()));
    // None of these is a reason not to start: without the list of streams, new names are merely counted from 0.
    await Promise.allSettled([this.streams.refresh(), this.coldProblems.check(), this.#home.choose()]);
    for (const shard of this.#shards) shard.startChores();
    for (const task of this.#tasks) task.start();
    this.#sweeping.start(true);
  }

  /** Never rejects. */
  submit(event: Event): Promise<Outcome> {
    const shard = this.#onlyShard ?? this.#shardFor(event, this.#home.current);
    return shard.committer.submit(event);
  }

  #shardFor({ stream, id }: Event, home: Shard): Shard {
    return id === undefined ? home : this.#shards[shardOf(stream, id, this.#shards.length)]!;
  }

  /** Never rejects. Each event is in one column of the outcome. With `isAllOrNone`, all are refused if one would be. */
  submitAll(events: readonly Event[], isAllOrNone = false): Promise<BulkOutcome> {
    if (this.#onlyShard !== undefined) return this.#onlyShard.committer.submitAll(events, isAllOrNone);
    const home = this.#home.current;
    const committerOf = (event: Event) => this.#shardFor(event, home).committer;
    const refused = isAllOrNone && events.find((event) => committerOf(event).refusalOf(event) !== undefined);
    if (refused) return committerOf(refused).submitAll(events, true);
    return submitDivided(events, committerOf, (committer, part) => committer.submitAll(part, isAllOrNone));
  }

  /** Keeps messages that cannot be events for an operator. Throws ColdUnavailableError. */
  async setAside(poison: readonly Poison[]): Promise<void> {
    const { cold } = this.#options;
    await cold.open();
    await cold.setAsidePoison(poison);
  }

  /** Throws HotUnavailableError or ColdUnavailableError if no store could answer. */
  read(key: HourKey): Promise<HourAnswer> {
    return this.#reader.read(key);
  }

  /**
   * Why events without an id are refused now; undefined if they are accepted. Other ids may be refused while their
   * shard is down.
   */
  get refusal(): RefusalReason | undefined {
    return this.#home.current.refusal;
  }

  get shardStates(): readonly ShardState[] {
    return this.#shards.map(({ number, writer, refusal }) => ({ shard: number, writer, refusal }));
  }

  /** Why clients should send no events here. A process that is about to stop says so before it refuses them. */
  get unreadiness(): RefusalReason | undefined {
    return this.refusal ?? (this.#isLeaving ? "shutting_down" : undefined);
  }

  /** Reports this process as not ready from now on, and otherwise changes nothing. */
  leave(): void {
    this.#isLeaving = true;
  }

  /** The writer in the home shard. There is another in each of the other shards. */
  get writer(): string | undefined {
    return this.#home.current.writer;
  }

  /** For display. */
  get storeNames(): { readonly hot: string; readonly cold: string } {
    const { hotShards, cold } = this.#options;
    return { hot: hotShards[0]!.name, cold: cold.name };
  }

  /** How ranges were read, if the cold store has a replica for them. */
  get pastReads(): PastReads | undefined {
    return this.#options.cold.pastReads;
  }

  /** Aborted when stop() is called. It ends work that would never end by itself. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Why a shard's last flush failed; undefined if all succeeded. Either store may be the cause. */
  get flushError(): string | undefined {
    return this.#shards.find(({ flusher }) => flusher.lastError !== undefined)?.flusher.lastError;
  }

  /** Why the last flush failed, if the cold store was the cause. */
  get coldStoreError(): string | undefined {
    return this.#shards.find(({ flusher }) => flusher.isColdStoreFailing)?.flusher.lastError;
  }

  get oldestPendingMs(): number {
    return Math.max(...this.#shards.map(({ flusher }) => flusher.oldestPendingMs));
  }

  get ringCapacityEvents(): number {
    return this.#ringRoom.events;
  }

  get journalMaxEvents(): number {
    return this.#options.settings.journalMaxEvents;
  }

  /** Counted where the events are, independently of the ledger, so that the two can be compared. */
  get pending(): PendingEvents {
    const orphans = this.#sum(({ committer }) => committer.orphanEvents);
    const ring = this.#sum(({ flusher }) => flusher.ringEvents);
    return { events: this.#pendingFlush + orphans, ring: ring + orphans };
  }

  /** Throws HotUnavailableError or ColdUnavailableError. */
  storesLedger(): Promise<StoresLedger> {
    const hotShards = this.#shards.map(({ hot }) => hot);
    return readStoresLedger(hotShards, this.#options.cold);
  }

  /** Identity of the data in the cold store. Throws ColdUnavailableError. */
  async dataSetIdentity(): Promise<string> {
    this.#dataSetIdentity ??= (await this.#options.cold.dataSet()).identity;
    return this.#dataSetIdentity;
  }

  /** Drops hours that are too old for the hot store; returns how many. */
  async retire(): Promise<number> {
    const counts = await Promise.all(this.#shards.map((shard) => shard.retire()));
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Accepts no more events, settles and flushes those it has, and leaves nothing running. Never throws. */
  async stop(): Promise<void> {
    const { log } = this.#options;
    this.#stopping.abort(new Error("this process stops: the rest of the journal is left to others"));
    await Promise.all([...this.#tasks, this.#sweeping].map((task) => task.stop()));
    const areDrained = await Promise.all(this.#shards.map((shard) => shard.stop()));
    const { pending } = this.ledger;
    if (pending > 0 && this.#shards.some(({ isRecovering }) => isRecovering))
      log.error({ pending }, "stopped before events that the hot store lost were stored again: they are lost");
    else if (areDrained.includes(false)) log.warn({ pending }, "stopped with a backlog: it is in the journal");
    await Promise.all(this.#shards.map((shard, i) => this.#endWriter(shard, areDrained[i]!)));
  }

  async #endWriter(shard: Shard, isDrained: boolean): Promise<void> {
    try {
      await shard.endWriter(isDrained);
    } catch (error) {
      const { log } = this.#options;
      log.warn({ error: errorText(error) }, "the writer's end could not be recorded: its lease will expire");
    }
  }
}
