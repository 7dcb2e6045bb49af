/**
 * One candidate in one round: fresh stores and a fresh process, warmed up, loaded, and killed at the end.
 * Invariant: whatever it started has ended when it answers or throws.
 */
import { type Candidate, candidate, type Running } from "./candidates.ts";
import type { LoadDriver, RateTarget, Target } from "./load/load-driver.ts";
import { MIXES, type MixName } from "./load/workload.ts";
import { FlushWatch, waitForDrain } from "./measure/flush-watch.ts";
import { checkKill } from "./measure/kill-check.ts";
import { LATENCY_MIX, type Parameters } from "./measure/parameters.ts";
import { cpuMs, residentBytes } from "./measure/process-tree.ts";
import { folderBytes, mariaDbBytes, openStores, redisBytes, type Stores } from "./measure/stores.ts";
import type { LatencyResult, Maximum, Parts, StoredBytes, TrialResult } from "./results.ts";

export interface TrialContext {
  readonly parameters: Parameters;
  readonly driver: LoadDriver;
  readonly round: number;
  /** Told what is under way. */
  readonly say: (text: string) => void;
}

/** No phase has less, so that something is sent at all. */
const RATE_MIN_PER_S = 20;
const BYTES_PER_MB = 1_000_000;
const POSTS_ONLY = "100:0";

export async function runTrial(which: Candidate, context: TrialContext): Promise<TrialResult> {
  const stores = await openStores(which.needs);
  try {
    return await withCandidate(which, stores, context, async (running) => {
      return await new Trial(which, stores, running, context).run();
    });
  } finally {
    await stores.close();
  }
}

/** Starts it and ends it, with all its workers. */
export async function withCandidate<T>(
  which: Candidate,
  stores: Stores,
  { parameters: { leaseMs } }: TrialContext,
  use: (running: Running) => Promise<T>,
): Promise<T> {
  const running = await which.start(stores, { leaseMs });
  try {
    return await use(running);
  } finally {
    await running.rows?.close();
    // Told to stop before it is killed: its workers end with it.
    await running.process.kill("SIGTERM").catch(() => {});
    await running.process.stop();
  }
}

class Trial {
  readonly #candidate: Candidate;
  readonly #stores: Stores;
  readonly #running: Running;
  readonly #context: TrialContext;

  constructor(which: Candidate, stores: Stores, running: Running, context: TrialContext) {
    this.#candidate = which;
    this.#stores = stores;
    this.#running = running;
    this.#context = context;
  }

  async run(): Promise<TrialResult> {
    const { mixes, latencyShares } = this.#context.parameters;
    const { port } = this.#running.process;
    await warmUp(port, this.#context);
    await waitForDrain(this.#running);
    const maximum: Partial<Record<MixName, Maximum>> = {};
    let bytesPerMEvents: StoredBytes = { redis: 0, mysql: 0, files: 0 };
    for (const mix of mixes) {
      const before = await this.#storedBytes();
      const { events, figures } = await this.#maximumOf(mix);
      maximum[mix] = figures;
      if (mix === POSTS_ONLY) bytesPerMEvents = perMEvents(before, await this.#storedBytes(), events);
    }
    const residentMb = this.#residentMb();
    const latencies: LatencyResult[] = [];
    for (const share of latencyShares) latencies.push(await this.#latenciesAt(share, maximum[LATENCY_MIX]!));
    const kill = this.#candidate.storesEvents ? await this.#kill(maximum[LATENCY_MIX]!) : undefined;
    return { maximum, latencies, residentMb, bytesPerMEvents, kill };
  }

  #target(mix: MixName): Target {
    const { parameters, round } = this.#context;
    return {
      port: this.#running.process.port,
      mix: MIXES[mix],
      population: { users: parameters.users, streams: 1 },
      // The same for all candidates of a round.
      seed: round * 1_000 + Object.keys(MIXES).indexOf(mix),
      durationMs: parameters.phaseMs,
    };
  }

  async #maximumOf(mix: MixName): Promise<{ events: number; figures: Maximum }> {
    const { driver, say } = this.#context;
    const before = this.#cpuMs();
    const watch = new FlushWatch(this.#running.rows);
    await watch.start();
    const load = await driver.saturate(this.#target(mix)).finally(() => watch.stop());
    const flush = await watch.result(this.#running, load);
    // By now all rows are written, and paid for.
    const cpuUsPerRequest = mapParts(this.#cpuMs(), (part, ms) => {
      return ((ms - before[part]) * 1_000) / load.answered;
    });
    const requestsPerS = (load.answered * 1_000) / load.durationMs;
    say(`${mix}: ${Math.round(requestsPerS)} requests/s`);
    return { events: load.answered, figures: { requestsPerS, failed: load.failed, cpuUsPerRequest, flush } };
  }

  async #latenciesAt(share: number, { requestsPerS }: Maximum): Promise<LatencyResult> {
    const { driver, say, parameters } = this.#context;
    const ratePerS = Math.max(RATE_MIN_PER_S, Math.round(requestsPerS * share));
    const target = { ...this.#target(LATENCY_MIX), ratePerS };
    const { latencies, answered, refused } = await driver.sendAtRate(target);
    await waitForDrain(this.#running);
    const { latencyReference } = this.#candidate;
    const reference =
      latencyReference === undefined
        ? undefined
        : await referenceLatencies(candidate(latencyReference), target, this.#context);
    say(`${Math.round(share * 100)} % of its maximum: latencies at ${ratePerS} requests/s`);
    const answeredPerS = (answered * 1_000) / parameters.phaseMs;
    const found = { share, ratePerS, answeredPerS, refused, classes: latencies };
    return reference === undefined ? found : { ...found, reference };
  }

  async #kill({ requestsPerS }: Maximum) {
    const { driver, say } = this.#context;
    const ratePerS = Math.max(RATE_MIN_PER_S, Math.round(requestsPerS / 2));
    const kill = await checkKill({
      running: this.#running,
      driver,
      target: { ...this.#target(LATENCY_MIX), ratePerS },
    });
    say(`killed: ${kill.lost} of ${kill.acknowledged} acknowledged events lost`);
    return kill;
  }

  #pids(): Readonly<Record<keyof Parts, number | undefined>> {
    const { redis, mariaDb } = this.#stores;
    return { server: this.#running.process.pid, redis: redis?.pid, mysql: mariaDb?.pid };
  }

  #cpuMs(): Parts {
    return mapParts(this.#pids(), (_, pid) => (pid === undefined ? 0 : cpuMs(pid)));
  }

  #residentMb(): Parts {
    return mapParts(this.#pids(), (_, pid) => (pid === undefined ? 0 : residentBytes(pid) / BYTES_PER_MB));
  }

  async #storedBytes(): Promise<StoredBytes> {
    const { redis, mariaDb } = this.#stores;
    const { dataDir } = this.#running;
    return {
      redis: redis === undefined ? 0 : await redisBytes(redis),
      mysql: mariaDb === undefined ? 0 : mariaDbBytes(mariaDb),
      files: dataDir === undefined ? 0 : folderBytes(dataDir),
    };
  }
}

async function warmUp(port: number, context: TrialContext): Promise<void> {
  const { driver, parameters } = context;
  const population = { users: parameters.users, streams: 1 };
  await driver.saturate({ port, mix: MIXES["50:50"], population, seed: 0, durationMs: parameters.warmUpMs });
}

async function referenceLatencies(reference: Candidate, target: RateTarget, context: TrialContext) {
  const stores = await openStores(reference.needs);
  try {
    return await withCandidate(reference, stores, context, async ({ process: { port } }) => {
      await warmUp(port, context);
      return (await context.driver.sendAtRate({ ...target, port })).latencies;
    });
  } finally {
    await stores.close();
  }
}

function mapParts<T>(parts: Readonly<Record<keyof Parts, T>>, map: (part: keyof Parts, value: T) => number): Parts {
  return {
    server: map("server", parts.server),
    redis: map("redis", parts.redis),
    mysql: map("mysql", parts.mysql),
  };
}

/** What shrank meanwhile holds nothing of these events. */
function perMEvents(before: StoredBytes, after: StoredBytes, events: number): StoredBytes {
  const gained = (part: keyof StoredBytes) => (Math.max(0, after[part] - before[part]) * 1_000_000) / events;
  return { redis: gained("redis"), mysql: gained("mysql"), files: gained("files") };
}
