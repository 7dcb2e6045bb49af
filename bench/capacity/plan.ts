/**
 * How many instances, data sets of Redis and nodes of MySQL a rate requires so that none is busy for more than a given
 * share of the time: calculated from the costs, then simulated, and increased where the simulation shows too few.
 */
import type { Costs } from "./costs.ts";
import { type Part, type Simulated, type SimulationOptions, type Sizes, simulate } from "./model.ts";

export interface Plan {
  readonly ratePerS: number;
  readonly sizes: Sizes;
  readonly simulated: Simulated;
}

/** A third is in reserve: for the turn of the hour, an instance that ends, and what is not in the model. */
export const BUSY_MAX = 2 / 3;
/** Above that, what is offered is answered. */
const ANSWERED_MIN = 0.98;
const TRIES_MAX = 16;
/** More than is needed by the last try: the busiest is busier than the average. */
const GROWTH = 1.05;
/** The usual batch of a busy instance: only the start of the search. */
const LIKELY_BATCH_EVENTS = 60;

export type PlanOptions = Omit<SimulationOptions, "sizes" | "load" | "sharedCores"> & {
  readonly mysqlCores: number;
};

export function planFor(ratePerS: number, options: PlanOptions): Plan {
  let sizes = firstGuess(ratePerS, options);
  for (let tries = 1; ; tries++) {
    const simulated = simulate({ ...options, sizes, load: { ratePerS } });
    const more = enlarged(sizes, simulated);
    if (more === undefined || tries === TRIES_MAX) return { ratePerS, sizes, simulated };
    sizes = more;
  }
}

function firstGuess(ratePerS: number, { costs, mysqlCores }: PlanOptions): Sizes {
  const needed = (usPerEvent: number, cores = 1) =>
    Math.max(1, Math.ceil((ratePerS * usPerEvent) / (1e6 * BUSY_MAX * cores)));
  return {
    instances: needed(costs.instanceEventUs + costs.instanceBatchUs / LIKELY_BATCH_EVENTS),
    shards: needed(costs.redisEventUs + costs.redisBatchUs / LIKELY_BATCH_EVENTS),
    mysqlNodes: needed(costs.mysqlEventUs, mysqlCores),
    mysqlCores,
    hourRows: 1,
  };
}

/** Undefined if it is enough. */
function enlarged(sizes: Sizes, simulated: Simulated): Sizes | undefined {
  const { utilisation } = simulated;
  const grown = (count: number, part: Part) =>
    utilisation[part] > BUSY_MAX
      ? Math.max(count + 1, Math.ceil((count * GROWTH * utilisation[part]) / BUSY_MAX))
      : count;
  const more = {
    ...sizes,
    instances: grown(sizes.instances, "instance"),
    shards: grown(sizes.shards, "redis"),
    mysqlNodes: grown(sizes.mysqlNodes, "mysql"),
    hourRows: grown(sizes.hourRows, "hour row"),
  };
  const isSame = Object.entries(more).every(([name, count]) => sizes[name as keyof Sizes] === count);
  if (!isSame) return more;
  return isEnough(simulated) ? undefined : { ...sizes, instances: sizes.instances + 1 };
}

export interface Limit {
  readonly part: Part;
  /** The rate at which it would be fully busy, if all else grew in proportion. */
  readonly ratePerS: number;
}

/** The part that breaks first as the load grows. */
export function limitOf({ utilisation, answeredPerS }: Simulated): Limit {
  const [part, share] = (Object.entries(utilisation) as [Part, number][]).reduce((most, one) =>
    one[1] > most[1] ? one : most,
  );
  return { part, ratePerS: answeredPerS / Math.max(share, 1e-9) };
}

/** The same with one data set of Redis: whether it is enough. */
export function withOneRedis({ ratePerS, sizes }: Plan, options: PlanOptions): Simulated {
  return simulate({ ...options, sizes: { ...sizes, shards: 1 }, load: { ratePerS } });
}

export function isEnough({ answeredPerS, offeredPerS }: Simulated): boolean {
  return answeredPerS >= offeredPerS * ANSWERED_MIN;
}

export function costsText(costs: Costs): string {
  const { instanceEventUs, instanceBatchUs, flushEventUs, redisEventUs, redisBatchUs, mysqlEventUs } = costs;
  const round = (us: number) => us.toFixed(1);
  return [
    `instance ${round(instanceEventUs)} µs an event, ${round(instanceBatchUs)} a batch`,
    `its flusher ${round(flushEventUs)} an event`,
    `Redis ${round(redisEventUs)} an event, ${round(redisBatchUs)} a batch`,
    `MySQL ${round(mysqlEventUs)} an event`,
    `a flush holds its hours for ${costs.hourLockMs} ms`,
  ].join("; ");
}
