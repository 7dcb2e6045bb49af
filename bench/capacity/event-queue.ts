/**
 * A simulation's clock and its planned events.
 * Invariant: events due at the same time happen in the order in which they were planned, so that a run is repeatable.
 */
interface Planned {
  readonly atUs: number;
  readonly number: number;
  readonly act: () => void;
}

export class EventQueue {
  /** A binary heap: none is due before the one at half its index. */
  readonly #heap: Planned[] = [];
  #planned = 0;
  nowUs = 0;

  after(us: number, act: () => void): void {
    const event = { atUs: this.nowUs + us, number: this.#planned++, act };
    let at = this.#heap.push(event) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (!isBefore(event, this.#heap[above]!)) break;
      this.#heap[at] = this.#heap[above]!;
      at = above;
    }
    this.#heap[at] = event;
  }

  /** Lets happen what is due until then. */
  runUntil(endUs: number): void {
    for (let first = this.#heap[0]; first !== undefined && first.atUs <= endUs; first = this.#heap[0]) {
      this.#removeFirst();
      this.nowUs = first.atUs;
      first.act();
    }
    this.nowUs = endUs;
  }

  #removeFirst(): void {
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= this.#heap.length) break;
      if (below + 1 < this.#heap.length && isBefore(this.#heap[below + 1]!, this.#heap[below]!)) below += 1;
      if (!isBefore(this.#heap[below]!, last)) break;
      this.#heap[at] = this.#heap[below]!;
      at = below;
    }
    this.#heap[at] = last;
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.number < b.number);
}
