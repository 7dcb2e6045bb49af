/** Lets the event loop handle pending requests and answers during long work. */
export function letOthersRun(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export class WorkSlices {
  readonly #sliceMs: number;
  #endMs: number;

  constructor(sliceMs: number) {
    this.#sliceMs = sliceMs;
    this.#endMs = performance.now() + sliceMs;
  }

  get isOver(): boolean {
    return performance.now() >= this.#endMs;
  }

  async next(): Promise<void> {
    await letOthersRun();
    this.#endMs = performance.now() + this.#sliceMs;
  }
}
