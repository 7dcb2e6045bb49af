/** Work that may take long: only so much at a time, in the order in which it was asked for. */
export class LanesFullError extends Error {
  override readonly name = "LanesFullError";
}

export class Lanes {
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(lanes: number, waitingMax: number) {
    this.#free = lanes;
    this.#waitingMax = waitingMax;
  }

  /** Throws LanesFullError if too many wait already. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    await this.#enter();
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  async #enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    if (this.#waiting.length >= this.#waitingMax) {
      throw new LanesFullError(`${this.#waitingMax} wait already, try again`);
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}
