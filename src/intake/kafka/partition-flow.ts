/**
 * One partition that this member of the group consumes: from which offset on it is fetched, what of it is settled, and
 * what was committed.
 *
 * Invariant: every offset below `committable` is settled, or holds no message; offsets are opened in ascending order.
 */
const FORGOTTEN_AT_ONCE = 10_000;

export class PartitionFlow {
  readonly partition: number;
  isFetching = false;
  /** The rest of it was given to another member, or it is read anew. */
  isDropped = false;
  highWatermark: number;
  /** Opened, in their order; those below `#first` are settled. */
  #opened: number[] = [];
  #first = 0;
  /** Settled while an earlier one is open. */
  readonly #settledAhead = new Set<number>();
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
    this.#opened.push(offset);
  }

  /** Most are settled in their order, which costs next to nothing. */
  settle(offset: number): void {
    if (offset !== this.#opened[this.#first]) {
      this.#settledAhead.add(offset);
      return;
    }
    do this.#first += 1;
    while (this.#settledAhead.size > 0 && this.#settledAhead.delete(this.#opened[this.#first]!));
    if (this.#first < FORGOTTEN_AT_ONCE) return;
    this.#opened = this.#opened.slice(this.#first);
    this.#first = 0;
  }

  /** There is no message below that is not open, or settled. */
  advance(next: number): void {
    if (next > this.#next) this.#next = next;
  }

  /** Where another would have to begin. */
  get committable(): number {
    return this.#opened[this.#first] ?? this.#next;
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
