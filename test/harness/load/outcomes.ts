/**
 * The answers to many millions of numbered events, in one byte each, so that a generator in another process can hand
 * over all of them in a file.
 * Invariant: an event that was never set is `unsent`.
 */
export const UNSENT = 0;
/** Written, and not answered: it may count or not. */
export const UNKNOWN = 1;
export const ACKNOWLEDGED = 2;
export const REFUSED = 3;

const FIRST_CAPACITY = 65_536;

export class Outcomes {
  #bytes: Uint8Array;

  constructor(bytes: Uint8Array = new Uint8Array(FIRST_CAPACITY)) {
    this.#bytes = bytes;
  }

  set(number: number, outcome: number): void {
    if (number >= this.#bytes.length) {
      const grown = new Uint8Array(Math.max(number + 1, 2 * this.#bytes.length));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes[number] = outcome;
  }

  get(number: number): number {
    return this.#bytes[number] ?? UNSENT;
  }

  /** Above the highest number that may have been set. */
  get end(): number {
    return this.#bytes.length;
  }

  count(outcome: number): number {
    let count = 0;
    for (const each of this.#bytes) if (each === outcome) count += 1;
    return count;
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }
}

export async function readOutcomes(path: string): Promise<Outcomes> {
  return new Outcomes(new Uint8Array(await Bun.file(path).arrayBuffer()));
}
