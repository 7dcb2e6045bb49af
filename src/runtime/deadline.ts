/**
 * Settles like `promise`, or rejects with `onDeadline()` after `ms`; the promise itself continues. An answer that has
 * arrived by then still counts: in a busy process the timer fires before the sockets are read.
 */
export async function withDeadline<T>(promise: Promise<T>, ms: number, onDeadline: () => Error): Promise<T> {
  let timer: Timer | undefined;
  let isSettled = false;
  const deadline = new Promise<never>((_, reject) => {
    const giveUp = () => {
      if (!isSettled) reject(onDeadline());
    };
    timer = setTimeout(() => afterSocketsWereRead(giveUp), ms);
  });
  try {
    return await Promise.race([promise, deadline]);
  } finally {
    isSettled = true;
    clearTimeout(timer);
  }
}

/** Resolves when the promise settles or after `ms`. Never rejects. */
export async function waitAtMost(ms: number, promise: Promise<unknown>): Promise<void> {
  await withDeadline(promise, ms, () => new Error("deadline")).catch(() => {});
}

/** Waits two turns of the event loop: at least one of them starts after the timer, and so reads the sockets. */
function afterSocketsWereRead(act: () => void): void {
  setImmediate(() => setImmediate(act));
}

/**
 * Like withDeadline(), for many promises with the same `ms`. They share one timer: a timer each would cost a tenth of a
 * Redis command.
 */
export class SharedDeadline {
  readonly #ms: number;
  /** In insertion order, which is also the order of `dueMs`. */
  readonly #waits = new Set<{ readonly dueMs: number; readonly giveUp: () => void }>();
  #isTimerSet = false;

  constructor(ms: number) {
    this.#ms = ms;
  }

  limit<T>(promise: Promise<T>, onDeadline: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      const wait = { dueMs: performance.now() + this.#ms, giveUp: () => reject(onDeadline()) };
      this.#waits.add(wait);
      promise.then(
        (value) => {
          this.#waits.delete(wait);
          resolve(value);
        },
        (error) => {
          this.#waits.delete(wait);
          reject(error);
        },
      );
      if (!this.#isTimerSet) this.#look(this.#ms);
    });
  }

  /** The timer is not cleared when nothing waits anymore: the next wait needs it. */
  #look(ms: number): void {
    this.#isTimerSet = true;
    const timer = setTimeout(() => {
      const nowMs = performance.now();
      afterSocketsWereRead(() => this.#giveUpDue(nowMs));
    }, Math.ceil(ms));
    timer.unref();
  }

  /** `nowMs`: the time before the sockets were read. */
  #giveUpDue(nowMs: number): void {
    this.#isTimerSet = false;
    for (const wait of this.#waits) {
      if (wait.dueMs > nowMs) {
        this.#look(wait.dueMs - nowMs);
        return;
      }
      this.#waits.delete(wait);
      wait.giveUp();
    }
  }
}

/** Like withDeadline(), but starts over whenever `progress` has changed. */
export async function withStallDeadline<T>(
  promise: Promise<T>,
  ms: number,
  progress: () => number,
  onDeadline: () => Error,
): Promise<T> {
  for (;;) {
    const before = progress();
    const stalled = onDeadline();
    try {
      return await withDeadline(promise, ms, () => stalled);
    } catch (error) {
      if (error !== stalled || progress() === before) throw error;
    }
  }
}
