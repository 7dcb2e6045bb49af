/**
 * Counts a route's answers by status, and times them. Reading the clock takes 45 ns twice per request, 1 % of an event,
 * so only one in 8 POST /analytics is timed, and stands for 8.
 *
 * Invariant: an answer is counted once. Times include the service, but not the socket.
 */
import { Buckets, type LabelledBuckets, SECONDS } from "../../runtime/metrics.ts";

const STATUS_LIMIT = 600;
const NOT_TIMED = -1;

/** The hour of a request: the current (or a later) one, an older one, or any number of hours. */
export type HourAge = "current" | "older" | "any";

export class RequestCounts {
  readonly method: string;
  readonly route: string;
  readonly #byStatus = new Float64Array(STATUS_LIMIT);
  readonly #seconds: Record<HourAge, Buckets> = {
    current: new Buckets(SECONDS),
    older: new Buckets(SECONDS),
    any: new Buckets(SECONDS),
  };

  readonly #timedEvery: number;
  #started = 0;

  constructor(method: string, route: string, timedEvery = 1) {
    this.method = method;
    this.route = route;
    this.#timedEvery = timedEvery;
  }

  /** Pass the result to `add` or `counted` when the request is answered. */
  start(): number {
    return this.#started++ % this.#timedEvery === 0 ? performance.now() : NOT_TIMED;
  }

  /** Not timed without `startMs`. */
  add(status: number, startMs = NOT_TIMED, age: HourAge = "any"): void {
    this.#byStatus[status]! += 1;
    if (startMs === NOT_TIMED) return;
    this.#seconds[age].observe((performance.now() - startMs) / 1_000, this.#timedEvery);
  }

  counted(answer: Response, startMs: number, age: HourAge = "any"): Response {
    this.add(answer.status, startMs, age);
    return answer;
  }

  *[Symbol.iterator](): Generator<{ status: number; count: number }> {
    for (const [status, count] of this.#byStatus.entries()) if (count > 0) yield { status, count };
  }

  *seconds(): Generator<LabelledBuckets> {
    const { method, route } = this;
    for (const [hour, buckets] of Object.entries(this.#seconds)) {
      if (buckets.counts.some((count) => count > 0)) yield { labels: { method, route, hour }, buckets };
    }
  }
}
