/** Work that may take long: only so much at a time, in the order in which it was asked for. */
import { Slots } from "../../runtime/slots.ts";

export class LanesFullError extends Error {
  override readonly name = "LanesFullError";
}

export class Lanes {
  readonly #waitingMax: number;
  readonly #slots: Slots;

  constructor(lanes: number, waitingMax: number) {
    this.#waitingMax = waitingMax;
    this.#slots = new Slots(lanes, waitingMax);
  }

  /** Throws LanesFullError if too many wait already. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#slots.take(1);
    if (turn === undefined) throw new LanesFullError(`${this.#waitingMax} wait already, try again`);
    await turn;
    try {
      return await work();
    } finally {
      this.#slots.give(1);
    }
  }
}
