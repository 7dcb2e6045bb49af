/**
 * The cold store: rows, hourly aggregates with their sketches, and one watermark per writer.
 *
 * Invariant: the batches of a writer are stored in the order of their seq, each exactly once. The watermark
 * moves in the same transaction as the rows and the aggregates, so that a flush whose answer was lost can be
 * sent again unchanged, by the writer itself or by whoever adopted its journal.
 */
import type { JournaledBatch } from "../count/batch.ts";
import type { HourKey } from "../count/event.ts";
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

export interface ColdStore {
  /** Where the data lies, for the start-up lines: never with a password. */
  readonly description: string;
  /** Connects and migrates, under a lock. May be called again after it failed. Throws ColdUnavailableError. */
  open(): Promise<void>;
  /**
   * Stores in one transaction the batches whose seq lies above the writer's watermark, and moves it to the
   * last one's. Batches come in ascending order of seq. Answers the number of events stored now: 0 when all
   * of them had been before. Throws ColdUnavailableError: the same call may then be made again. Throws
   * WriterSealedError if the writer is sealed and some batch is new.
   */
  flush(writer: string, batches: readonly JournaledBatch[]): Promise<number>;
  /** The writer's last stored seq, 0 if it has none; waits for a flush of that writer that is under way. */
  watermark(writer: string): Promise<number>;
  /** Ends the writer: its watermark moves no more. */
  seal(writer: string): Promise<void>;
  /** Undefined if no event of that hour is stored. Throws ColdUnavailableError. */
  read(key: HourKey): Promise<ColdHour | undefined>;
  /** The latest hour of any stream that has an event; undefined if there is none at all. */
  newestHour(): Promise<number | undefined>;
  close(): Promise<void>;
}
