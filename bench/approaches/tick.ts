/** A promise shared by all requests of one turn of the event loop: the least that an answer can wait for. */
export class Ticks {
  #next: Promise<void> | undefined;

  next(): Promise<void> {
    this.#next ??= new Promise((resolve) => {
      setImmediate(() => {
        this.#next = undefined;
        resolve();
      });
    });
    return this.#next;
  }
}

/** The fixed answer of the ceilings to a read. */
export const FIXED_COUNTS = { users: 123_456, clicks: 12_345, impressions: 1_234_567 } as const;
