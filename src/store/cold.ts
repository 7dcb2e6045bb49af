/**
 * The cold store: rows, hourly aggregates with their sketches, and one watermark per writer.
 *
 * Invariant: the batches of a writer are stored in the order of their seq, each exactly once. The watermark
 * moves in the same transaction as the rows and the aggregates, so that a flush whose answer was lost can be
 * sent again unchanged, by the writer itself or by whoever adopted its journal.
 *
 * A writer is of one shard, and so are its rows. What an hour comes to is kept for each shard apart: its aggregate is
 * the sum of these parts, and the union of their sketches.
 */
import type { ApiKey } from "../domain/api-key.ts";
import type { JournaledBatch } from "../domain/batch.ts";
import type { Event, HourKey, Kind } from "../domain/event.ts";
import type { HourRange, HourRecord, StreamSelection } from "../domain/hour-range.ts";
import type { ErasedCounts, Kept } from "../domain/retention-bounds.ts";
import type { UserSketches } from "../domain/user-sketches.ts";

export interface ColdHour {
  readonly clicks: number;
  readonly impressions: number;
  readonly users: UserSketches;
}

/** The cold store did not answer, or could not do as asked. The outcome of a flush is then unknown. */
export class ColdUnavailableError extends Error {
  override readonly name = "ColdUnavailableError";
}

/**
 * The cause of a ColdUnavailableError: of several servers the one that was read from has gone, and some rows were
 * shown. The same may be read anew, from the first row on.
 */
export class ReadInterruptedError extends Error {
  override readonly name = "ReadInterruptedError";
}

/** The writer was sealed by whoever adopted its journal: batches that were not in there are not taken any more. */
export class WriterSealedError extends Error {
  override readonly name = "WriterSealedError";
}

/** All of one instant. */
export interface StoredEvents {
  /** Of all writers that there ever were. */
  readonly total: number;
  /** Of those that were asked for and have any. */
  readonly byWriter: ReadonlyMap<string, number>;
}

/** What the tables say of one hour, each for itself. */
export interface HourAudit {
  /** As `read` answers it. */
  readonly aggregate: ColdHour | undefined;
  /** Counted anew from the rows; undefined if there are none. */
  readonly rows: ColdHour | undefined;
  readonly deadLetters: number;
  readonly erased: ErasedCounts;
  readonly kept: Kept;
}

/** A piece of what is not kept any more, as it was dropped. */
export interface Swept {
  /** Of MySQL, with all their rows. */
  readonly partitions: number;
  /** One by one. */
  readonly rows: number;
  readonly aggregates: number;
  readonly deadLetters: number;
  /** False if more may be left. */
  readonly isDone: boolean;
}

/** Whose events, and of which stream: of all if undefined. */
export interface UserSelection {
  readonly user: string;
  readonly stream: string | undefined;
}

/** Rows that were erased, of all the streams that were asked for. */
export interface ErasedHour extends ErasedCounts {
  readonly hour: number;
}

export interface HourSize {
  readonly hour: number;
  /** Of all streams, as the aggregates count them. */
  readonly events: number;
}

/** An event that was acknowledged and whose row the database refused: set aside, and counted in no hour. */
export interface DeadLetter {
  readonly number: number;
  readonly event: Event;
  /** What the database said. */
  readonly reason: string;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

/** What came from a queue and could not become an event. */
export interface Poison {
  /** SHA-256, in hex, of what it is and where from: what is delivered again is set aside once. */
  readonly digest: string;
  /** Of which source and queue. */
  readonly origin: string;
  /** What its sender named the message; undefined if it has no name. */
  readonly messageId: string | undefined;
  /** Of the event within the message, from 0; undefined: the message as a whole. */
  readonly position: number | undefined;
  /** The id that the event has if it names none itself. */
  readonly eventId: string | undefined;
  readonly body: string;
  readonly reason: string;
}

export interface StoredPoison extends Omit<Poison, "digest"> {
  readonly number: number;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

/** Of a row, within its hour: the rest of the primary key. */
export interface RowKey {
  /** The writer's id in the database. */
  readonly writer: number;
  readonly seq: number;
  readonly ordinal: number;
}

export interface RowPage {
  readonly events: readonly Event[];
  /** Where the next page goes on; undefined if this is the last. */
  readonly last: RowKey | undefined;
}

export type ReplayResult =
  /** It is a row now, and counted. */
  | { readonly status: "replayed" }
  /** Nothing has changed. */
  | { readonly status: "refused"; readonly reason: string }
  /** There is no dead letter of this number: somebody else has replayed or dropped it. */
  | { readonly status: "unknown" };

/** `hours`: at least one. */
export interface UsersRange {
  readonly hours: readonly number[];
  readonly streams: StreamSelection;
}

export interface UserRow {
  readonly hour: number;
  readonly kind: Kind;
  readonly user: string;
}

/** A part of an hour, and the shard that it is of. */
export type VisitPart = (hour: HourRecord, shard: number) => void;

/** How reads of the past were answered, in numbers: by a replica, or else, since that was behind or away. */
export interface PastReads {
  readonly replica: number;
  readonly behind: number;
  readonly away: number;
}

export interface ColdStore {
  /** What it is, in a word. */
  readonly name: string;
  /** Where the data lies, for the start-up lines: never with a password. */
  readonly description: string;
  /** Of ranges; undefined if there is no replica for them. */
  readonly pastReads: PastReads | undefined;
  /** Connects and migrates, under a lock. May be called again after it failed. Throws ColdUnavailableError. */
  open(): Promise<void>;
  /** Into how many shards the data is divided; undefined if nobody has said it yet. */
  shardCount(): Promise<number | undefined>;
  /** The same, and into `count` if nobody has asked before. It never changes. */
  fixShardCount(count: number): Promise<number>;
  /**
   * Stores in one transaction the batches whose seq lies above the writer's watermark, and moves it to the
   * last one's. Batches come in ascending order of seq. A row that the database refuses for what is in it is
   * set aside as a dead letter, and the others go on. Answers the number of events stored now, dead letters
   * among them: 0 when all of them had been before. Throws ColdUnavailableError: the same call may then be
   * made again. Throws WriterSealedError if the writer is sealed and some batch is new. `shard`: the writer's, 0 if
   * it is left out.
   */
  flush(writer: string, batches: readonly JournaledBatch[], shard?: number): Promise<number>;
  /** The writer's last stored seq, 0 if it has none; waits for a flush of that writer that is under way. */
  watermark(writer: string): Promise<number>;
  /** Ends the writer: its watermark moves no more. */
  seal(writer: string, shard?: number): Promise<void>;
  /** Of these shards, or of all. Undefined if no event of that hour is stored. Throws ColdUnavailableError. */
  read(key: HourKey, shards?: readonly number[]): Promise<ColdHour | undefined>;
  /**
   * Shows `visit` each stored hour of the range, by hour, with one query: all of one instant. Each shard's part of it
   * is shown apart. Whatever `visit` throws ends the reading, and is thrown. Throws ColdUnavailableError, also because
   * of a ReadInterruptedError.
   */
  readRange(range: HourRange, visit: VisitPart): Promise<void>;
  /** The same for the rows of those hours, one by one. */
  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void>;
  /** Names of streams that have hours, in their order, at most `limit`. */
  streams(limit: number): Promise<readonly string[]>;
  /** The latest hour of any stream that has an event; undefined if there is none at all. */
  newestHour(): Promise<number | undefined>;
  /** How many events are stored, dead letters among them. */
  storedEvents(writers: readonly string[]): Promise<StoredEvents>;

  /** All hours of which there are rows, an aggregate or dead letters, by hour and stream. */
  hourKeys(): Promise<readonly HourKey[]>;
  /**
   * Events of the hour, by the primary key, `limit` at most, from behind `after` on (undefined: from the first). What
   * is flushed between two pages may be in none of them; what was stored before the first is in one.
   */
  rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage>;
  /** One consistent picture of a shard's part of the hour: 0's if it is left out. Reads every row of it. */
  audit(key: HourKey, shard?: number): Promise<HourAudit>;
  /**
   * Makes the hour's aggregate what its rows, and the numbers of erased ones, give. With erased ones the sketches are
   * kept, and united with those of the rows: they know more users than those. False, and nothing done, if the rows
   * are not kept any more. Of one shard's part: 0's if it is left out.
   */
  rebuild(key: HourKey, shard?: number): Promise<boolean>;

  /** As of now: whoever has read rows, and asks after that, knows whether they were all there. */
  kept(): Promise<Kept>;
  /**
   * Notes that what is before `kept` is not kept, and drops a piece of that: little enough to hold up nobody. To be
   * called until it is done; several at once are harmless, one of them does it. `now`: by a clock that is to be
   * held against the database's, which throws ColdUnavailableError if this one is ahead.
   */
  sweep(kept: Kept, now: number): Promise<Swept>;

  /** The first hour after `hour` that has rows. */
  nextHourWithRows(hour: number): Promise<number | undefined>;
  /** By hour: what a scan of all rows will come to. */
  hourSizes(): Promise<readonly HourSize[]>;
  countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  /**
   * Deletes the user's rows of the hour, piece by piece, and keeps their numbers, in one transaction each: cut off
   * anywhere and called again it goes on. Aggregates stay as they are. Answers what it deleted.
   */
  eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  countUserDeadLetters(selection: UserSelection): Promise<number>;
  /** Answers of which hours, once for each letter. */
  eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]>;
  /** Of hours that have any. */
  erasedRows(range: UsersRange): Promise<readonly ErasedHour[]>;

  deadLetterCount(): Promise<number>;
  /** By number, from above `afterNumber` on. */
  deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]>;
  /** Makes it a row, and counts it, in one transaction. */
  replayDeadLetter(number: number): Promise<ReplayResult>;
  /** False if there is no such one. */
  dropDeadLetter(number: number): Promise<boolean>;

  /** All that there ever were, the oldest first. */
  apiKeys(): Promise<readonly ApiKey[]>;
  addApiKey(key: ApiKey): Promise<void>;
  /** False if there is no such key, or it was revoked before. */
  revokeApiKey(id: string, at: number): Promise<boolean>;

  /** All in one transaction, each once by its digest. */
  setAsidePoison(poison: readonly Poison[]): Promise<void>;
  /** By number, from above `afterNumber` on. */
  poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]>;
  /** False if there is no such one. */
  dropPoison(number: number): Promise<boolean>;

  close(): Promise<void>;
}

/** In messages. `batches`: at least one. */
export function flushName(writer: string, batches: readonly JournaledBatch[]): string {
  return `flush batches ${batches[0]?.seq} to ${batches.at(-1)?.seq} of writer ${writer}`;
}
