/**
 * A limited resource (memory, concurrent work) with a FIFO queue.
 *
 * Invariant: at most `capacity` is taken, and at most `maxWaiting` callers wait. Small requests never overtake a large
 * one, so it cannot starve.
 */

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

  /**
   * Returns undefined, taking nothing, if the queue is full. `count` must not exceed the capacity. If the caller has to
   * wait, `untilGivenUp` is called, and its signal ends the wait with its reason.
   */
  take(count: number, untilGivenUp?: () => AbortSignal): Promise<void> | undefined {
    if (this.#waiting.length === 0 && count <= this.#free) {
      this.#free -= count;
      return Promise.resolve();
    }
    if (this.#waiting.length >= this.#maxWaiting) return undefined;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const waiting = { count, resolve };
    this.#waiting.push(waiting);
    const signal = untilGivenUp?.();
    signal?.addEventListener("abort", () => {
      const place = this.#waiting.indexOf(waiting);
      if (place === -1) return;
      this.#waiting.splice(place, 1);
      reject(signal.reason);
      // Requests behind it may fit now.
      this.give(0);
    });
    return promise;
  }

  /** Runs `work` with one slot. Throws SlotsFullError if the queue is full. `untilGivenUp`: as in take(). */
  async use<T>(work: () => Promise<T>, untilGivenUp?: () => AbortSignal): Promise<T> {
    const turn = this.take(1, untilGivenUp);
    if (turn === undefined)
      throw new SlotsFullError(`all slots are taken, and ${this.#maxWaiting} callers wait already`);
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
