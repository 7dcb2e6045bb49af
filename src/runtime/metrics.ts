/**
 * Measurements beyond the ledger: durations, sizes, answers, and failures of stores. http/ops/metrics-route.ts adds the
 * values that are only read at a scrape, except those of the feeds (http/live/live.ts).
 */
import { Counter, type Gauge, Registry } from "prom-client";
import type { Clock } from "./clock.ts";

/** Bucket bounds, from a fraction of a millisecond to the deadline of a flush. */
const SECONDS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
const EVENTS = [1, 10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000];
const LAG_INTERVAL_MS = 50;
const STATUS_LIMIT = 600;
const NOT_TIMED = -1;

export class Metrics {
  readonly registry = new Registry();
  readonly commitSeconds = this.#buckets(
    "hourglass_commit_seconds",
    "From the arrival of a batch's first event to the answer to its clients",
  );
  readonly batchEvents = this.#buckets("hourglass_batch_events", "Events in a batch", EVENTS);
  readonly flushSeconds = this.#buckets("hourglass_flush_seconds", "One transaction of the cold store");
  readonly flushEvents = this.#buckets("hourglass_flush_events", "Events in one transaction of the cold store", EVENTS);
  readonly hotReadSeconds = this.#buckets(
    "hourglass_hot_read_seconds",
    "One read of the hot store, shared by all requests that waited for it",
  );
  readonly coldReadSeconds = this.#buckets(
    "hourglass_cold_read_seconds",
    "One read of the cold store, for an hour that the hot store does not hold",
  );
  readonly hydrationSeconds = this.#buckets(
    "hourglass_hydration_seconds",
    "Loading an hour from the cold store into the hot store, for a late event",
  );
  readonly loopLagSeconds = this.#buckets(
    "hourglass_event_loop_lag_seconds",
    "How late a timer ran: every answer is delayed as much",
  );
  readonly commitFailures = this.#counter("hourglass_commit_failures_total", "Failures of a store during a commit");
  readonly flushFailures = this.#counter("hourglass_flush_failures_total", "Flushes that failed and were retried");

  #buckets(name: string, help: string, bounds: readonly number[] = SECONDS): Buckets {
    const buckets = new Buckets(bounds);
    registerBuckets(this.registry, name, help, () => [{ labels: {}, buckets }]);
    return buckets;
  }

  #counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.registry] });
  }
}

export async function timed<T>(clock: Clock, histogram: Buckets, work: () => Promise<T>): Promise<T> {
  const startMs = clock.monotonicMs();
  const result = await work();
  histogram.observe((clock.monotonicMs() - startMs) / 1_000);
  return result;
}

/** Measures how late a timer runs, 20 times a second. Returns a function that stops it. */
export function measureLoopLag(seconds: Buckets): () => void {
  let dueMs = performance.now() + LAG_INTERVAL_MS;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    seconds.observe(Math.max(0, nowMs - dueMs) / 1_000);
    dueMs = nowMs + LAG_INTERVAL_MS;
  }, LAG_INTERVAL_MS);
  return () => clearInterval(timer);
}

/**
 * A histogram for use per request and batch: an observation takes a few ns. prom-client takes 1 µs to look up labels.
 */
class Buckets {
  readonly bounds: readonly number[];
  /** One per bound, and one for all larger values. */
  readonly counts: Float64Array;
  sum = 0;

  /** `bounds`: ascending, each the highest value of its bucket. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** `weight`: how many observations this one stands for. */
  observe(value: number, weight = 1): void {
    const { bounds } = this;
    let i = 0;
    while (i < bounds.length && value > bounds[i]!) i += 1;
    this.counts[i]! += weight;
    this.sum += value * weight;
  }
}

interface LabelledBuckets {
  readonly labels: Readonly<Record<string, string>>;
  readonly buckets: Buckets;
}

/** The hour of a request: the current (or a later) one, an older one, or any number of hours. */
export type HourAge = "current" | "older" | "any";

/**
 * Counts a route's answers by status, each once, and times them: times include the service, but not the socket.
 * Reading the clock takes 45 ns twice per request, 1 % of an event, so only one in 8 POST /analytics is timed, and
 * stands for 8.
 */
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

export function registerBuckets(
  registry: Registry,
  name: string,
  help: string,
  all: () => Iterable<LabelledBuckets>,
): void {
  expose(registry, "histogram", name, help, () => Array.from(all(), (each) => samplesOf(name, each)).flat());
}

function samplesOf(name: string, { labels, buckets }: LabelledBuckets): Sample[] {
  const { bounds, counts, sum } = buckets;
  let count = 0;
  const samples = [...bounds, "+Inf"].map((bound, i) => {
    count += counts[i]!;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: count };
  });
  return [
    ...samples,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}

export interface Sample {
  /** Undefined: the metric's own name. */
  readonly metricName?: string;
  readonly labels?: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/**
 * Exposes a value that is counted elsewhere. `samples` is called in the tick of the scrape, like every other metric.
 */
export function expose(
  registry: Registry,
  type: "counter" | "gauge" | "histogram",
  name: string,
  help: string,
  samples: () => Iterable<Sample>,
): void {
  const get = async () => ({ name, help, type, aggregator: "sum", values: Array.from(samples()) });
  // The registry needs no more of a metric. prom-client builds its own aggregated metrics this way.
  registry.registerMetric({ name, get } as unknown as Gauge);
}
