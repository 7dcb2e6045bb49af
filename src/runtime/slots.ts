/**
 * A limited resource (memory, concurrent work) with a queue: first come, first served.
 *
 * Invariant: at most `capacity` is taken, and at most `maxWaiting` callers wait. A large request is not overtaken by
 * small ones, or it might wait for ever.
 */
/** The queue is full. */
export class SlotsFullError extends Error {
  override readonly name = "SlotsFullError";
}

export class Slots {
  readonly #maxWaiting: number;
  readonly #waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  #free: number;

  constructor(capacity: number, maxWaiting: number) {
    this.#free = capacity;
    this.#maxWaiting = maxWaiting;
  }

  /** Undefined, with nothing taken, if the queue is full. `count` must not be more than the capacity. */
  take(count: number): Promise<void> | undefined {
    if (this.#waiting.length === 0 && count <= this.#free) {
      this.#free -= count;
      return Promise.resolve();
    }
    if (this.#waiting.length >= this.#maxWaiting) return undefined;
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  /** Runs `work` with one slot. Throws SlotsFullError if too many wait. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.take(1);
    if (turn === undefined) throw new SlotsFullError(`${this.#maxWaiting} wait already, try again`);
    await turn;
    try {
      return await work();
    } finally {
      this.give(1);
    }
  }

  give(count: number): void {
    this.#free += count;
    for (let next = this.#waiting[0]; next !== undefined && next.count <= this.#free; ) {
      this.#waiting.shift();
      this.#free -= next.count;
      next.resolve();
      next = this.#waiting[0];
    }
  }
}
