/**
 * Time, timers and randomness, passed in so that a test can control them.
 * Invariant: code that is given a Clock takes all of these from it, and none from the runtime.
 */
export interface Clock {
  /** Milliseconds since the epoch (UTC), whole. It may jump, in either direction. */
  now(): number;
  /** Milliseconds since some fixed moment. It never goes backward: for durations. */
  monotonicMs(): number;
  /** Calls `act` once after `ms`. Returns a function that cancels it. */
  after(ms: number, act: () => void): () => void;
  /** Calls `act` every `ms`. Returns a function that cancels it. */
  every(ms: number, act: () => void): () => void;
  /** Calls `act` at the end of this turn of the event loop, once everything that has arrived was read. */
  atTurnEnd(act: () => void): void;
  sleep(ms: number): Promise<void>;
  /** From 0 up to and without 1. */
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
    // Not Math.random: its 32-bit seed could repeat among processes, and names of writers are made from this.
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / UINT32,
  };
}
