/**
 * One partition that this member of the group consumes: from which offset on it is fetched, what of it is settled, and
 * what was committed.
 *
 * Invariant: an offset is committed only once every message below it is settled.
 */
import { OffsetWindow } from "./offset-window.ts";

export class PartitionFlow {
  readonly partition: number;
  readonly window: OffsetWindow;
  isFetching = false;
  /** The rest of it was given to another member, or it is read anew. */
  isDropped = false;
  highWatermark: number;
  #committed: number;

  constructor(partition: number, committed: number, highWatermark: number) {
    this.partition = partition;
    this.window = new OffsetWindow(committed);
    this.highWatermark = highWatermark;
    this.#committed = committed;
  }

  get lag(): number {
    return Math.max(0, this.highWatermark - this.window.committable);
  }

  /** What is to be committed; undefined if that has been done. */
  get due(): number | undefined {
    const { committable } = this.window;
    return committable > this.#committed ? committable : undefined;
  }

  noteCommitted(offset: number): void {
    this.#committed = offset;
  }
}
