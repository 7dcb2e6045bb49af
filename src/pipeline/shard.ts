/**
 * One shard of the data, as this process uses it: a complete hot data set with its own writer, committer and flusher. A
 * batch belongs to one shard.
 * Invariants: a shard needs nothing of the others, and keeps working while one of them is down. When stop() resolves,
 * nothing started here is still running on a timer.
 */
import { HOUR_MS, hourOf } from "../domain/event.ts";
import type { Ledger } from "../domain/ledger.ts";
import type { RefusalReason } from "../domain/refusal-reasons.ts";
import type { Clock } from "../runtime/clock.ts";
import type { InvariantHandler } from "../runtime/invariant-error.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Config } from "../settings/settings.ts";
import type { ColdShard } from "../store/cold-shard.ts";
import { type HotStore, HotUnavailableError } from "../store/hot.ts";
import { admissionLog } from "./commit/admission-log.ts";
import { Committer, type JournalBound } from "./commit/committer.ts";
import { hydrator } from "./commit/hydrator.ts";
import type { StreamRegistry } from "./commit/stream-registry.ts";
import { WriterIdentity } from "./commit/writer-identity.ts";
import { Flusher, type RingRoom } from "./flush/flusher.ts";
import type { HotReads } from "./read/hour-reader.ts";
import { type RecurringTask, recurringTask } from "./recurring-task.ts";
import { IdRestoration } from "./upkeep/id-restoration.ts";
import { type AdoptionOptions, adoptJournal, adoptJournals } from "./upkeep/journal-adoption.ts";

export type ShardSettings = Pick<
  Config,
  "flushIntervalMs" | "flushMaxEvents" | "hotHours" | "leaseMs" | "outcomeTimeoutMs" | "commitIntervalUs"
>;

interface ShardOptions {
  /** Counted from 0. */
  readonly number: number;
  readonly hot: HotStore;
  readonly cold: ColdShard;
  readonly ledger: Ledger;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly settings: ShardSettings;
  readonly journals: JournalBound;
  readonly streams: StreamRegistry;
  readonly ringRoom: RingRoom;
  /** The cold store no longer has earlier hours. */
  readonly aggregatesFrom: (now: number) => number;
  /** Aborted when the process begins to stop. */
  readonly signal: AbortSignal;
  readonly onBrokenInvariant: InvariantHandler;
}

const RETIRE_INTERVAL_MS = 60_000;
/** Added to the 400 ms that a command may take, it lets /readyz report within a second that Redis is down. */
const PROBE_INTERVAL_MS = 400;
const STOP_GRACE_MS = 5_000;
const RESTORE_INTERVAL_MS = 500;
const FIND_LOSSES_INTERVAL_MS = 500;
/** The longest that a reader of rows waits. A flush usually takes about 20 ms. */
const FLUSH_FOR_READER_MS = 1_000;
/** After a loss, the ids of this interval must be restored, and those of a minute before it. */
const COMPARE_INTERVAL_MS = 10_000;

export class Shard {
  readonly number: number;
  readonly hot: HotReads;
  readonly committer: Committer;
  readonly flusher: Flusher;
  readonly #options: ShardOptions;
  readonly #adoption: AdoptionOptions;
  readonly #identity: WriterIdentity;
  readonly #ids: IdRestoration;
  readonly #tasks: RecurringTask[];
  #comparedConnections = 0;

  constructor(options: ShardOptions) {
    const { number, hot, cold, ledger, metrics, log, clock, settings, journals, signal } = options;
    const { flushIntervalMs, flushMaxEvents, leaseMs, outcomeTimeoutMs, commitIntervalUs } = settings;
    const { ringRoom, onBrokenInvariant } = options;
    this.#options = options;
    this.number = number;
    this.hot = this.#ownReads(hot);
    this.#adoption = { hot, cold, log, ledger, flushMaxEvents };
    const books = { ledger, metrics, log, clock, onBrokenInvariant };
    const onSealed = () => this.#identity.noteSealed();
    const flusher = new Flusher({ ...books, hot, cold, ringRoom, flushIntervalMs, flushMaxEvents, onSealed });
    const ids = new IdRestoration({ hot, cold, log, clock, signal });
    const identity = new WriterIdentity({ hot, flusher, adoption: this.#adoption, ledger, log, clock, ids, ringRoom });
    this.committer = new Committer({
      ...books,
      hot,
      flusher,
      hydrate: hydrator(hot, cold, metrics, clock),
      identity,
      ids,
      journals,
      streams: options.streams,
      outcomeTimeoutMs,
      commitIntervalMs: commitIntervalUs / 1_000,
    });
    this.flusher = flusher;
    this.#identity = identity;
    this.#ids = ids;
    const checkAdmission = admissionLog(this.committer, ledger, log, clock);
    const task = (what: string, intervalMs: number, work: () => Promise<unknown>) =>
      recurringTask(what, intervalMs, log, clock, work);
    this.#tasks = [
      task("renew the lease", Math.min(leaseMs / 3, PROBE_INTERVAL_MS), () => this.committer.probe()),
      task("watch admission", PROBE_INTERVAL_MS, async () => checkAdmission()),
      task("adopt journals", leaseMs, async () => {
        if (this.#isHotOwn) await adoptJournals({ ...this.#adoption, signal });
      }),
      task("check for lost data", FIND_LOSSES_INTERVAL_MS, () => this.#findLosses()),
      task("restore ids", RESTORE_INTERVAL_MS, () => ids.check()),
      task("compare writers", Math.min(leaseMs, COMPARE_INTERVAL_MS), () => this.#compareWriters()),
      task("retire hours", RETIRE_INTERVAL_MS, async () => {
        if (this.#isHotOwn) await this.retire();
      }),
    ];
  }

  /** Returns after the first attempt to register a writer. If it failed, retries continue in the background. */
  async start(): Promise<void> {
    this.flusher.start();
    await this.committer.start();
  }

  startChores(): void {
    for (const task of this.#tasks) task.start();
  }

  async #findLosses(): Promise<void> {
    if (this.#options.cold.isHotOfOther) {
      // The writer was registered while the cold store was unavailable. The next one is refused.
      this.#identity.isLost = true;
      this.committer.kick();
    }
    await this.#identity.checkLeft((doubt, fate) => this.committer.settle(doubt, fate));
    // Owed batches wait for ids, which may be known by now.
    if (this.committer.isOwing) this.committer.kick();
    if (this.#options.hot.connections !== this.#comparedConnections) await this.#compareWriters();
  }

  /** True once a writer was registered, unless the database has said that the hot store is not its own. */
  get #isHotOwn(): boolean {
    return this.#identity.users !== undefined && !this.#options.cold.isHotOfOther;
  }

  #ownReads(hot: HotStore): HotReads {
    const own = () => {
      if (this.#isHotOwn) return hot;
      throw new HotUnavailableError("The hot store is not known to belong to this database", false);
    };
    return {
      read: async (keys) => await own().read(keys),
      readRange: async (range, visit) => await own().readRange(range, visit),
      journalOwners: async () => await own().journalOwners(),
    };
  }

  /**
   * Repeated, because a writer may store events late, or while Redis has two masters. If nothing is missing, the server
   * behind this connection knows all that was stored before the comparison, with its ids.
   */
  async #compareWriters(): Promise<void> {
    const { hot, cold } = this.#options;
    const { connections } = hot;
    this.flusher.reopenCold();
    // A server that took over, or was set otherwise, may lose what it acknowledges: open() says so.
    await hot.open();
    await cold.open();
    const storedByMs = await cold.time();
    if (connections !== this.#comparedConnections) this.flusher.trimAgain();
    const isWhole = await this.#identity.compareWriters();
    if (this.#identity.isLost) this.committer.kick();
    this.#comparedConnections = connections;
    if (isWhole && hot.connections === connections) await this.#ids.note(storedByMs);
  }

  get writer(): string | undefined {
    return this.#identity.name;
  }

  /** Why events are refused now; undefined if they are accepted. */
  get refusal(): RefusalReason | undefined {
    return this.committer.refusal;
  }

  /** True while the hot store may lack acknowledged events of this process because it lost data. */
  get isRecovering(): boolean {
    return this.committer.isRecovering;
  }

  flushCommitted(): Promise<void> {
    return this.flusher.flushCommitted(FLUSH_FOR_READER_MS);
  }

  /** Drops hours that are too old for the hot store; returns how many. */
  async retire(): Promise<number> {
    const { hot, clock, settings, aggregatesFrom } = this.#options;
    const at = clock.now();
    const oldestHour = hourOf(at) - (settings.hotHours - 1) * HOUR_MS;
    // The hot store must not keep an hour that the cold store has deleted.
    const beforeHour = Math.max(oldestHour, aggregatesFrom(at));
    let retired = 0;
    for (;;) {
      const count = await hot.retire(beforeHour);
      if (count === 0) return retired;
      retired += count;
    }
  }

  /** Accepts no more events, and settles and flushes those it has. Returns whether all are flushed. Never throws. */
  async stop(): Promise<boolean> {
    await Promise.all(this.#tasks.map((task) => task.stop()));
    await this.committer.stop(STOP_GRACE_MS);
    return await this.flusher.stop();
  }

  /** Gives up the writer after it has stopped. Throws HotUnavailableError or ColdUnavailableError. */
  async endWriter(isDrained: boolean): Promise<void> {
    const { writer } = this;
    if (writer === undefined) return;
    await this.#options.hot.abandon(writer);
    if (isDrained) await adoptJournal(this.#adoption, writer);
  }
}
