/**
 * How often a route was answered with each status, and how long that took. To ask for the time costs 45 ns, twice per
 * request: that is 1 % of an event, so that of the route which takes those one in 8 is timed, and stands for 8.
 *
 * Invariant: an answer is counted once. What is timed is the way through this service, without the socket's.
 */
import { Buckets, type LabelledBuckets } from "../../runtime/buckets.ts";
import { SECONDS } from "../../runtime/metrics.ts";

const STATUS_LIMIT = 600;
/** In place of a time. */
const NOT_TIMED = -1;

/** Of what hour a request is: the present one (or a later one), one before it, or any number of them. */
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

  /** `timedEvery`: one of so many requests is timed. */
  constructor(method: string, route: string, timedEvery = 1) {
    this.method = method;
    this.route = route;
    this.#timedEvery = timedEvery;
  }

  /** To be handed to `add` or `counted` when the request is answered. */
  start(): number {
    return this.#started++ % this.#timedEvery === 0 ? performance.now() : NOT_TIMED;
  }

  /** Without `startMs` it is not timed. */
  add(status: number, startMs = NOT_TIMED, age: HourAge = "any"): void {
    this.#byStatus[status]! += 1;
    if (startMs === NOT_TIMED) return;
    this.#seconds[age].observe((performance.now() - startMs) / 1_000, this.#timedEvery);
  }

  /** Hands the answer on. */
  counted(answer: Response, startMs: number, age: HourAge = "any"): Response {
    this.add(answer.status, startMs, age);
    return answer;
  }

  *[Symbol.iterator](): Generator<{ status: number; count: number }> {
    for (const [status, count] of this.#byStatus.entries()) if (count > 0) yield { status, count };
  }

  /** Of those hours that there were requests for. */
  *seconds(): Generator<LabelledBuckets> {
    const { method, route } = this;
    for (const [hour, buckets] of Object.entries(this.#seconds)) {
      if (buckets.counts.some((count) => count > 0)) yield { labels: { method, route, hour }, buckets };
    }
  }
}
