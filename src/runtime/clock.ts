/**
 * Time, timers and randomness, passed in so that a test can control them.
 * Invariant: code that is given a Clock takes all of these from it, never from the runtime.
 */
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
  /** In [0, 1). */
  random(): number;
}

const UINT32 = 2 ** 32;

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
    // Math.random's 32-bit seed could repeat across processes, and writers' names are made from this.
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / UINT32,
  };
}
