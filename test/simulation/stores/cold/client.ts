/**
 * A process's access to the ColdServer: behaves like src/store/mysql, without a socket. Each call has its own
 * connection.
 *
 * Invariants: a flush is one transaction, which begins by locking its writer. If it is given up before COMMIT is sent,
 * it is rolled back sooner or later; after that it may be committed, and nobody is told.
 */
import type { HourKey, JournaledBatch } from "../../../../src/domain/event.ts";
import type { HourRange, HourTotals } from "../../../../src/domain/hour-range.ts";
import type { ErasedCounts, RetentionBounds } from "../../../../src/domain/retention-bounds.ts";
import type { Clock } from "../../../../src/runtime/clock.ts";
import {
  ColdUnavailableError,
  type DataSet,
  type HourAudit,
  type HourPartVisitor,
  type IdPage,
  type IdRowKey,
  type RowKey,
  type RowPage,
  type StoredEvents,
  type Swept,
  type UpkeepProblems,
  type UserRow,
  type UserSelection,
  type UsersRange,
  WriterSealedError,
} from "../../../../src/store/cold.ts";
import { flushName } from "../../../../src/store/sql/rows.ts";
import { Connection, type Link } from "../../world/network.ts";
import type { Owner, Scheduler } from "../../world/scheduler.ts";
import type { Trace } from "../../world/trace.ts";
import type { ColdData } from "./data.ts";
import type { ColdServer, WriterLock } from "./server.ts";

const FLUSH_TIMEOUT_MS = 10_000;
const READ_TIMEOUT_MS = 1_000;
/** How long the server keeps a transaction whose client vanished silently. */
const ORPHANED_MAX_MS = 3_000;

export interface ColdClientOptions {
  readonly scheduler: Scheduler;
  readonly link: Link;
  readonly process: Owner;
  readonly server: ColdServer;
  readonly clock: Clock;
  readonly trace: Trace;
  /** Called before an epoch is begun. */
  readonly onBeginEpoch: (shard: number) => void;
}

/** One call: a connection, and whoever waits for what comes of it. */
interface Call<T> {
  readonly what: string;
  readonly connection: Connection;
  readonly run: number;
  /** Cancels its deadline. */
  readonly cancel: () => void;
  isSettled: boolean;
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

export class ColdClient {
  readonly name = "Memory";
  readonly isInDataDir = false;
  readonly description = "memory of the simulation";
  readonly pastReads = undefined;
  readonly #options: ColdClientOptions;
  #isOpen = false;
  #isClosed = false;

  constructor(options: ColdClientOptions) {
    this.#options = options;
  }

  async open(): Promise<readonly string[]> {
    if (!this.#isOpen) await this.#ask("open", () => undefined);
    this.#isOpen = true;
    return [];
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  /** Runs at one instant, without a lock. */
  #ask<T>(what: string, query: (data: ColdData) => T, isWrite = false): Promise<T> {
    return this.#call<T>(what, READ_TIMEOUT_MS, (call) => {
      call.connection.request(() => {
        const { server } = this.#options;
        if (this.#isGone(call)) return this.#lost(call);
        if (isWrite && server.isReadOnly) return () => this.#fail(call, "it is read-only");
        const answer = query(server.data);
        return () => this.#settle(call, () => call.resolve(answer));
      });
    });
  }

  #call<T>(what: string, timeoutMs: number, begin: (call: Call<T>) => void): Promise<T> {
    const { scheduler, link, process, server, clock } = this.#options;
    if (this.#isClosed) return Promise.reject(new ColdUnavailableError(`could not ${what}: it is closed`));
    return new Promise<T>((resolve, reject) => {
      const connection = new Connection(scheduler, link, process, server, () => this.#fail(call, "reset"));
      const cancel = clock.after(timeoutMs, () => this.#fail(call, "no answer in time"));
      const call: Call<T> = { what, connection, run: server.run, cancel, isSettled: false, resolve, reject };
      if (link.isCut) clock.after(1, () => this.#fail(call, "connection refused"));
      else begin(call);
    });
  }

  /** True if the server has stopped since the call began. */
  #isGone({ run }: Call<never> | Call<unknown>): boolean {
    const { server } = this.#options;
    return server.isDown || server.run !== run;
  }

  #lost(call: Call<never>): () => void {
    return () => this.#fail(call, "connection refused");
  }

  #fail(call: Call<never>, why: string): void {
    this.#settle(call, () => call.reject(new ColdUnavailableError(`could not ${call.what}: ${why}`)));
  }

  #settle(call: Call<never>, act: () => void): void {
    if (call.isSettled) return;
    call.isSettled = true;
    call.cancel();
    call.connection.end();
    act();
  }

  /** `hold` is called at the server once the lock is there. */
  #locked<T>(what: string, writer: string, hold: (call: Call<T>, lock: WriterLock) => void): Promise<T> {
    const { server } = this.#options;
    return this.#call<T>(what, FLUSH_TIMEOUT_MS, (call) => {
      call.connection.request(() => {
        if (this.#isGone(call)) return this.#lost(call);
        if (server.isReadOnly) return () => this.#fail(call, "it is read-only");
        server.lockWriter(
          writer,
          () => call.connection.isOpen,
          (lock) => hold(call, lock),
        );
        return () => {};
      });
    });
  }

  async flush(writer: string, batches: readonly JournaledBatch[], shard = 0, epoch?: number): Promise<number> {
    if (batches.length === 0) return 0;
    const what = flushName(writer, batches);
    const { data } = this.#options.server;
    return await this.#locked<number>(what, writer, (call, lock) => {
      this.#whenGone(call, lock);
      // The statements take some round trips; then the process sends COMMIT.
      call.connection.request(() => () => {
        if (call.isSettled) return;
        const flush = () => data.flush(writer, batches, shard, epoch);
        call.connection.request(() => this.#commit(call, lock, flush), "commit");
      });
    });
  }

  #commit(call: Call<number>, lock: WriterLock, flush: () => number): () => void {
    const { server, process, trace } = this.#options;
    if (this.#isGone(call)) return this.#lost(call);
    try {
      const stored = flush();
      if (trace.isOn) trace.add(server.name, `${call.what} of ${process.name}: ${stored} rows`);
      return () => this.#settle(call, () => call.resolve(stored));
    } catch (error) {
      if (!(error instanceof WriterSealedError)) throw error;
      if (trace.isOn) trace.add(server.name, `${call.what} of ${process.name}: sealed`);
      return () => this.#settle(call, () => call.reject(error));
    } finally {
      lock.release();
    }
  }

  /** A transaction whose connection has ended is rolled back when the server finds out, unless COMMIT came first. */
  #whenGone(call: Call<number>, lock: WriterLock): void {
    const { scheduler, server, link } = this.#options;
    const look = () => {
      if (this.#isGone(call)) return;
      if (call.connection.isOpen && !this.#options.process.isDead) scheduler.after(ORPHANED_MAX_MS / 3, server, look);
      else scheduler.after(link.between(0, ORPHANED_MAX_MS), server, () => lock.release());
    };
    scheduler.after(ORPHANED_MAX_MS / 3, server, look);
  }

  async watermark(writer: string): Promise<number> {
    return await this.#locked<number>(`watermark ${writer}`, writer, (call, lock) => {
      const seq = this.#options.server.data.watermark(writer);
      lock.release();
      call.connection.request(() => () => this.#settle(call, () => call.resolve(seq)));
    });
  }

  async seal(writer: string, shard = 0, skippedSeq = 0): Promise<void> {
    await this.#locked<void>(`seal ${writer}`, writer, (call, lock) => {
      const { server, process, trace } = this.#options;
      server.data.seal(writer, shard, skippedSeq);
      if (trace.isOn) trace.add(server.name, `${call.what} of ${process.name}`);
      lock.release();
      call.connection.request(() => () => this.#settle(call, () => call.resolve()));
    });
  }

  epoch(shard = 0): Promise<number> {
    return this.#ask("epoch", (data) => data.epoch(shard));
  }

  async beginEpoch(from: number, shard = 0, to = from + 1): Promise<boolean> {
    this.#options.onBeginEpoch(shard);
    return await this.#ask(`begin the epoch after ${from}`, (data) => data.beginEpoch(from, shard, to), true);
  }

  writersOf(epoch: number, sealedWithinMs: number, shard = 0): Promise<ReadonlyMap<string, number>> {
    return this.#ask("writersOf", (data) => data.writersOf(epoch, sealedWithinMs, shard));
  }

  time(): Promise<number> {
    return this.#ask("time", (data) => data.time());
  }

  flushedIds(sinceMs: number, before: IdRowKey | undefined, shard = 0): Promise<IdPage> {
    return this.#ask("flushedIds", (data) => data.flushedIds(sinceMs, before, shard));
  }

  forgetFlushedIds(beforeMs: number): Promise<boolean> {
    return this.#ask("forgetFlushedIds", (data) => data.forgetFlushedIds(beforeMs), true);
  }

  shardCount(): Promise<number | undefined> {
    return this.#ask("shardCount", (data) => data.shardCount());
  }

  fixShardCount(count: number): Promise<number> {
    return this.#ask("fixShardCount", (data) => data.fixShardCount(count), true);
  }

  read(key: HourKey, shards?: readonly number[]): Promise<HourTotals | undefined> {
    return this.#ask("read", (data) => data.read(key, shards));
  }

  async readRange(range: HourRange, visit: HourPartVisitor): Promise<void> {
    for (const { record, shard } of await this.#ask("readRange", (data) => data.readRange(range))) {
      visit(record, shard);
    }
  }

  streams(limit: number): Promise<readonly string[]> {
    return this.#ask("streams", (data) => data.streams(limit));
  }

  dataSet(): Promise<DataSet> {
    return this.#ask("dataSet", (data) => data.dataSet());
  }

  newestHour(): Promise<number | undefined> {
    return this.#ask("newestHour", (data) => data.newestHour());
  }

  storedEvents(writers: readonly string[], shard?: number): Promise<StoredEvents> {
    return this.#ask("storedEvents", (data) => data.storedEvents(writers, shard));
  }

  hourKeys(): Promise<readonly HourKey[]> {
    return this.#ask("hourKeys", (data) => data.hourKeys());
  }

  audit(key: HourKey, shard = 0): Promise<HourAudit> {
    return this.#ask("audit", (data) => data.audit(key, shard));
  }

  rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage> {
    return this.#ask("read rows", (data) => data.rowsOf(key, after, limit));
  }

  async readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void> {
    for (const row of await this.#ask("readUsers", (data) => data.userRows(range))) visit(row);
  }

  eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    return this.#ask("erase rows", (data) => data.eraseUserRows(selection, hour), true);
  }

  rebuild(key: HourKey, shard = 0): Promise<boolean> {
    return this.#ask("rebuild", (data) => data.rebuild(key, shard), true);
  }

  async upkeep(): Promise<UpkeepProblems> {
    return {};
  }

  retained(): Promise<RetentionBounds> {
    return this.#ask("retained", (data) => data.retained());
  }

  sweep(bounds: RetentionBounds): Promise<Swept> {
    return this.#ask("sweep", (data) => data.sweep(bounds), true);
  }

  deadLetterHours(limit: number): Promise<readonly HourKey[]> {
    return this.#ask("deadLetterHours", (data) => data.deadLettersOf().slice(0, limit));
  }

  deadLetterCount(range?: UsersRange): Promise<number> {
    return this.#ask("deadLetterCount", (data) => data.deadLettersOf(range).length);
  }
}
