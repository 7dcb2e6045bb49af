/**
 * The cold store: rows, hourly aggregates with their sketches, and one watermark per writer.
 *
 * Invariant: the batches of a writer are stored in the order of their seq, each exactly once. The watermark
 * moves in the same transaction as the rows and the aggregates, so that a flush whose answer was lost can be
 * sent again unchanged, by the writer itself or by whoever adopted its journal.
 */
import type { JournaledBatch } from "../count/batch.ts";
import type { Event, HourKey, Kind } from "../count/event.ts";
import type { HourRange, HourRecord, StreamSelection } from "../count/hour-range.ts";
import type { Sketch } from "../count/sketch.ts";

export interface ColdHour {
  readonly clicks: number;
  readonly impressions: number;
  readonly sketch: Sketch;
}

/** The cold store did not answer, or could not do as asked. The outcome of a flush is then unknown. */
export class ColdUnavailableError extends Error {
  override readonly name = "ColdUnavailableError";
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

export interface ColdStore {
  /** What it is, in a word. */
  readonly name: string;
  /** Where the data lies, for the start-up lines: never with a password. */
  readonly description: string;
  /** Connects and migrates, under a lock. May be called again after it failed. Throws ColdUnavailableError. */
  open(): Promise<void>;
  /**
   * Stores in one transaction the batches whose seq lies above the writer's watermark, and moves it to the
   * last one's. Batches come in ascending order of seq. A row that the database refuses for what is in it is
   * set aside as a dead letter, and the others go on. Answers the number of events stored now, dead letters
   * among them: 0 when all of them had been before. Throws ColdUnavailableError: the same call may then be
   * made again. Throws WriterSealedError if the writer is sealed and some batch is new.
   */
  flush(writer: string, batches: readonly JournaledBatch[]): Promise<number>;
  /** The writer's last stored seq, 0 if it has none; waits for a flush of that writer that is under way. */
  watermark(writer: string): Promise<number>;
  /** Ends the writer: its watermark moves no more. */
  seal(writer: string): Promise<void>;
  /** Undefined if no event of that hour is stored. Throws ColdUnavailableError. */
  read(key: HourKey): Promise<ColdHour | undefined>;
  /**
   * Shows `visit` each stored hour of the range, by hour, with one query: all of one instant. Whatever `visit`
   * throws ends the reading, and is thrown. Throws ColdUnavailableError.
   */
  readRange(range: HourRange, visit: (hour: HourRecord) => void): Promise<void>;
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
  /** One consistent picture of the hour. Reads every row of it. */
  audit(key: HourKey): Promise<HourAudit>;
  /** Makes the hour's aggregate what its rows give. */
  rebuild(key: HourKey): Promise<void>;

  deadLetterCount(): Promise<number>;
  /** By number, from above `afterNumber` on. */
  deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]>;
  /** Makes it a row, and counts it, in one transaction. */
  replayDeadLetter(number: number): Promise<ReplayResult>;
  /** False if there is no such one. */
  dropDeadLetter(number: number): Promise<boolean>;

  close(): Promise<void>;
}

/** In messages. `batches`: at least one. */
export function flushName(writer: string, batches: readonly JournaledBatch[]): string {
  return `flush batches ${batches[0]?.seq} to ${batches.at(-1)?.seq} of writer ${writer}`;
}
