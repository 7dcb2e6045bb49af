/** Puts the bench's workload on a server with test/harness/load. */
import { hourOf } from "../../src/domain/event.ts";
import { Latencies } from "../../src/runtime/latencies.ts";
import { type LoadResult, startLoad } from "../../test/harness/load/http-load.ts";
import { type Distribution, distributionOf } from "./percentiles.ts";
import {
  batchRequests,
  type Mix,
  type Population,
  REQUEST_CLASSES,
  type RequestClass,
  timeWithRoom,
  type Workload,
  workload,
} from "./workload.ts";

export interface Target {
  readonly port: number;
  readonly mix: Mix;
  readonly population: Population;
  /** The same seed, the same requests. */
  readonly seed: number;
  readonly durationMs: number;
}

export interface LoadDriverOptions {
  readonly connections: number;
  /** Different ones; a longer run sends them again. */
  readonly requests: number;
  readonly batchEvents: number;
  /** Few: each has a whole batch under way. */
  readonly batchConnections: number;
  /** Where it stays. */
  readonly core?: number | undefined;
}

export interface Saturation {
  readonly answered: number;
  /** Refused, or lost. */
  readonly failed: number;
  readonly durationMs: number;
}

export interface BatchSaturation extends Saturation {
  /** On the clock of `performance.now()`. */
  readonly startedMs: number;
}

export interface ConstantRate {
  readonly answered: number;
  /** Refused, or not answered by the end. */
  readonly failed: number;
  readonly latencies: Readonly<Partial<Record<RequestClass, Distribution>>>;
}

/** A load that ends because the server is killed. */
export interface KilledLoad {
  readonly acknowledged: number;
  /** Sent, and not answered. */
  readonly inDoubt: number;
}

/** How long answers are awaited after the last request was due. */
const GRACE_S = 2;
/**
 * Requests that were due before have no sample; of a short run an eighth. All connections are new then: with a server
 * that does nothing, at 20,000 requests/s, the 99th percentile of the first tenth of a second was 4 to 23 ms.
 */
const RAMP_MS = 500;
const ATTEMPTS = 5;
/** How much longer than expected a server may take until it is killed: far more than a busy machine needs. */
const KILL_MARGIN_S = 60;
const KILL_POLL_MS = 5;
/** Some 20 MB each. */
const WORKLOADS_MAX = 8;

export class LoadDriver {
  readonly #options: LoadDriverOptions;
  readonly #workloads = new Map<string, Workload>();

  constructor(options: LoadDriverOptions) {
    this.#options = options;
  }

  /** On a machine that is busy with something else nothing may be answered at first: it is tried longer. */
  async saturate(target: Target): Promise<Saturation> {
    for (let attempt = 1; ; attempt++) {
      const { result } = startLoad({ ...(await this.#load(target)), graceS: 0 });
      const { acknowledged, refused, lostConnections, seconds } = await result;
      const failed = refused + lostConnections;
      if (acknowledged > 0) return { answered: acknowledged, failed, durationMs: seconds * 1_000 };
      if (failed > 0 || attempt === ATTEMPTS) {
        throw new Error(`no request was answered with success, ${failed} failed`);
      }
      target = { ...target, durationMs: target.durationMs * 2 };
    }
  }

  async sendAtRate(target: Target, ratePerS: number): Promise<ConstantRate> {
    const load = await this.#load(target);
    const result = await startLoad({ ...load, ratePerS }).result;
    const { acknowledged, lostConnections, latenciesMs } = result;
    const due = latenciesMs.length;
    const hasEndedEarly = acknowledged < due && result.seconds < load.seconds;
    if (lostConnections > 0 || hasEndedEarly) {
      throw new Error(`the server closed connections, at ${ratePerS} requests/s`);
    }
    const rampMs = Math.min(RAMP_MS, target.durationMs / 8);
    const latencies = latenciesByClass(result, load.requests, Math.floor((rampMs * ratePerS) / 1_000));
    return { answered: acknowledged, failed: due - acknowledged, latencies };
  }

  /** Calls `kill`, which ends the server, under load: once it has acknowledged what is due in `durationMs`. */
  async sendUntilKilled(target: Target, ratePerS: number, kill: () => Promise<void>): Promise<KilledLoad> {
    const load = await this.#load(target);
    const enough = Math.ceil(ratePerS * load.seconds);
    const sending = startLoad({ ...load, ratePerS, seconds: load.seconds + KILL_MARGIN_S });
    let hasEnded = false;
    const result = sending.result.finally(() => {
      hasEnded = true;
    });
    result.catch(() => {});
    while (!hasEnded && sending.acknowledged() < enough) await Bun.sleep(KILL_POLL_MS);
    if (hasEnded) {
      const { acknowledged } = await result;
      throw new Error(`the load ended before the kill: ${acknowledged} of ${enough} requests were acknowledged`);
    }
    await kill();
    const { acknowledged, unknown } = await result;
    return { acknowledged, inDoubt: unknown };
  }

  /** Counts events. */
  async sendBatches(target: Target): Promise<BatchSaturation> {
    const { batchEvents, batchConnections, requests, core } = this.#options;
    const now = await timeWithRoom(target.durationMs);
    const batches = batchRequests({
      ...target,
      now,
      batches: Math.ceil(requests / batchEvents),
      batchEvents,
    });
    const { port, durationMs } = target;
    const { acknowledged, refused, lostConnections, seconds } = await startLoad({
      ...{ ports: [port], connections: batchConnections, requests: batches },
      ...{ ratePerS: undefined, seconds: durationMs / 1_000, graceS: GRACE_S, core },
    }).result;
    if (acknowledged === 0) throw new Error("no batch was accepted");
    return {
      answered: acknowledged * batchEvents,
      failed: refused + lostConnections,
      durationMs: seconds * 1_000,
      startedMs: performance.now() - seconds * 1_000,
    };
  }

  /** Making requests takes as long as a short measurement, and all servers of a round get the same ones. */
  #cached(key: object, make: () => Workload): Workload {
    const text = JSON.stringify(key);
    const found = this.#workloads.get(text) ?? make();
    if (this.#workloads.size > WORKLOADS_MAX) this.#workloads.clear();
    this.#workloads.set(text, found);
    return found;
  }

  async #load({ port, mix, population, seed, durationMs }: Target) {
    const { requests: count, connections, core } = this.#options;
    const now = await timeWithRoom(durationMs);
    const requests = this.#cached({ mix, population, seed, count, hour: hourOf(now) }, () =>
      workload({ mix, population, seed, now, requests: count }),
    );
    const seconds = durationMs / 1_000;
    return { ports: [port], connections, requests, seconds, graceS: GRACE_S, ratePerS: undefined, core };
  }
}

/** Ignores requests before `first`. */
function latenciesByClass({ latenciesMs }: LoadResult, { classes }: Workload, first: number) {
  const samples = REQUEST_CLASSES.map(() => new Latencies());
  for (let number = first; number < latenciesMs.length; number++) {
    samples[classes[number % classes.length]!]!.add(latenciesMs[number]!);
  }
  const found = REQUEST_CLASSES.map((name, n) => [name, distributionOf(samples[n]!)] as const);
  return Object.fromEntries(found.filter(([, distribution]) => distribution !== undefined));
}
