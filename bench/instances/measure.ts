/**
 * Measures several instances on one Redis and one MariaDB, each with the same load: whether an event costs more with
 * more instances.
 *
 * Invariants: each number of instances begins with fresh stores, and the costs of flushing fall within the measurement.
 * Figures cover all instances together. Everything runs on one machine: once its cores are busy, more instances can't
 * handle more, and only the CPU time per event is meaningful.
 */
import { loadavg } from "node:os";
import { scrape } from "../../test/harness/servers/prometheus.ts";
import type { ServerProcess } from "../../test/harness/servers/server-process.ts";
import { startService } from "../../test/harness/service/service.ts";
import { CLUSTERED, candidate, type Running } from "../candidates.ts";
import { LoadDriver, type LoadDriverOptions, type Target } from "../load/load-driver.ts";
import { type Distribution, percentileMs } from "../load/percentiles.ts";
import { POSTS } from "../load/workload.ts";
import { waitForDrain } from "../measure/flush.ts";
import { cpuMs, machineBusyMs } from "../measure/process-tree.ts";
import { openStores, type Stores } from "../measure/stores.ts";

export interface MeasureOptions {
  readonly counts: readonly number[];
  readonly rounds: number;
  readonly phaseMs: number;
  readonly warmUpMs: number;
  readonly users: number;
  /** The load on each instance. */
  readonly driver: LoadDriverOptions;
  /** Events a second to each instance, for the second phase. Undefined: an eighth of what one alone takes. */
  readonly ratePerS: number | undefined;
  readonly say: (line: string) => void;
}

export interface CpuUs {
  readonly instance: number;
  readonly redis: number;
  readonly mysql: number;
}

export interface Phase {
  readonly eventsPerS: number;
  readonly failed: number;
  readonly cpuUsPerEvent: CpuUs;
  /** All that the machine was busy with beside: the driver, and whatever else ran. */
  readonly otherUsPerEvent: number;
  readonly batchEvents: number;
}

export interface PacedPhase extends Phase {
  /** The largest of the instances'. */
  readonly p50Ms: number;
  readonly p99Ms: number | undefined;
}

export interface InstancesResult {
  readonly instances: number;
  readonly round: number;
  /** The phase at the maximum rate. */
  readonly most: Phase;
  /** Each at the same rate, however many there are: the whole load grows with their number. */
  readonly paced: PacedPhase;
  /** The machine's load average just before; 0 on a quiet machine. */
  readonly loadAverage: number;
}

/** So that four of them leave two cores some room. */
const PACED_SHARE = 1 / 8;
/** So that something is sent at all. */
const RATE_MIN_PER_S = 20;
const LATENCY_CLASS = "POST current";

export async function measureInstances(options: MeasureOptions): Promise<InstancesResult[]> {
  const results: InstancesResult[] = [];
  let { ratePerS } = options;
  for (let round = 1; round <= options.rounds; round++) {
    for (const instances of options.counts) {
      const loadAverage = loadavg()[0]!;
      const group = await Group.open(instances, options);
      try {
        const most = await group.most(round);
        ratePerS ??= Math.max(RATE_MIN_PER_S, Math.round((most.eventsPerS / instances) * PACED_SHARE));
        const paced = await group.paced(round, ratePerS);
        results.push({ instances, round, most, paced, loadAverage });
        options.say(`round ${round}  ${instances} instances: ${Math.round(most.eventsPerS)} events/s`);
      } finally {
        await group.close();
      }
    }
  }
  return results;
}

interface Used {
  readonly instance: number;
  readonly redis: number;
  readonly mysql: number;
  readonly machine: number;
  readonly batches: number;
  readonly batched: number;
}

class Group {
  readonly #options: MeasureOptions;
  readonly #stores: Stores;
  readonly #services: readonly ServerProcess[];
  readonly #drivers: readonly LoadDriver[];
  readonly #first: Running;

  private constructor(
    options: MeasureOptions,
    stores: Stores,
    services: readonly ServerProcess[],
    drivers: readonly LoadDriver[],
    first: Running,
  ) {
    this.#options = options;
    this.#stores = stores;
    this.#services = services;
    this.#drivers = drivers;
    this.#first = first;
  }

  static async open(instances: number, options: MeasureOptions): Promise<Group> {
    const stores = await openStores(candidate(CLUSTERED));
    const services: ServerProcess[] = [];
    try {
      const first = await candidate(CLUSTERED).start(stores, { leaseMs: 10_000 });
      services.push(first.process);
      const settings = {
        REDIS_URL: stores.redis!.url,
        MYSQL_URL: stores.mariaDb!.url,
        NODE_ENV: "production",
        LOG_LEVEL: "warn",
      };
      while (services.length < instances) services.push(await startService({ settings }));
      const drivers = services.map(() => new LoadDriver(options.driver));
      return new Group(options, stores, services, drivers, first);
    } catch (error) {
      await Promise.all(services.map((service) => service.stop()));
      await stores.close();
      throw error;
    }
  }

  #targets(round: number, durationMs: number): Target[] {
    const { users } = this.#options;
    return this.#services.map(({ port }, n) => ({
      ...{ port, mix: POSTS, durationMs },
      population: { users, streams: 1 },
      seed: round * 1_000 + n,
    }));
  }

  async most(round: number): Promise<Phase> {
    const { warmUpMs, phaseMs } = this.#options;
    await this.#saturate(round, warmUpMs);
    await waitForDrain(this.#first);
    return await this.#phase(async () => {
      const loads = await this.#saturate(round, phaseMs);
      const answered = loads.reduce((sum, load) => sum + load.answered, 0);
      const perS = loads.reduce((sum, load) => sum + (load.answered * 1_000) / load.durationMs, 0);
      return { answered, perS, failed: loads.reduce((sum, load) => sum + load.failed, 0) };
    });
  }

  #saturate(round: number, durationMs: number) {
    const targets = this.#targets(round, durationMs);
    return Promise.all(this.#drivers.map((driver, n) => driver.saturate(targets[n]!)));
  }

  async paced(round: number, ratePerS: number): Promise<PacedPhase> {
    const targets = this.#targets(round, this.#options.phaseMs);
    const latencies: Distribution[] = [];
    const phase = await this.#phase(async () => {
      const loads = await Promise.all(this.#drivers.map((driver, n) => driver.sendAtRate(targets[n]!, ratePerS)));
      for (const load of loads) latencies.push(load.latencies[LATENCY_CLASS]!);
      const answered = loads.reduce((sum, load) => sum + load.answered, 0);
      const failed = loads.reduce((sum, load) => sum + load.failed, 0);
      return { answered, perS: (answered * 1_000) / this.#options.phaseMs, failed };
    });
    const worst = (percent: 50 | 99) => {
      const found = latencies.map((one) => percentileMs(one, percent)).filter((ms) => ms !== undefined);
      return found.length === 0 ? undefined : Math.max(...found);
    };
    return { ...phase, p50Ms: worst(50) ?? Number.NaN, p99Ms: worst(99) };
  }

  async #phase(
    load: () => Promise<{ readonly answered: number; readonly perS: number; readonly failed: number }>,
  ): Promise<Phase> {
    const before = await this.#used();
    const { answered, perS, failed } = await load();
    // The driver is done: what is busy from here on is the flush alone.
    const machine = machineBusyMs();
    await waitForDrain(this.#first);
    const after = await this.#used();
    const usPerEvent = (part: "instance" | "redis" | "mysql") => ((after[part] - before[part]) * 1_000) / answered;
    const cpuUsPerEvent = {
      instance: usPerEvent("instance"),
      redis: usPerEvent("redis"),
      mysql: usPerEvent("mysql"),
    };
    const own = cpuUsPerEvent.instance + cpuUsPerEvent.redis + cpuUsPerEvent.mysql;
    const all = ((machine - before.machine) * 1_000) / answered;
    return {
      eventsPerS: perS,
      failed,
      cpuUsPerEvent,
      otherUsPerEvent: Math.max(0, all - own),
      batchEvents: (after.batched - before.batched) / Math.max(1, after.batches - before.batches),
    };
  }

  async #used(): Promise<Used> {
    const { redis, mariaDb } = this.#stores;
    const samples = await Promise.all(this.#services.map(({ port }) => scrape(port)));
    const sum = (name: string) => samples.reduce((all, one) => all + (one.get(name) ?? 0), 0);
    return {
      instance: this.#services.reduce((all, { pid }) => all + cpuMs(pid), 0),
      redis: cpuMs(redis!.pid),
      mysql: cpuMs(mariaDb!.pid),
      machine: machineBusyMs(),
      batches: sum("hourglass_batch_events_count"),
      batched: sum("hourglass_batch_events_sum"),
    };
  }

  async close(): Promise<void> {
    await this.#first.rows?.close();
    await Promise.all(this.#services.map((service) => service.kill("SIGTERM").catch(() => {})));
    await Promise.all(this.#services.map((service) => service.stop()));
    await this.#stores.close();
  }
}
