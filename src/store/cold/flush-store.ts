/** What flushers and adopters of journals need of the cold store. */
import type { JournaledBatch } from "../../domain/batch.ts";

export interface FlushStore {
  /**
   * Stores in one transaction the batches whose seq lies above the writer's watermark, and moves it to the last one's.
   * Batches come in ascending order of seq. A row whose values the database refuses is set aside as a dead letter, and
   * the others are stored. Answers the number of events stored now, dead letters among them: 0 when all of them had
   * been stored before. On ColdUnavailableError the same call may be made again. Throws WriterSealedError if the writer
   * is sealed and some batch is new. `shard`: the writer's; default 0.
   */
  flush(writer: string, batches: readonly JournaledBatch[], shard?: number): Promise<number>;
  /** The writer's last stored seq, 0 if it has none; waits for a flush of that writer that is in progress. */
  watermark(writer: string): Promise<number>;
  /** Ends the writer: its watermark no longer moves. */
  seal(writer: string, shard?: number): Promise<void>;
}

/** For messages. `batches`: at least one. */
export function flushName(writer: string, batches: readonly JournaledBatch[]): string {
  return `flush batches ${batches[0]?.seq} to ${batches.at(-1)?.seq} of writer ${writer}`;
}
