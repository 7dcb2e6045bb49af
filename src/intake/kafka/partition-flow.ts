/**
 * One partition that this member of the group consumes: from which offset on it is fetched, what of it is settled, and
 * what was committed.
 *
 * Invariant: every offset below `committable` is settled, or holds no message; offsets are opened in ascending order.
 */
export class PartitionFlow {
  readonly partition: number;
  isFetching = false;
  /** The rest of it was given to another member, or it is read anew. */
  isDropped = false;
  highWatermark: number;
  readonly #open = new Set<number>();
  #next: number;
  #committed: number;

  constructor(partition: number, committed: number, highWatermark: number) {
    this.partition = partition;
    this.highWatermark = highWatermark;
    this.#next = committed;
    this.#committed = committed;
  }

  /** Where the next message is looked for. */
  get next(): number {
    return this.#next;
  }

  open(offset: number): void {
    this.#open.add(offset);
  }

  settle(offset: number): void {
    this.#open.delete(offset);
  }

  /** There is no message below that is not open, or settled. */
  advance(next: number): void {
    if (next > this.#next) this.#next = next;
  }

  /** Where another would have to begin. A set keeps the order in which its entries came. */
  get committable(): number {
    for (const first of this.#open) return first;
    return this.#next;
  }

  get lag(): number {
    return Math.max(0, this.highWatermark - this.committable);
  }

  /** What is to be committed; undefined if that has been done. */
  get due(): number | undefined {
    const { committable } = this;
    return committable > this.#committed ? committable : undefined;
  }

  noteCommitted(offset: number): void {
    this.#committed = offset;
  }
}
