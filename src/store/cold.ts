/**
 * The cold store: rows, hourly aggregates with their sketches, and one watermark per writer.
 *
 * Invariant: the batches of a writer are stored in the order of their seq, each exactly once. The watermark moves in
 * the same transaction as the rows and the aggregates, so that a flush whose answer was lost can be sent again
 * unchanged, by the writer itself or by the adopter of its journal.
 *
 * A writer belongs to one shard, and so do its rows. Each shard's part of an hour is stored separately: an hour is the
 * sum of its parts, and the union of their sketches.
 *
 * The contract is divided into roles: take the role that you need. Every method throws ColdUnavailableError.
 */
import type { ApiKey } from "../domain/api-key.ts";
import type { JournaledBatch } from "../domain/batch.ts";
import type { Event, HourKey, Kind } from "../domain/event.ts";
import type { HourRange, HourRecord, HourTotals } from "../domain/hour-range.ts";
import type { ErasedCounts, RetentionBounds } from "../domain/retention-bounds.ts";
import type { StreamSelection } from "../domain/stream-rules.ts";
import { USER_KEY_BYTES } from "../domain/unique-users/user-hash.ts";

/** The cold store did not answer, or failed. The outcome of a flush is then unknown. */
export class ColdUnavailableError extends Error {
  override readonly name = "ColdUnavailableError";
}

/**
 * The cause of a ColdUnavailableError: the replica that was read from failed after some rows had been shown. The same
 * read may be started again from the first row.
 */
export class ReadInterruptedError extends Error {
  override readonly name = "ReadInterruptedError";
}

/** The writer was sealed by the adopter of its journal: it stores no batches that were not in there. */
export class WriterSealedError extends Error {
  override readonly name = "WriterSealedError";
}

export interface DataSet {
  /** A UUID: everything that belongs to the same data names the same one. */
  readonly identity: string;
  /** The secret key under which users enter sketches (UserHash). */
  readonly userKey: Uint8Array;
}

export function newDataSet(): DataSet {
  return { identity: crypto.randomUUID(), userKey: crypto.getRandomValues(new Uint8Array(USER_KEY_BYTES)) };
}

export interface ColdConnection {
  readonly name: string;
  /** Where the data is, for the start-up lines: never with a password. */
  readonly description: string;
  /** Connects and migrates, under a lock. May be called again after it failed. */
  open(): Promise<void>;
  /** Which of the database's settings may lose committed transactions, and how to change them. */
  durabilityWarnings(): Promise<readonly string[]>;
  /** Created by the first call; concurrent first callers all get the same. It never changes. */
  dataSet(): Promise<DataSet>;
  /** The number of shards that the data is divided into; undefined if no instance has set it yet. */
  shardCount(): Promise<number | undefined>;
  /** Sets it to `count` unless it is set; answers the number that holds. It never changes. */
  fixShardCount(count: number): Promise<number>;
  close(): Promise<void>;
}

export interface ColdStore
  extends ColdConnection,
    FlushStore,
    IdStore,
    ReadStore,
    AuditStore,
    RetentionStore,
    ErasureStore,
    DeadLetterStore,
    PoisonStore,
    KeyStore {}

/** Flushers, and adopters of journals. */
export interface FlushStore {
  /**
   * Stores in one transaction the batches whose seq lies above the writer's watermark, and moves it to the last one's.
   * Batches come in ascending order of seq. A row whose values the database refuses is set aside as a dead letter, and
   * the others are stored. Answers the number of events stored now, dead letters among them: 0 when all of them had
   * been stored before. On ColdUnavailableError the same call may be made again. Throws WriterSealedError if the writer
   * is sealed and some batch is new, or if it has stored nothing yet and the shard is at another epoch than `epoch`
   * (default: any). `shard`: the writer's; default 0.
   */
  flush(writer: string, batches: readonly JournaledBatch[], shard?: number, epoch?: number): Promise<number>;
  /** The writer's last stored seq, 0 if it has none; waits for a flush of that writer that is in progress. */
  watermark(writer: string): Promise<number>;
  /**
   * Ends the writer: its watermark no longer moves. `skippedSeq` (default 0): of a writer that has stored no event, it
   * is at least that from now on, so that nothing up to there is stored under its name.
   */
  seal(writer: string, shard?: number, skippedSeq?: number): Promise<void>;
  /** How often the shard's hot data set was initialized, or begun to be. */
  epoch(shard?: number): Promise<number>;
  /**
   * Before a hot data set is initialized: seals all writers of the shard, so that what they had committed to an earlier
   * one is stored no more without being committed to this one. The next epoch has begun then. False, and nothing done,
   * if the shard is not at epoch `from`.
   */
  beginEpoch(from: number, shard?: number): Promise<boolean>;
  /**
   * Those that were first flushed in this epoch and have stored events; of sealed ones only those that stored or were
   * sealed within this time. The latest 1,000, each with the seq of its last batch.
   */
  writersOf(epoch: number, sealedWithinMs: number, shard?: number): Promise<ReadonlyMap<string, number>>;
}

/** For messages. `batches`: at least one. */
export function flushName(writer: string, batches: readonly JournaledBatch[]): string {
  return `flush batches ${batches[0]?.seq} to ${batches.at(-1)?.seq} of writer ${writer}`;
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
  /** Before which the next page begins; undefined if this is the last. */
  readonly next: IdRowKey | undefined;
}

/** For a hot store that has lost its ids: a flush stores the ids of its events in its transaction. */
export interface IdStore {
  /** By the database's clock, ms. */
  time(): Promise<number>;
  /** Those that were flushed from `sinceMs` on, the latest first. `before`: what IdPage.next is. */
  flushedIds(sinceMs: number, before: IdRowKey | undefined, shard?: number): Promise<IdPage>;
  /** Deletes some of those that were flushed before `beforeMs`; answers whether more are left. */
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

/** Takes one shard's part of an hour. */
export type HourPartVisitor = (hour: HourRecord, shard: number) => void;

/** How many ranges were read from the replica, or from the primary because the replica was behind or unavailable. */
export interface PastReads {
  readonly replica: number;
  readonly behind: number;
  readonly away: number;
}

export interface StoredEvents {
  /** Of all writers, past and present. */
  readonly total: number;
  /** Of the requested writers that have any. */
  readonly byWriter: ReadonlyMap<string, number>;
}

/** Reads of hours and ranges, and the ledger. */
export interface ReadStore {
  /** Undefined if there is no replica. */
  readonly pastReads: PastReads | undefined;
  /** The given shards' parts, or all. Undefined if no event of that hour is stored. */
  read(key: HourKey, shards?: readonly number[]): Promise<HourTotals | undefined>;
  /**
   * Shows `visit` each stored part of each hour of the range, by hour, with one query: all of one instant. Whatever
   * `visit` throws ends the reading, and is thrown.
   */
  readRange(range: HourRange, visit: HourPartVisitor): Promise<void>;
  /** The same for the rows of those hours, one by one. */
  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void>;
  /** Names of streams that have hours, in order, at most `limit`. */
  streams(limit: number): Promise<readonly string[]>;
  /** The latest hour of any stream that has an event; undefined if there is none. */
  newestHour(): Promise<number | undefined>;
  /** How many events are stored, dead letters among them. */
  storedEvents(writers: readonly string[]): Promise<StoredEvents>;
}

export interface HourAudit {
  readonly aggregate: HourTotals | undefined;
  /** Counted from the rows; undefined if there are none. */
  readonly rows: HourTotals | undefined;
  readonly deadLetters: number;
  readonly erased: ErasedCounts;
  readonly retained: RetentionBounds;
}

/** Identifies a row within its hour: the rest of the primary key. */
export interface RowKey {
  readonly writer: number;
  readonly seq: number;
  readonly ordinal: number;
}

export interface RowPage {
  readonly events: readonly Event[];
  /** Where the next page starts; undefined if this is the last. */
  readonly last: RowKey | undefined;
}

/** `verify` and `export`: every row, and the aggregates. */
export interface AuditStore {
  /** All hours that have rows, an aggregate or dead letters, by hour and stream. */
  hourKeys(): Promise<readonly HourKey[]>;
  /**
   * At most `limit` events of the hour, by the primary key, after `after` (undefined: from the first). What is flushed
   * between two pages may be in none of them; what was stored before the first is in one.
   */
  rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage>;
  /** A consistent picture of a shard's part of the hour; default shard 0. Reads every row of it. */
  audit(key: HourKey, shard?: number): Promise<HourAudit>;
  /**
   * Recomputes the part's aggregate from its rows and the counts of erased ones. If any were erased the sketches are
   * united with those of the rows, since they know more users. False, and nothing done, if the rows are not retained.
   */
  rebuild(key: HourKey, shard?: number): Promise<boolean>;
}

/** The numbers that one piece of a sweep deleted. */
export interface Swept {
  /** In MySQL, with all their rows. */
  readonly partitions: number;
  readonly rows: number;
  readonly aggregates: number;
  readonly deadLetters: number;
  /** False if more may be left. */
  readonly isDone: boolean;
}

export interface RetentionStore {
  /**
   * Why the days to come will have no partitions, as far as is known: retention would have to delete their rows one by
   * one. Undefined if all is well, or the store has none anyway.
   */
  partitionProblem(): Promise<string | undefined>;
  /** The current bounds: read after rows were read, they tell whether all of those still existed. */
  retained(): Promise<RetentionBounds>;
  /**
   * Records the bounds, and deletes a piece of what is before them, small enough to delay nothing. Call it until it is
   * done; of concurrent calls, one does the work. Throws ColdUnavailableError if `now` is ahead of the database's
   * clock.
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
  /** Of all streams, as the aggregates count them. */
  readonly events: number;
}

/** `forget`, and readers, who need to know about erased rows. */
export interface ErasureStore {
  /** The first hour after `hour` that has rows. */
  nextHourWithRows(hour: number): Promise<number | undefined>;
  /** By hour: the length of a scan of all rows. */
  hourSizes(): Promise<readonly HourSize[]>;
  countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  /**
   * Deletes the user's rows of the hour, piece by piece, and stores their numbers in the same transaction: interrupted
   * anywhere and called again it continues. Aggregates stay as they are. Answers what it deleted.
   */
  eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  countUserDeadLetters(selection: UserSelection): Promise<number>;
  /** Answers the hours of the erased letters, one element a letter. */
  eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]>;
  /** Only hours that have any. */
  erasedRows(range: UsersRange): Promise<readonly ErasedHour[]>;
}

/** An acknowledged event whose row the database refused: set aside, and counted in no hour. */
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
  /** There is no dead letter with this number: it was replayed or dropped. */
  | { readonly status: "unknown" };

/** Operators: to list, replay and drop rows that the database refused. */
export interface DeadLetterStore {
  deadLetterCount(): Promise<number>;
  /** By number, from above `afterNumber` on. */
  deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]>;
  /** Makes it a row, and counts it, in one transaction. */
  replayDeadLetter(number: number): Promise<ReplayResult>;
  dropDeadLetter(number: number): Promise<boolean>;
}

export interface Poison {
  /** SHA-256, in hex, of content and origin: a message that is delivered again is set aside once. */
  readonly digest: string;
  readonly origin: string;
  /** The message's id, if its sender gave it one. */
  readonly messageId: string | undefined;
  /** Of the event within the message, from 0; undefined: the message as a whole. */
  readonly position: number | undefined;
  /** The event's id, unless it names one itself. */
  readonly eventId: string | undefined;
  readonly body: string;
  readonly reason: string;
}

export interface StoredPoison extends Omit<Poison, "digest"> {
  readonly number: number;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

/** Intakes and operators: messages that could not become an event. */
export interface PoisonStore {
  /** All in one transaction, each once by its digest. */
  setAsidePoison(poison: readonly Poison[]): Promise<void>;
  /** By number, from above `afterNumber` on. */
  poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]>;
  dropPoison(number: number): Promise<boolean>;
}

/** Access control. */
export interface KeyStore {
  /** All keys that were ever created, oldest first. */
  apiKeys(): Promise<readonly ApiKey[]>;
  addApiKey(key: ApiKey): Promise<void>;
  /** False if there is no such key, or it was revoked before. */
  revokeApiKey(id: string, at: number): Promise<boolean>;
}
