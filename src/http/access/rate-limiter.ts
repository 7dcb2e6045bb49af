/**
 * Rate limits, decided here and at once, and brought into line with those of other instances a little later.
 *
 * Each limit is a time until which what was taken is paid for (GCRA): taking moves it on, and it may be its window
 * ahead of the clock. A batch is let in whole while it is not, and may move it further: that has to be waited for
 * then. So over time no more than the limit gets in, and at once no more than the limit and a batch.
 *
 * Invariant across instances: all that was let in is added up in the store, at once if nothing was just before, else
 * within SHARE_INTERVAL_MS, and is owed by all of them from then on. So `n` instances let in at most `n` times the
 * limit at once, and over time exactly the limit. While the store is away each has the limit for itself.
 */

import type { RateLimit } from "../../domain/rate-limit.ts";
import { errorText } from "../../runtime/deadline.ts";
import type { Log } from "../../runtime/log.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import type { AccessStore } from "../../store/shared-access.ts";

/** What is taken of one limit. */
export interface Bucket {
  readonly name: string;
  readonly limit: RateLimit;
  /** What one event or request moves it on. */
  readonly intervalMs: number;
  /** Until when what was taken is paid for: below the clock's time, all is there. */
  paidMs: number;
  /** How much of that the store has not been told. */
  untoldMs: number;
}

/** Of a limit, now. */
export interface LimitState {
  readonly remaining: number;
  /** Until one more is let in: 0 if one is. */
  readonly retryMs: number;
  /** Until all of it is there again. */
  readonly fullMs: number;
}

export interface RateLimiterOptions {
  /** What the names of its limits begin with, in the store. */
  readonly kind: string;
  /** Undefined: there is no other instance. */
  readonly store: AccessStore | undefined;
  readonly log: Log;
  /** A clock that is never set: milliseconds since whenever. */
  readonly nowMs: () => number;
}

const SHARE_INTERVAL_MS = 50;
const SHARE_RETRY_MS = 1_000;
/** In one script of about 2 µs each. */
const SHARED_AT_ONCE = 1_000;
/** About 200 bytes each. One that is not asked for while so many others are is forgotten, and begins anew. */
const GENERATION_MAX = 50_000;
const UNTOLD_MAX = 100_000;
/** Far below an interval: sums of fractions are not exact. */
const ROUNDING_MS = 1e-4;

export class RateLimiter {
  readonly #options: RateLimiterOptions;
  #recent = new Map<string, Bucket>();
  #earlier: ReadonlyMap<string, Bucket> = new Map();
  #untold: Bucket[] = [];
  #sharedMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #sharing: Promise<void> | undefined;
  #isFailing = false;
  #isStopped = false;

  constructor(options: RateLimiterOptions) {
    this.#options = options;
  }

  bucket(name: string, limit: RateLimit): Bucket {
    const recent = this.#recent.get(name);
    if (recent !== undefined) return recent;
    const intervalMs = limit.windowMs / limit.count;
    const bucket = this.#earlier.get(name) ?? { name, limit, intervalMs, paidMs: 0, untoldMs: 0 };
    if (this.#recent.size >= GENERATION_MAX) {
      this.#earlier = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(name, bucket);
    return bucket;
  }

  /** Takes one if there is any left. */
  takeOne(bucket: Bucket): boolean {
    const { paidMs, limit, intervalMs } = bucket;
    const hasRoom = paidMs - this.#options.nowMs() <= limit.windowMs - intervalMs + ROUNDING_MS;
    if (hasRoom) this.take(bucket, 1);
    return hasRoom;
  }

  /** More was taken than there is. */
  isOverdrawn({ paidMs, limit }: Bucket): boolean {
    return paidMs - this.#options.nowMs() > limit.windowMs + ROUNDING_MS;
  }

  /** Whether there is enough or not. */
  take(bucket: Bucket, count: number): void {
    const ms = count * bucket.intervalMs;
    bucket.paidMs = Math.max(bucket.paidMs, this.#options.nowMs()) + ms;
    if (this.#options.store === undefined) return;
    this.#tellLater(bucket, ms);
    this.#timer ??= this.#shareAfter(Math.max(0, this.#sharedMs + SHARE_INTERVAL_MS - this.#options.nowMs()));
  }

  stateOf({ paidMs, limit, intervalMs }: Bucket): LimitState {
    const aheadMs = Math.max(0, paidMs - this.#options.nowMs());
    const roomMs = limit.windowMs - aheadMs;
    return {
      remaining: Math.max(0, Math.floor((roomMs + ROUNDING_MS) / intervalMs)),
      retryMs: Math.max(0, intervalMs - roomMs),
      fullMs: aheadMs,
    };
  }

  #tellLater(bucket: Bucket, ms: number): void {
    // While the store is away some may be forgotten and begun anew: of these the list is bounded, too.
    if (bucket.untoldMs === 0) {
      if (this.#untold.length >= UNTOLD_MAX) return;
      this.#untold.push(bucket);
    }
    bucket.untoldMs += ms;
  }

  #shareAfter(ms: number): Timer | undefined {
    if (this.#isStopped) return undefined;
    return setTimeout(() => {
      this.#sharing = this.#share();
    }, ms);
  }

  /** Never rejects. */
  async #share(): Promise<void> {
    const isDone = await this.#tell(this.#options.store!);
    this.#timer = undefined;
    if (this.#untold.length > 0) this.#timer = this.#shareAfter(isDone ? SHARE_INTERVAL_MS : SHARE_RETRY_MS);
  }

  async #tell(store: AccessStore): Promise<boolean> {
    const { kind, log, nowMs } = this.#options;
    this.#sharedMs = nowMs();
    const buckets = this.#untold.splice(0, SHARED_AT_ONCE);
    const spendings = buckets.map(({ name, untoldMs }) => ({ name: `${kind} ${name}`, ms: untoldMs }));
    for (const bucket of buckets) bucket.untoldMs = 0;
    try {
      const paid = await store.spend(spendings);
      const now = nowMs();
      for (const [i, bucket] of buckets.entries()) bucket.paidMs = now + paid[i]! + bucket.untoldMs;
      this.#isFailing = false;
      return true;
    } catch (error) {
      if (!this.#isFailing) log.warn({ error: errorText(error) }, "limits hold for this instance alone");
      this.#isFailing = true;
      // What may have been added up is not added twice: a doubt is to the client's advantage.
      const isKnown = error instanceof HotUnavailableError && !error.mayHaveApplied;
      if (isKnown) for (const [i, bucket] of buckets.entries()) this.#tellLater(bucket, spendings[i]!.ms);
      return false;
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#sharing;
  }
}
