/**
 * Which messages of a partition are settled, and up to which offset all are.
 *
 * Invariant: every offset below `committable` is settled, or holds no message; offsets are opened in ascending order.
 */
export class OffsetWindow {
  readonly #open = new Set<number>();
  #next: number;

  constructor(next: number) {
    this.#next = next;
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
    this.#next = next;
  }

  /** Where another would have to begin. A set keeps the order in which its entries came. */
  get committable(): number {
    for (const first of this.#open) return first;
    return this.#next;
  }
}
