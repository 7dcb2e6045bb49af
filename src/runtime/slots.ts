/**
 * A bounded number of something (memory, work at a time) that is lent out: first come, first served.
 *
 * Invariant: what is lent is never more than `capacity`, and at most `maxWaiting` wait for it. Whoever asks
 * for much is not overtaken by those who ask for little, or it might wait for ever.
 */
/** So many wait for slots that no more may. */
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

  /** Undefined, and nothing taken, if too many wait. `count` must not be more than the capacity. */
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
