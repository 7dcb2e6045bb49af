/** What flushers and adopters of journals need of the cold store. */
import type { JournaledBatch } from "../../domain/batch.ts";

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
}

/** For messages. `batches`: at least one. */
export function flushName(writer: string, batches: readonly JournaledBatch[]): string {
  return `flush batches ${batches[0]?.seq} to ${batches.at(-1)?.seq} of writer ${writer}`;
}
