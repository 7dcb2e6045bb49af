/**
 * Rate limits without a service: admissions are bounded whatever arrives, over time they are exactly the limit, and
 * instances that share a store share the limit. The test controls the clock and the store.
 */
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type RateLimit, rateLimitOf, rateLimitText } from "../../src/domain/rate-limit.ts";
import { RateLimiter } from "../../src/http/access/rate-limiter.ts";
import type { AccessStore, Spending } from "../../src/store/access-store.ts";
import { HotUnavailableError } from "../../src/store/hot.ts";
import { Clock, NOON, RecordedLog } from "../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const TEN_A_SECOND: RateLimit = { count: 10, windowMs: 1_000 };

/** Does what Redis does, within this process. */
class SharedStore implements AccessStore {
  readonly told: Spending[][] = [];
  failure: Error | undefined;
  readonly #clock: Clock;
  readonly #paid = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async spend(spendings: readonly Spending[]): Promise<readonly number[]> {
    if (this.failure !== undefined) throw this.failure;
    this.told.push([...spendings]);
    return spendings.map(({ name, ms }) => {
      const paid = Math.max(this.#paid.get(name) ?? 0, this.#clock.ms) + ms;
      this.#paid.set(name, paid);
      return paid - this.#clock.ms;
    });
  }

  async keepKeys(): Promise<void> {}
  async keptKeys(): Promise<undefined> {}
  async close(): Promise<void> {}
}

const limiters: RateLimiter[] = [];
afterEach(async () => {
  await Promise.all(limiters.splice(0).map((limiter) => limiter.stop()));
});

function limiterOn(clock: Clock, store?: AccessStore, log = new RecordedLog()): RateLimiter {
  // As a monotonic clock, which begins at 0: what it adds up is exact to far less than a millisecond.
  const nowMs = () => clock.ms - NOON;
  const limiter = new RateLimiter({ kind: "key", store, log, nowMs });
  limiters.push(limiter);
  return limiter;
}

/** How many of `count` are admitted. */
function takenOf(limiter: RateLimiter, attempts: number, limit = TEN_A_SECOND, name = "a"): number {
  let taken = 0;
  for (let i = 0; i < attempts; i++) if (limiter.takeOne(limiter.bucket(name, limit))) taken += 1;
  return taken;
}

describe("a limit", () => {
  test("admits its number at once, and then as the limit recovers", () => {
    const clock = new Clock();
    const limiter = limiterOn(clock);
    expect(takenOf(limiter, 30)).toBe(10);
    clock.advance(99);
    expect(takenOf(limiter, 30)).toBe(0);
    clock.advance(1);
    expect(takenOf(limiter, 30)).toBe(1);
    clock.advance(350);
    expect(takenOf(limiter, 30)).toBe(3);
    clock.advance(3_600_000);
    expect(takenOf(limiter, 30)).toBe(10);
  });

  test("is one for each name", () => {
    const limiter = limiterOn(new Clock());
    expect(takenOf(limiter, 30, TEN_A_SECOND, "a")).toBe(10);
    expect(takenOf(limiter, 30, TEN_A_SECOND, "b")).toBe(10);
  });

  test("says what is left, and when to retry", () => {
    const clock = new Clock();
    const limiter = limiterOn(clock);
    const bucket = limiter.bucket("a", TEN_A_SECOND);
    expect(limiter.stateOf(bucket)).toEqual({ remaining: 10, retryMs: 0, fullMs: 0 });
    takenOf(limiter, 4);
    expect(limiter.stateOf(bucket)).toMatchObject({ remaining: 6, retryMs: 0, fullMs: 400 });
    takenOf(limiter, 6);
    clock.advance(30);
    const { remaining, retryMs, fullMs } = limiter.stateOf(bucket);
    expect([remaining, Math.round(retryMs), Math.round(fullMs)]).toEqual([0, 70, 970]);
  });

  test("lets a batch in that is larger than itself, and waits until it is paid for", () => {
    const clock = new Clock();
    const limiter = limiterOn(clock);
    const bucket = limiter.bucket("a", TEN_A_SECOND);
    expect(limiter.takeOne(bucket)).toBe(true);
    expect(limiter.isOverdrawn(bucket)).toBe(false);
    limiter.take(bucket, 99);
    expect(limiter.isOverdrawn(bucket)).toBe(true);
    clock.advance(9_099);
    expect(takenOf(limiter, 5)).toBe(0);
    clock.advance(1);
    expect(takenOf(limiter, 5)).toBe(1);
  });

  const limits = fc.record({
    count: fc.integer({ min: 1, max: 1_000 }),
    windowMs: fc.constantFrom(1_000, 60_000),
  });
  const bursts = fc.array(fc.tuple(fc.integer({ min: 0, max: 3_000 }), fc.integer({ min: 0, max: 300 })), {
    minLength: 1,
    maxLength: 40,
  });

  test("is never exceeded: at most twice of it in any window, and over time what it says", () => {
    const property = fc.property(limits, bursts, (limit, comings) => {
      const clock = new Clock();
      const limiter = limiterOn(clock);
      const letIn: { at: number; count: number }[] = [];
      for (const [pauseMs, attempts] of comings) {
        clock.advance(pauseMs);
        letIn.push({ at: clock.ms, count: takenOf(limiter, attempts, limit) });
      }
      for (const [i, { at: from }] of letIn.entries()) {
        let sum = 0;
        for (const { at, count } of letIn.slice(i)) {
          sum += count;
          const allowed = limit.count * (1 + (at - from) / limit.windowMs);
          expect(sum).toBeLessThanOrEqual(Math.floor(allowed + 1e-3));
        }
      }
    });
    fc.assert(property);
  });

  test("holds a bounded number: those in use stay, others start over", () => {
    const limiter = limiterOn(new Clock());
    expect([takenOf(limiter, 30, TEN_A_SECOND, "busy"), takenOf(limiter, 30, TEN_A_SECOND, "idle")]).toEqual([10, 10]);
    for (let i = 0; i < 200_000; i++) {
      limiter.bucket(`flood-${i}`, TEN_A_SECOND);
      if (i % 1_000 === 0) expect(takenOf(limiter, 1, TEN_A_SECOND, "busy")).toBe(0);
    }
    expect(takenOf(limiter, 30, TEN_A_SECOND, "idle")).toBe(10);
  });
});

describe("instances that share a store", () => {
  test("admit at most the limit each at once, and together owe the excess", async () => {
    const clock = new Clock();
    const store = new SharedStore(clock);
    const instances = [limiterOn(clock, store), limiterOn(clock, store), limiterOn(clock, store)];
    const first = instances.map((limiter) => takenOf(limiter, 30));
    expect(first).toEqual([10, 10, 10]);
    await waitFor("all to be told", () => store.told.length === 3);
    // The first one assumes that it is paid after a second, and learns otherwise at its next exchange.
    clock.advance(1_000);
    const [one] = instances;
    expect(takenOf(one!, 1)).toBe(1);
    await waitFor("it to know", () => one!.stateOf(one!.bucket("a", TEN_A_SECOND)).fullMs === 2_100);
    clock.advance(1_199);
    expect(takenOf(one!, 30)).toBe(0);
    clock.advance(1);
    expect(takenOf(one!, 30)).toBe(1);
  });

  test("one that comes later knows of the others after its first word", async () => {
    const clock = new Clock();
    const store = new SharedStore(clock);
    const [a, b] = [limiterOn(clock, store), limiterOn(clock, store)];
    takenOf(a, 10);
    await waitFor("the first to be told", () => store.told.length === 1);
    expect(takenOf(b, 1)).toBe(1);
    await waitFor("the second to know", () => b.stateOf(b.bucket("a", TEN_A_SECOND)).remaining === 0);
    expect(takenOf(b, 30)).toBe(0);
  });

  test("over time admit the limit, all together", async () => {
    const clock = new Clock();
    const store = new SharedStore(clock);
    const instances = [limiterOn(clock, store), limiterOn(clock, store)];
    let letIn = 0;
    const rounds = 60;
    const toldMs = () => store.told.flat().reduce((sum, { ms }) => sum + ms, 0);
    for (let round = 0; round < rounds; round++) {
      for (const limiter of instances) letIn += takenOf(limiter, 5);
      await waitFor("all that was let in to be told", () => Math.abs(toldMs() - letIn * 100) < 1);
      clock.advance(100);
    }
    const allowed = 10 + (10 * rounds * 100) / 1_000;
    expect(letIn).toBeGreaterThanOrEqual(allowed - 20);
    expect(letIn).toBeLessThanOrEqual(allowed + 20);
  });

  test("have it each for itself while the store is unavailable, and catch up when it is back", async () => {
    const clock = new Clock();
    const store = new SharedStore(clock);
    const log = new RecordedLog();
    const limiter = limiterOn(clock, store, log);
    store.failure = new HotUnavailableError("the test took it away", false);
    expect(takenOf(limiter, 30)).toBe(10);
    await waitFor("the failure", () => log.has("rate limits are not shared with other instances"));
    expect(takenOf(limiter, 30)).toBe(0);
    store.failure = undefined;
    await waitFor("it to be told", () => store.told.length > 0);
    expect(store.told).toEqual([[{ name: "key a", ms: 1_000 }]]);
  });

  test("are not charged twice if it is not known whether the store heard them", async () => {
    const clock = new Clock();
    const store = new SharedStore(clock);
    const log = new RecordedLog();
    const limiter = limiterOn(clock, store, log);
    store.failure = new HotUnavailableError("the answer was lost", true);
    takenOf(limiter, 5);
    await waitFor("the failure", () => log.entries.length === 1);
    store.failure = undefined;
    takenOf(limiter, 1);
    await waitFor("it to be told", () => store.told.length > 0);
    expect(store.told).toEqual([[{ name: "key a", ms: 100 }]]);
  });
});

describe("a rate", () => {
  test("is read as it is written", () => {
    for (const text of ["1/s", "100/s", "1000/m", "1000000/h"]) {
      expect(rateLimitText(rateLimitOf(text)!)).toBe(text);
    }
    for (const text of ["", "0/s", "100", "100/d", "1e3/s", "-1/s", "1.5/s", "01/s", "1000001/h", " 1/s", "1/s "]) {
      expect([text, rateLimitOf(text)]).toEqual([text, undefined]);
    }
  });
});
