/**
 * A limited resource (memory, concurrent work) with a queue: first come, first served.
 *
 * Invariant: at most `capacity` is taken, and at most `maxWaiting` callers wait. A large request is not overtaken by
 * small ones, or it might never get its turn.
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
   * Undefined, with nothing taken, if the queue is full. `count` must not be more than the capacity. `untilGivenUp` is
   * called if the caller has to wait, which ends with that signal's reason.
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
      // Who waited behind it may fit.
      this.give(0);
    });
    return promise;
  }

  /** Runs `work` with one slot. Throws SlotsFullError if too many wait. `untilGivenUp`: as for take(). */
  async use<T>(work: () => Promise<T>, untilGivenUp?: () => AbortSignal): Promise<T> {
    const turn = this.take(1, untilGivenUp);
    if (turn === undefined) throw new SlotsFullError(`all are in use, and ${this.#maxWaiting} callers wait already`);
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
