/**
 * Time: the clock, backoff, deadlines, and pauses of long work.
 * Invariant: code that is given a Clock takes time, timers and randomness from it, never from the runtime.
 */

/** Passed in, so that a test can control it. */
export interface Clock {
  /** Whole milliseconds since the epoch (UTC). May jump in either direction. */
  now(): number;
  /** Milliseconds since some fixed moment, for durations. Never goes backward. */
  monotonicMs(): number;
  /** Calls `act` once after `ms`. Returns a function that cancels it. */
  after(ms: number, act: () => void): () => void;
  /** Calls `act` every `ms`. Returns a function that cancels it. */
  every(ms: number, act: () => void): () => void;
  /** Calls `act` at the end of this turn of the event loop, after everything that has arrived was read. */
  atTurnEnd(act: () => void): void;
  sleep(ms: number): Promise<void>;
  /**
   * Puts the thread to sleep for `ms`, then calls `act` after everything that has arrived was read. Nothing else
   * happens in this thread meanwhile, so only a few ms.
   */
  sleepThread(ms: number, act: () => void): void;
  /** CPU time that this thread has used. */
  threadBusyMs(): number;
  /** Returns a number in [0, 1). */
  random(): number;
}

const UINT32 = 2 ** 32;
/** How late a thread wakes up, measured in a virtual machine. */
const WAKE_UP_MS = 0.1;
const NEVER_NOTIFIED = new Int32Array(new SharedArrayBuffer(4));

export function systemClock(): Clock {
  return {
    now: Date.now,
    monotonicMs: () => performance.now(),
    after(ms, act) {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
    every(ms, act) {
      const timer = setInterval(act, ms);
      return () => clearInterval(timer);
    },
    atTurnEnd: (act) => void setImmediate(act),
    sleep: (ms) => Bun.sleep(ms),
    sleepThread(ms, act) {
      Atomics.wait(NEVER_NOTIFIED, 0, 0, Math.max(0, ms - WAKE_UP_MS));
      setImmediate(act);
    },
    threadBusyMs() {
      const { user, system } = process.threadCpuUsage();
      return (user + system) / 1_000;
    },
    // Math.random's 32-bit seed could repeat across processes, and writers' names are made from this.
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / UINT32,
  };
}

/**
 * Exponential backoff with equal jitter: half of the ceiling up to all of it, in ms. `attempt` counts retries from 0;
 * `random` is in [0, 1). Source: AWS Architecture Blog, 2015.
 */
export function backoffMs(attempt: number, firstMs: number, maxMs: number, random: () => number): number {
  const ceilingMs = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 30));
  return ceilingMs * (0.5 + random() / 2);
}

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
