/** What retention needs of the cold store. */
import type { RetentionBounds } from "../../domain/retention-bounds.ts";

/** What one piece of a sweep deleted. */
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

export interface RetentionStore {
  /**
   * Why the days to come will have no partitions, as far as is known: retention would have to delete their rows one by
   * one. Undefined if all is well, or the store has none anyway.
   */
  partitionProblem(): Promise<string | undefined>;
  /** As of now: a reader of rows that asks afterwards knows whether they were all there. */
  retained(): Promise<RetentionBounds>;
  /**
   * Notes the bounds, and deletes a piece of what is before them: little enough to delay nothing. To be called until it
   * is done; several calls at once are harmless, one of them does the work. `now` is compared with the database's
   * clock, which throws ColdUnavailableError if `now` is ahead of that.
   */
  sweep(bounds: RetentionBounds, now: number): Promise<Swept>;
}
