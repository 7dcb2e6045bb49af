/**
 * One candidate in one round: fresh stores and a fresh process, warmed up, loaded, and killed at the end.
 * Invariant: everything it started has ended when it returns or throws.
 */
import { type Candidate, type Running, withCandidate } from "./candidates.ts";
import type { LoadDriver, Target } from "./load/load-driver.ts";
import { type Mix, POSTS, POSTS_AND_READS, READS_OF_CURRENT_HOUR } from "./load/workload.ts";
import { measureBulkInsert } from "./measure/bulk-insert.ts";
import { flushBehind, waitForDrain } from "./measure/flush.ts";
import { checkKill } from "./measure/kill-check.ts";
import { type Cores, pinMainThread } from "./measure/pinning.ts";
import { cpuMs, residentBytes } from "./measure/process-tree.ts";
import { storeRows } from "./measure/stored-rows.ts";
import { folderBytes, mariaDbBytes, openStores, redisBytes, type Stores } from "./measure/stores.ts";
import type { Parameters } from "./parameters.ts";
import type {
  BatchResult,
  GrowthResult,
  Maximum,
  Parts,
  RateResult,
  ReadResult,
  StoredBytes,
  TrialResult,
} from "./results.ts";

export interface TrialContext {
  readonly parameters: Parameters;
  readonly driver: LoadDriver;
  /** Undefined: nothing is pinned. */
  readonly cores: Cores | undefined;
  readonly round: number;
  /** Progress. */
  readonly say: (text: string) => void;
}

const BYTES_PER_MB = 1_000_000;
/** Below it a rate is not borne. */
const ANSWERED_SHARE_MIN = 0.95;
/** So that something is sent at all. */
const RATE_MIN_PER_S = 20;

export async function runTrial(which: Candidate, context: TrialContext): Promise<TrialResult> {
  const stores = await openStores(which);
  try {
    if (which.hasStoredRows) await storeRows(which, stores, context);
    return await withCandidate(which, stores, context.parameters, async (running) => {
      return await new Trial(which, stores, running, context).run();
    });
  } finally {
    await stores.close();
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
    const { phases } = this.#candidate;
    const { driver, cores, parameters, say } = this.#context;
    await driver.saturate({ ...this.#target(POSTS_AND_READS), durationMs: parameters.warmUpMs });
    await waitForDrain(this.#running);
    // Not before: threads that the main one starts stay where it is.
    if (cores) pinMainThread(this.#running.process.pid, cores.server);
    const rates = phases.includes("rates") ? await this.#rates() : [];
    const before = await this.#storedBytes();
    const { events, ...maximum } = await this.#maximum();
    say(`${Math.round(maximum.perS)} events/s`);
    return {
      rates,
      maximum,
      bytesPerMEvents: perMEvents(before, await this.#storedBytes(), events),
      residentMb: this.#residentMb(),
      reads: phases.includes("reads") ? await this.#reads() : undefined,
      growth: phases.includes("growth") ? await this.#growth() : undefined,
      batches: phases.includes("batches") ? await this.#batches() : undefined,
      kill: phases.includes("kill") ? await this.#kill(maximum) : undefined,
    };
  }

  /** The requests of a round are the same for all candidates. */
  #target(mix: Mix, { users = this.#context.parameters.users, streams = 1 } = {}): Target {
    const { parameters, round } = this.#context;
    const { port } = this.#running.process;
    return { port, mix, population: { users, streams }, seed: round, durationMs: parameters.phaseMs };
  }

  async #rates(): Promise<RateResult[]> {
    const found: RateResult[] = [];
    for (const ratePerS of this.#context.parameters.ratesPerS) {
      const rate = await this.#atRate(ratePerS);
      found.push(rate);
      if (rate.answeredShare < ANSWERED_SHARE_MIN) break;
    }
    return found;
  }

  async #atRate(ratePerS: number): Promise<RateResult> {
    const { load, cost } = await this.#measured(async () => {
      const found = await this.#context.driver.sendAtRate(this.#target(POSTS), ratePerS);
      return { ...found, durationMs: this.#context.parameters.phaseMs };
    });
    const answeredShare = load.answered / (load.answered + load.failed);
    return { ratePerS, answeredShare, latencies: load.latencies, ...cost };
  }

  async #maximum(): Promise<Maximum & { events: number }> {
    const { load, cost } = await this.#measured(() => this.#context.driver.saturate(this.#target(POSTS)));
    const { answered, failed, durationMs } = load;
    return { events: answered, perS: (answered * 1_000) / durationMs, failed, ...cost };
  }

  /** Measures the cost of a load, including the flush of its events. */
  async #measured<L extends { readonly answered: number; readonly durationMs: number }>(send: () => Promise<L>) {
    const before = this.#cpuMs();
    const load = await send();
    const flush = await flushBehind(this.#running, (load.answered * 1_000) / load.durationMs);
    const after = this.#cpuMs();
    const us = (part: keyof Parts) => ((after[part] - before[part]) * 1_000) / load.answered;
    return {
      load,
      cost: { cpuUsPerEvent: { server: us("server"), redis: us("redis"), mysql: us("mysql") }, flush },
    };
  }

  async #reads(): Promise<ReadResult> {
    const { driver, parameters } = this.#context;
    const { answered, durationMs } = await driver.saturate(this.#target(READS_OF_CURRENT_HOUR));
    const { latencies } = await driver.sendAtRate(this.#target(POSTS_AND_READS), parameters.readRatePerS);
    await waitForDrain(this.#running);
    return { maximumPerS: (answered * 1_000) / durationMs, latencies };
  }

  async #growth(): Promise<GrowthResult> {
    const { manyUsers, manyStreams } = this.#context.parameters;
    const perS = async (population: { users?: number; streams?: number }) => {
      const { answered, durationMs } = await this.#context.driver.saturate(this.#target(POSTS, population));
      await waitForDrain(this.#running);
      return (answered * 1_000) / durationMs;
    };
    return { users: await perS({ users: manyUsers }), streams: await perS({ streams: manyStreams }) };
  }

  async #batches(): Promise<BatchResult> {
    const { driver, parameters } = this.#context;
    const target = this.#target(POSTS);
    await driver.sendBatches({ ...target, durationMs: parameters.warmUpMs / 2 });
    await waitForDrain(this.#running);
    const { answered, failed, durationMs, startedMs } = await driver.sendBatches(target);
    const storedMs = (await waitForDrain(this.#running)).atMs - startedMs;
    const { mariaDb } = this.#stores;
    return {
      acceptedPerS: (answered * 1_000) / durationMs,
      storedPerS: (answered * 1_000) / storedMs,
      failed,
      bulkRowsPerS: mariaDb && (await measureBulkInsert(mariaDb.url, parameters.phaseMs)),
    };
  }

  async #kill({ perS }: Maximum) {
    const ratePerS = Math.max(RATE_MIN_PER_S, Math.round(perS / 2));
    const { driver, say } = this.#context;
    const kill = await checkKill({ running: this.#running, driver, target: this.#target(POSTS), ratePerS });
    say(`killed: ${kill.lost} of ${kill.acknowledged} acknowledged events lost`);
    return kill;
  }

  #cpuMs(): Parts {
    return this.#ofParts(cpuMs);
  }

  #residentMb(): Parts {
    return this.#ofParts((pid) => residentBytes(pid) / BYTES_PER_MB);
  }

  #ofParts(figure: (pid: number) => number): Parts {
    const { redis, mariaDb } = this.#stores;
    return {
      server: figure(this.#running.process.pid),
      redis: redis === undefined ? 0 : figure(redis.pid),
      mysql: mariaDb === undefined ? 0 : figure(mariaDb.pid),
    };
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

/** Ignores anything that shrank meanwhile: it holds nothing of these events. */
function perMEvents(before: StoredBytes, after: StoredBytes, events: number): StoredBytes {
  const gained = (part: keyof StoredBytes) => (Math.max(0, after[part] - before[part]) * 1_000_000) / events;
  return { redis: gained("redis"), mysql: gained("mysql"), files: gained("files") };
}
