/**
 * Rate limits, decided locally and immediately, and shared with other instances a little later.
 *
 * Each limit is a time until which admitted requests are paid for (GCRA). Each request moves it forward, to at most one
 * window ahead of the clock. A batch is admitted whole if the time is not that far ahead yet, and may move it further.
 * So the long-term rate never exceeds the limit, and a burst never exceeds the limit plus a batch.
 *
 * Invariant across instances: within SHARE_INTERVAL_MS everything admitted is added up in the store, and from then on
 * all instances owe the sum. So `n` instances admit at most `n` times the limit in a burst, and exactly the limit over
 * time. While the store is unavailable, each instance applies the limit alone.
 */
import type { RateLimit } from "../../domain/rate-limit.ts";
import { errorText } from "../../runtime/error-text.ts";
import type { Log } from "../../runtime/log.ts";
import type { AccessStore } from "../../store/access-store.ts";
import { HotUnavailableError } from "../../store/hot.ts";

export interface Bucket {
  readonly name: string;
  readonly limit: RateLimit;
  /** The time that one event or request costs. */
  readonly intervalMs: number;
  /** The time until which admitted requests are paid for. If it is past, the whole limit is available. */
  paidMs: number;
  /** The part that the store does not know yet. */
  unsharedMs: number;
}

export interface LimitState {
  readonly remaining: number;
  readonly retryMs: number;
  readonly fullMs: number;
}

interface RateLimiterOptions {
  /** Prefixes the names of these limits in the store. */
  readonly kind: string;
  readonly store: AccessStore | undefined;
  readonly log: Log;
  /** Monotonic. */
  readonly nowMs: () => number;
}

const SHARE_INTERVAL_MS = 50;
const SHARE_RETRY_MS = 1_000;
/** Per script call; each takes about 2 µs. */
const SHARED_AT_ONCE = 1_000;
/** About 200 bytes each. A bucket is forgotten once this many others were used since its last use. */
const GENERATION_MAX = 50_000;
const UNSHARED_MAX = 100_000;
/** Far below any interval; needed since sums of fractions are inexact. */
const ROUNDING_MS = 1e-4;

export class RateLimiter {
  readonly #options: RateLimiterOptions;
  #recent = new Map<string, Bucket>();
  #earlier: ReadonlyMap<string, Bucket> = new Map();
  #unshared: Bucket[] = [];
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
    const bucket = this.#earlier.get(name) ?? { name, limit, intervalMs, paidMs: 0, unsharedMs: 0 };
    if (this.#recent.size >= GENERATION_MAX) {
      this.#earlier = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(name, bucket);
    return bucket;
  }

  takeOne(bucket: Bucket): boolean {
    const { paidMs, limit, intervalMs } = bucket;
    const hasRoom = paidMs - this.#options.nowMs() <= limit.windowMs - intervalMs + ROUNDING_MS;
    if (hasRoom) this.take(bucket, 1);
    return hasRoom;
  }

  isOverdrawn({ paidMs, limit }: Bucket): boolean {
    return paidMs - this.#options.nowMs() > limit.windowMs + ROUNDING_MS;
  }

  /** Takes even if there is not enough. */
  take(bucket: Bucket, count: number): void {
    const ms = count * bucket.intervalMs;
    bucket.paidMs = Math.max(bucket.paidMs, this.#options.nowMs()) + ms;
    if (this.#options.store === undefined) return;
    this.#shareLater(bucket, ms);
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

  #shareLater(bucket: Bucket, ms: number): void {
    // While the store is unavailable, buckets may be forgotten and created again, so this list needs its own limit.
    if (bucket.unsharedMs === 0) {
      if (this.#unshared.length >= UNSHARED_MAX) return;
      this.#unshared.push(bucket);
    }
    bucket.unsharedMs += ms;
  }

  #shareAfter(ms: number): Timer | undefined {
    if (this.#isStopped) return undefined;
    return setTimeout(() => {
      this.#sharing = this.#share();
    }, ms);
  }

  /** Never rejects. */
  async #share(): Promise<void> {
    const isDone = await this.#send(this.#options.store!);
    this.#timer = undefined;
    if (this.#unshared.length > 0) this.#timer = this.#shareAfter(isDone ? SHARE_INTERVAL_MS : SHARE_RETRY_MS);
  }

  async #send(store: AccessStore): Promise<boolean> {
    const { kind, log, nowMs } = this.#options;
    this.#sharedMs = nowMs();
    const buckets = this.#unshared.splice(0, SHARED_AT_ONCE);
    const spendings = buckets.map(({ name, unsharedMs }) => ({ name: `${kind} ${name}`, ms: unsharedMs }));
    for (const bucket of buckets) bucket.unsharedMs = 0;
    try {
      const paid = await store.spend(spendings);
      const now = nowMs();
      for (const [i, bucket] of buckets.entries()) bucket.paidMs = now + paid[i]! + bucket.unsharedMs;
      this.#isFailing = false;
      return true;
    } catch (error) {
      if (!this.#isFailing)
        log.warn({ error: errorText(error) }, "rate limits are not shared with other instances for now");
      this.#isFailing = true;
      // Never adds anything twice: in doubt, the client gets the benefit.
      const isKnown = error instanceof HotUnavailableError && !error.mayHaveApplied;
      if (isKnown) for (const [i, bucket] of buckets.entries()) this.#shareLater(bucket, spendings[i]!.ms);
      return false;
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#sharing;
  }
}
