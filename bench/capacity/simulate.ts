/** `npm run bench -- simulate`: simulates a rate on a number of instances, data sets and nodes. */
import { Command, Option } from "commander";
import { milliseconds, seconds, whole } from "../arguments.ts";
import { figureText } from "../statistics.ts";
import { type Costs, MEASURED } from "./costs.ts";
import { type Simulated, type SimulationOptions, type Sizes, simulate } from "./model.ts";
import { costsText, isEnough, limitOf, type Plan, type PlanOptions, planFor, withOneRedis } from "./plan.ts";

interface Options {
  readonly instances: number;
  readonly shards: number;
  readonly mysqlNodes: number;
  readonly mysqlCores: number;
  readonly hourRows: number;
  readonly rate: number;
  readonly connections?: number;
  readonly cores?: number;
  readonly seconds: number;
  readonly warmUp: number;
  readonly networkMs: number;
  readonly flushIntervalMs: number;
  readonly flushMaxEvents: number;
  readonly seed: number;
  readonly costs?: string;
  readonly table: boolean;
  readonly json: boolean;
}

/** 10^4 to 10^7 a second. */
const RATES = [1e4, 1e5, 1e6, 1e7];

export function simulateCommand(): Command {
  return new Command("simulate")
    .description("simulates instances over data sets of Redis and nodes of MySQL, from measured costs")
    .option("--instances <n>", "of the service", whole, 1)
    .option("--shards <n>", "data sets of Redis", whole, 1)
    .option("--mysql-nodes <n>", "each for its share of the instances", whole, 1)
    .option("--mysql-cores <n>", "of each", whole, 8)
    .option("--hour-rows <n>", "of each hour and stream in a node, that flushes are spread over", whole, 1)
    .addOption(new Option("--rate <n>", "events a second, of all together").argParser(whole).default(10_000))
    .option("--connections <n>", "instead: to each instance, each with one event in flight", whole)
    .option("--cores <n>", "of one machine that all of it is on (each thread has a core of its own)", whole)
    .option("--seconds <n>", "of simulated time", seconds, 2)
    .option("--warm-up <n>", "seconds before them", seconds, 1)
    .option("--network-ms <n>", "round trip", milliseconds, 0.2)
    .option("--flush-interval-ms <n>", "as the service's setting", whole, 1_000)
    .option("--flush-max-events <n>", "as the service's setting", whole, 10_000)
    .option("--seed <n>", "the same seed, the same figures", whole, 1)
    .option("--costs <file>", "instances.json of `npm run bench -- instances`, or costs as JSON (those of docs)")
    .option("--table", "how many are needed for 10^4 to 10^7 events/s, a third in reserve", false)
    .option("--json", "for scripts", false)
    .action(async (options: Options) => {
      const costs = await costsFrom(options.costs);
      if (options.table) return printTable(planOptions(options, costs), options.json);
      const simulated = simulate(simulationOptions(options, costs));
      console.log(options.json ? JSON.stringify(simulated) : textOf(options, costs, simulated));
    });
}

async function costsFrom(file: string | undefined): Promise<Costs> {
  if (file === undefined) return MEASURED;
  const found = (await Bun.file(file).json()) as Partial<Costs> & { readonly costs?: Costs };
  return { ...MEASURED, ...(found.costs ?? found) };
}

function planOptions(options: Options, costs: Costs): PlanOptions {
  const { seed, networkMs, mysqlCores, flushIntervalMs, flushMaxEvents } = options;
  const times = { warmUpMs: options.warmUp * 1_000, durationMs: options.seconds * 1_000 };
  return { costs, seed, networkMs, mysqlCores, flushIntervalMs, flushMaxEvents, ...times };
}

function simulationOptions(options: Options, costs: Costs): SimulationOptions {
  const { instances, shards, mysqlNodes, mysqlCores, hourRows, rate, connections, cores } = options;
  return {
    ...planOptions(options, costs),
    sizes: { instances, shards, mysqlNodes, mysqlCores, hourRows },
    load: connections === undefined ? { ratePerS: rate } : { connections },
    ...(cores !== undefined && { sharedCores: cores }),
  };
}

const percent = (share: number) => `${Math.round(share * 100)} %`;

function textOf({ instances, shards, mysqlNodes }: Options, costs: Costs, simulated: Simulated): string {
  const { utilisation, cpuUsPerEvent, p50Ms, p99Ms } = simulated;
  const { part, ratePerS } = limitOf(simulated);
  const us = Object.entries(cpuUsPerEvent).map(([name, value]) => `${name} ${figureText(value)}`);
  return `${instances} instances, ${shards} data sets of Redis, ${mysqlNodes} nodes of MySQL
  costs        ${costsText(costs)}
  offered      ${figureText(simulated.offeredPerS)} events/s
  answered     ${figureText(simulated.answeredPerS)} events/s${isEnough(simulated) ? "" : ": NOT ENOUGH"}
  stored       ${figureText(simulated.storedPerS)} rows/s, ${figureText(simulated.unflushed)} unflushed an instance
  latency      p50 ${figureText(p50Ms)} ms, p99 ${figureText(p99Ms)} ms, from its arrival at the instance
  batches      ${figureText(simulated.batchEvents)} events
  busy         ${Object.entries(utilisation)
    .map(([name, share]) => `${name} ${percent(share)}`)
    .join(", ")}
  CPU µs       ${us.join(", ")}
  breaks first ${part}, at about ${figureText(ratePerS)} events/s`;
}

interface Row {
  readonly plan: Plan;
  readonly oneRedis: Simulated;
}

function printTable(options: PlanOptions, isJson: boolean): void {
  const rows = RATES.map((rate) => {
    const plan = planFor(rate, options);
    return { plan, oneRedis: withOneRedis(plan, options) };
  });
  console.log(isJson ? JSON.stringify(rows) : tableText(rows, options));
}

function tableText(rows: readonly Row[], { mysqlCores, costs, networkMs }: PlanOptions): string {
  const lines = rows.map(({ plan, oneRedis }) => tableRow(plan, oneRedis));
  return `| events/s | instances | data sets of Redis | nodes of MySQL (${mysqlCores} cores), rows an hour \
| busy: instance, Redis, MySQL, hour row | p50, p99 ms | events a batch | breaks next | with one Redis |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${lines.join("\n")}

Costs: ${costsText(costs)}; network ${networkMs} ms round trip.`;
}

function tableRow({ ratePerS, sizes, simulated }: Plan, oneRedis: Simulated): string {
  const { utilisation, p50Ms, p99Ms, batchEvents } = simulated;
  const cells: readonly (string | number)[] = [
    ratePerS.toLocaleString("en-US"),
    sizes.instances,
    sizes.shards,
    mysqlText(sizes),
    Object.values(utilisation).map(percent).join(", "),
    `${figureText(p50Ms)}, ${figureText(p99Ms)}`,
    figureText(batchEvents),
    limitOf(simulated).part,
    oneRedisText(oneRedis),
  ];
  return `| ${cells.join(" | ")} |`;
}

function oneRedisText(simulated: Simulated): string {
  const { answeredPerS, p99Ms, batchEvents } = simulated;
  if (!isEnough(simulated)) return `answers ${figureText(answeredPerS)}`;
  return `p99 ${figureText(p99Ms)} ms, ${figureText(batchEvents)} events a batch`;
}

function mysqlText({ mysqlNodes, hourRows }: Sizes): string {
  return `${mysqlNodes}, ${hourRows}`;
}
