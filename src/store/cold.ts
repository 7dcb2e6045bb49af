/**
 * The cold store: rows, hourly aggregates with their sketches, and a watermark per writer.
 *
 * Invariant: a writer's batches are stored in the order of their seq, each exactly once. The watermark moves in the
 * transaction that stores the rows and aggregates. So a flush whose answer was lost can be repeated unchanged, by the
 * writer or by the adopter of its journal.
 *
 * A writer, and so its rows, belongs to one shard. Each shard's part of an hour is stored separately: an hour is the
 * sum of its parts and the union of their sketches.
 *
 * The contract is divided into roles: depend on the role you need. Every method throws ColdUnavailableError.
 */
import type { ApiKey } from "../domain/api-key.ts";
import type { Event, HourKey, JournaledBatch, Kind } from "../domain/event.ts";
import type { HourRange, HourRecord, HourTotals } from "../domain/hour-range.ts";
import type { ErasedCounts, RetentionBounds } from "../domain/retention-bounds.ts";
import type { StreamSelection } from "../domain/stream-rules.ts";
import { USER_KEY_BYTES } from "../domain/unique-users/user-hash.ts";
import { StoreUnavailableError } from "./unavailable-error.ts";

/** The cold store did not answer, or failed. The outcome of a flush is then unknown. */
export class ColdUnavailableError extends StoreUnavailableError {
  override readonly name = "ColdUnavailableError";
  override readonly reason = "cold_store_away";
}

/**
 * Cause of a ColdUnavailableError: the replica failed after the visitor had seen some rows. The read may be restarted.
 */
export class ReadInterruptedError extends Error {
  override readonly name = "ReadInterruptedError";
}

/** The adopter of the writer's journal sealed the writer: it accepts no batches that were not in that journal. */
export class WriterSealedError extends Error {
  override readonly name = "WriterSealedError";
}

export interface DataSet {
  /** A UUID, shared by everything that belongs to the same data. */
  readonly identity: string;
  /** The secret key under which users enter sketches (UserHash). */
  readonly userKey: Uint8Array;
}

export function newDataSet(): DataSet {
  return { identity: crypto.randomUUID(), userKey: crypto.getRandomValues(new Uint8Array(USER_KEY_BYTES)) };
}

export interface ColdConnection {
  readonly name: string;
  /** Whether it is a file in DATA_DIR, beside the hot store's. */
  readonly isInDataDir: boolean;
  /** Where the data is, for the start-up log; never with a password. */
  readonly description: string;
  /**
   * Connects and migrates, under a lock. May be called again after a failure. Returns warnings about settings that may
   * lose committed transactions.
   */
  open(): Promise<readonly string[]>;
  /** Created by the first call, and the same for all concurrent first callers. It never changes. */
  dataSet(): Promise<DataSet>;
  /** How many shards the data is divided into; undefined until an instance sets it. */
  shardCount(): Promise<number | undefined>;
  /** Sets the number unless it is set; returns the number in force. It never changes. */
  fixShardCount(count: number): Promise<number>;
  close(): Promise<void>;
}

export interface ColdStore
  extends ColdConnection,
    FlushStore,
    IdStore,
    ReadStore,
    AuditStore,
    UpkeepStore,
    RetentionStore,
    ErasureStore,
    DeadLetterStore,
    PoisonStore,
    KeyStore {}

/** Used by flushers, and by adopters of journals. */
export interface FlushStore {
  /**
   * Stores the batches above the writer's watermark in one transaction, and moves the watermark to the last of them.
   * `batches` ascend by seq. A row whose values the database refuses becomes a dead letter; the others are stored.
   * Returns the number of events stored now, including dead letters: 0 if all had been stored before. May be repeated
   * unchanged after ColdUnavailableError. If a batch is new, throws WriterSealedError if the writer is sealed, or the
   * shard's epoch is not `epoch` (default: any). `shard` is the writer's, by default 0.
   */
  flush(writer: string, batches: readonly JournaledBatch[], shard?: number, epoch?: number): Promise<number>;
  /** The writer's last stored seq, or 0; waits for the writer's flush in progress. */
  watermark(writer: string): Promise<number>;
  /**
   * Seals the writer: its watermark never moves again. If it has stored no event, its watermark becomes at least
   * `skippedSeq` (default 0), so that nothing up to there is stored under its name.
   */
  seal(writer: string, shard?: number, skippedSeq?: number): Promise<void>;
  /** How many initializations of the shard's hot data set have begun. */
  epoch(shard?: number): Promise<number>;
  /**
   * Called before a hot data set is initialized: seals all writers of the shard, so that what they committed to an
   * earlier data set is only stored once it is committed to this one. Begins the epoch `to`, by default the next one.
   * False, changing nothing, if the shard's epoch is not `from`.
   */
  beginEpoch(from: number, shard?: number, to?: number): Promise<boolean>;
  /**
   * The writers that were first flushed in this epoch and have stored events, each with its last seq; at most the
   * latest 1,000. Sealed writers are included only if they stored or were sealed within this time.
   */
  writersOf(epoch: number, sealedWithinMs: number, shard?: number): Promise<ReadonlyMap<string, number>>;
}

export interface StoredIds {
  readonly stream: string;
  readonly ids: readonly string[];
  readonly ageMs: number;
}

export interface IdRowKey {
  readonly flushedAtMs: number;
  readonly writer: number;
  readonly seq: number;
  readonly piece: number;
}

export interface IdPage {
  readonly ids: readonly StoredIds[];
  /** The start of the next page; undefined if this is the last. */
  readonly next: IdRowKey | undefined;
}

/** Serves a hot store that lost its ids: a flush stores its events' ids in its transaction. */
export interface IdStore {
  /** The database's clock, in ms. */
  time(): Promise<number>;
  /** Ids flushed since `sinceMs`, latest first. `before`: IdPage.next of the previous page. */
  flushedIds(sinceMs: number, before: IdRowKey | undefined, shard?: number): Promise<IdPage>;
  /** Deletes some ids flushed before `beforeMs`; returns whether any are left. */
  forgetFlushedIds(beforeMs: number): Promise<boolean>;
}

/** `hours`: at least one. */
export interface UsersRange {
  readonly hours: readonly number[];
  readonly streams: StreamSelection;
}

export interface UserRow {
  readonly hour: number;
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
}

/** Receives one shard's part of an hour. */
export type HourPartVisitor = (hour: HourRecord, shard: number) => void;

/** How many ranges were read from the replica, or from the primary because the replica was behind or unavailable. */
export interface PastReads {
  readonly replica: number;
  readonly behind: number;
  readonly away: number;
}

/** Gets the reason when the replica turns out to be unusable, and undefined when it can be used again. */
export type OnReplicaChange = (problem: string | undefined) => void;

export interface StoredEvents {
  /** Of all writers, past and present. It never falls, unless the store is set back to an earlier state. */
  readonly total: number;
  /** The requested writers that have any events. */
  readonly byWriter: ReadonlyMap<string, number>;
}

export interface ReadStore {
  /** Undefined without a replica. */
  readonly pastReads: PastReads | undefined;
  /** The sum of the given shards' parts (default: all). Undefined if no event of that hour is stored. */
  read(key: HourKey, shards?: readonly number[]): Promise<HourTotals | undefined>;
  /**
   * Passes each stored part of each hour to `visit`, ordered by hour, from one consistent snapshot. An exception of
   * `visit` ends the read and is rethrown.
   */
  readRange(range: HourRange, visit: HourPartVisitor): Promise<void>;
  /** Like readRange(), for the rows of those hours. */
  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void>;
  /** Names of streams that have hours, sorted, at most `limit`. */
  streams(limit: number): Promise<readonly string[]>;
  /** The latest hour with an event in any stream; undefined if there is none. */
  newestHour(): Promise<number | undefined>;
  /** The number of stored events, including dead letters: in all, or of one shard's writers. */
  storedEvents(writers: readonly string[], shard?: number): Promise<StoredEvents>;
}

export interface HourAudit {
  readonly aggregate: HourTotals | undefined;
  /** Counted from the rows; undefined if there are none. */
  readonly rows: HourTotals | undefined;
  readonly deadLetters: number;
  readonly erased: ErasedCounts;
  readonly retained: RetentionBounds;
}

/** Identifies a row within an hour of a stream: the rest of the primary key. */
export interface RowKey {
  readonly writer: number;
  readonly seq: number;
  readonly ordinal: number;
}

export interface RowPage {
  readonly events: readonly Event[];
  /** The start of the next page; undefined if this is the last. */
  readonly last: RowKey | undefined;
}

/** Used by `verify` and `export`, which read every row, and the aggregates. */
export interface AuditStore {
  /** All hours with rows, an aggregate or dead letters, ordered by hour and stream. */
  hourKeys(): Promise<readonly HourKey[]>;
  /**
   * At most `limit` events of the hour in primary-key order, after `after` (default: from the first). Events stored
   * before the first page are all in the pages; events flushed in between may be in none.
   */
  rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage>;
  /** A consistent snapshot of a shard's part of the hour (default shard 0), which reads all its rows. */
  audit(key: HourKey, shard?: number): Promise<HourAudit>;
  /**
   * Recomputes the part's aggregate from its rows and erased counts. If rows were erased, the stored sketches are
   * merged in, since they know the erased users. False, changing nothing, if the rows are not retained.
   */
  rebuild(key: HourKey, shard?: number): Promise<boolean>;
}

/** What one step of a sweep deleted. */
export interface Swept {
  /** MySQL only: partitions dropped with all their rows. */
  readonly partitions: number;
  readonly rows: number;
  readonly aggregates: number;
  readonly deadLetters: number;
  /** False if more may be left. */
  readonly isDone: boolean;
}

/** Why work fails, as far as known, that keeps the store fast. */
export interface UpkeepProblems {
  /** Future days will have no partitions: retention would have to delete their rows one by one. */
  readonly partitions?: string | undefined;
  /** The rows of hours are not folded: reads have more of them to add up. */
  readonly folding?: string | undefined;
}

export interface UpkeepStore {
  /** Does what is due. Call it every few minutes. */
  upkeep(): Promise<UpkeepProblems>;
}

export interface RetentionStore {
  /** The current bounds. Read after rows, they tell whether all of those rows still existed. */
  retained(): Promise<RetentionBounds>;
  /**
   * Records the bounds, then deletes some data before them, little enough to delay nothing. Call it until it is done;
   * of concurrent calls, one does the work. Throws ColdUnavailableError if `now` is ahead of the database's clock.
   */
  sweep(bounds: RetentionBounds, now: number): Promise<Swept>;
}

export interface UserSelection {
  readonly user: string;
  readonly stream: string | undefined;
}

/** Erased rows of all selected streams. */
export interface ErasedHour extends ErasedCounts {
  readonly hour: number;
}

export interface HourSize {
  readonly hour: number;
  /** Events of all streams, according to the aggregates. */
  readonly events: number;
}

/** Used by `forget`, and by reads, which must know about erased rows. */
export interface ErasureStore {
  /** The first hour after `hour` with rows. */
  nextHourWithRows(hour: number): Promise<number | undefined>;
  /** Ordered by hour: the size of a scan of all rows. */
  hourSizes(): Promise<readonly HourSize[]>;
  countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  /**
   * Deletes the user's rows of the hour in pieces, recording their numbers in the same transactions. May be interrupted
   * anywhere and called again. Aggregates are unchanged. Returns what it deleted.
   */
  eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  countUserDeadLetters(selection: UserSelection): Promise<number>;
  /** Returns the hour of each erased letter. */
  eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]>;
  /** Returns only hours that have erased rows. */
  erasedRows(range: UsersRange): Promise<readonly ErasedHour[]>;
}

/** An acknowledged event whose row the database refused. It counts in no hour. */
export interface DeadLetter {
  readonly number: number;
  readonly event: Event;
  readonly reason: string;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

export type ReplayResult =
  | { readonly status: "replayed" }
  | { readonly status: "refused"; readonly reason: string }
  /** No dead letter has this number: it was replayed or dropped. */
  | { readonly status: "unknown" };

/** Lists, replays and drops rows that the database refused, for operators. */
export interface DeadLetterStore {
  /** Of these hours, or of all. */
  deadLetterCount(range?: UsersRange): Promise<number>;
  /** At most `limit` hours of streams that have some. */
  deadLetterHours(limit: number): Promise<readonly HourKey[]>;
  /** Ordered by number, above `afterNumber`. */
  deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]>;
  /** Stores it as a row and counts it, in one transaction. */
  replayDeadLetter(number: number): Promise<ReplayResult>;
  dropDeadLetter(number: number): Promise<boolean>;
}

export interface Poison {
  /** SHA-256 (hex) of content and origin, so that a redelivered message is set aside once. */
  readonly digest: string;
  readonly origin: string;
  /** Undefined if the sender gave none. */
  readonly messageId: string | undefined;
  /** The event's position within the message, from 0; undefined: the whole message. */
  readonly position: number | undefined;
  /** The event's id if the event itself names none. */
  readonly eventId: string | undefined;
  readonly body: string;
  readonly reason: string;
}

export interface StoredPoison extends Omit<Poison, "digest"> {
  readonly number: number;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

/** Keeps messages that could not become events, for intakes and operators. */
export interface PoisonStore {
  /** Stores all in one transaction, deduplicated by digest. */
  setAsidePoison(poison: readonly Poison[]): Promise<void>;
  /** Ordered by number, above `afterNumber`. */
  poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]>;
  dropPoison(number: number): Promise<boolean>;
}

export interface KeyStore {
  /** All keys ever created, oldest first. */
  apiKeys(): Promise<readonly ApiKey[]>;
  addApiKey(key: ApiKey): Promise<void>;
  /** False if there is no such key, or if it was already revoked. */
  revokeApiKey(id: string, at: number): Promise<boolean>;
}
