/** What retention needs of the cold store. */
import type { RetentionBounds } from "../../domain/retention-bounds.ts";

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
