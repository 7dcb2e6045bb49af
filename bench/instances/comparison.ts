/** Compares measurements of several instances with the simulation's prediction from the costs of one. */
import { type Costs, fitted, MEASURED } from "../capacity/costs.ts";
import { type Simulated, simulate } from "../capacity/model.ts";
import { spreadOf } from "../statistics.ts";
import type { CpuUs, InstancesResult, Phase } from "./measure.ts";

export interface Comparison {
  readonly instances: number;
  readonly measured: Summary;
  readonly simulated: Simulated;
  /** CPU of instances, Redis and MySQL for an event, against one instance: at most, and each at the same rate. */
  readonly cpuRatio: number;
  readonly pacedCpuRatio: number;
  readonly eventsRatio: number;
}

export interface Summary {
  readonly eventsPerS: number;
  readonly cpuUsPerEvent: CpuUs;
  readonly batchEvents: number;
  readonly pacedEventsPerS: number;
  readonly pacedCpuUsPerEvent: CpuUs;
  readonly pacedBatchEvents: number;
  readonly pacedP99Ms: number;
}

export interface ComparisonOptions {
  readonly cores: number;
  /** Connections per instance. */
  readonly connections: number;
  readonly seed: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
}

/** On one machine there is next to no network. */
const LOOPBACK_MS = 0.05;

/** Computes the costs of one instance from its two phases, whose batches differ in size. */
export function costsOf(results: readonly InstancesResult[]): Costs {
  const one = results.filter(({ instances }) => instances === 1);
  if (one.length === 0) throw new Error("the costs of an event are those of one instance: measure that, too");
  const most = phaseOf(one.map((result) => result.most));
  const paced = phaseOf(one.map((result) => result.paced));
  const fit = (part: keyof CpuUs, without = 0) => {
    const point = ({ batchEvents, cpuUsPerEvent }: Phase) => {
      return { batchEvents, usPerEvent: Math.max(0, cpuUsPerEvent[part] - without) };
    };
    return fitted(point(most), point(paced));
  };
  const [instance, redis] = [fit("instance", MEASURED.flushEventUs), fit("redis")];
  return {
    ...MEASURED,
    instanceEventUs: instance.eventUs,
    instanceBatchUs: instance.batchUs,
    redisEventUs: redis.eventUs,
    redisBatchUs: redis.batchUs,
    mysqlEventUs: most.cpuUsPerEvent.mysql,
    driverEventUs: most.otherUsPerEvent,
  };
}

/** Medians. */
function phaseOf(phases: readonly Phase[]): Phase {
  const median = (of: (phase: Phase) => number) => spreadOf(phases.map(of))!.median;
  return {
    eventsPerS: median(({ eventsPerS }) => eventsPerS),
    failed: median(({ failed }) => failed),
    cpuUsPerEvent: {
      instance: median(({ cpuUsPerEvent }) => cpuUsPerEvent.instance),
      redis: median(({ cpuUsPerEvent }) => cpuUsPerEvent.redis),
      mysql: median(({ cpuUsPerEvent }) => cpuUsPerEvent.mysql),
    },
    otherUsPerEvent: median(({ otherUsPerEvent }) => otherUsPerEvent),
    batchEvents: median(({ batchEvents }) => batchEvents),
  };
}

export function compare(results: readonly InstancesResult[], costs: Costs, options: ComparisonOptions): Comparison[] {
  const byCount = Map.groupBy(results, ({ instances }) => instances);
  const summaries = new Map(Array.from(byCount, ([instances, some]) => [instances, summaryOf(some)]));
  const one = summaries.get(1)!;
  return Array.from(summaries, ([instances, measured]) => ({
    instances,
    measured,
    simulated: simulatedAs(instances, costs, options),
    cpuRatio: sumOf(measured.cpuUsPerEvent) / sumOf(one.cpuUsPerEvent),
    pacedCpuRatio: sumOf(measured.pacedCpuUsPerEvent) / sumOf(one.pacedCpuUsPerEvent),
    eventsRatio: measured.eventsPerS / one.eventsPerS,
  }));
}

export function sumOf({ instance, redis, mysql }: CpuUs): number {
  return instance + redis + mysql;
}

function summaryOf(results: readonly InstancesResult[]): Summary {
  const most = phaseOf(results.map((result) => result.most));
  const paced = phaseOf(results.map((result) => result.paced));
  return {
    eventsPerS: most.eventsPerS,
    cpuUsPerEvent: most.cpuUsPerEvent,
    batchEvents: most.batchEvents,
    pacedEventsPerS: paced.eventsPerS,
    pacedCpuUsPerEvent: paced.cpuUsPerEvent,
    pacedBatchEvents: paced.batchEvents,
    pacedP99Ms: spreadOf(results.map((result) => result.paced.p99Ms))?.median ?? Number.NaN,
  };
}

function simulatedAs(instances: number, costs: Costs, options: ComparisonOptions): Simulated {
  const { cores, connections, ...times } = options;
  return simulate({
    ...times,
    sizes: { instances, shards: 1, mysqlNodes: 1, mysqlCores: cores, hourRows: 1 },
    load: { connections },
    costs,
    networkMs: LOOPBACK_MS,
    flushIntervalMs: 1_000,
    flushMaxEvents: 10_000,
    sharedCores: cores,
  });
}
