/** `npm run bench -- instances`: one, two and four instances on one Redis and one MariaDB, measured and simulated. */
import { mkdirSync } from "node:fs";
import { cpus } from "node:os";
import { join, relative } from "node:path";
import { Command } from "commander";
import { seconds, whole } from "../arguments.ts";
import type { Costs } from "../capacity/costs.ts";
import { costsText } from "../capacity/plan.ts";
import { FULL, QUICK } from "../parameters.ts";
import { figureText } from "../statistics.ts";
import { type Comparison, compare, costsOf, sumOf } from "./comparison.ts";
import { type InstancesResult, measureInstances } from "./measure.ts";

interface Options {
  readonly counts: readonly number[];
  readonly rounds?: number;
  readonly seconds?: number;
  readonly connections: number;
  readonly rate?: number;
  readonly quick: boolean;
  readonly check: boolean;
  readonly out: string;
}

/** The most an event may cost with several instances, relative to one. */
const CPU_RATIO_MAX = 1.15;
const CONNECTIONS = 64;
const QUICK_CONNECTIONS = 8;

function counts(text: string): number[] {
  const found = text.split(",").map(whole);
  return found.includes(1) ? found : [1, ...found];
}

export function instancesCommand(say: (line: string) => void): Command {
  return new Command("instances")
    .description("several instances on one Redis and one MariaDB: events a second, and CPU per event against one")
    .option("--counts <list>", "of instances, by commas; 1 is always among them", counts, [1, 2, 4])
    .option("--rounds <n>", "each starts everything anew", whole)
    .option("--seconds <n>", "of each measurement", seconds)
    .option("--connections <n>", "to each instance", whole, CONNECTIONS)
    .option("--rate <n>", "events a second to each, for the paced phase (an eighth of what one takes)", whole)
    .option("--quick", "tiny sizes: shows that all works, its figures say nothing", false)
    .option("--check", `end with 1 if an event costs over ${CPU_RATIO_MAX} of what it does with one`, false)
    .option("--out <folder>", "for instances.json", join(import.meta.dir, "..", "results"))
    .action(async (options: Options) => process.exit(await run(options, say)));
}

async function run(options: Options, say: (line: string) => void): Promise<number> {
  const base = options.quick ? QUICK : FULL;
  const phaseMs = options.seconds === undefined ? base.phaseMs : options.seconds * 1_000;
  const connections = options.quick ? QUICK_CONNECTIONS : options.connections;
  const results = await measureInstances({
    ...{ counts: options.counts, phaseMs, warmUpMs: base.warmUpMs, users: base.users, say },
    rounds: options.rounds ?? base.rounds,
    ratePerS: options.rate,
    driver: { ...base, connections },
  });
  const costs = costsOf(results);
  const cores = cpus().length;
  const times = options.quick ? { warmUpMs: 200, durationMs: 200 } : { warmUpMs: 1_000, durationMs: 4_000 };
  const compared = compare(results, costs, { cores, connections, seed: 1, ...times });
  console.log(textOf(compared, costs, results, cores, connections));
  mkdirSync(options.out, { recursive: true });
  const file = join(options.out, "instances.json");
  await Bun.write(file, `${JSON.stringify({ costs, compared, results }, null, 1)}\n`);
  console.log(`\nwrote ${relative(process.cwd(), file)}; simulate --costs takes it`);
  const worst = Math.max(...compared.map(({ pacedCpuRatio }) => pacedCpuRatio));
  if (!options.check || worst <= CPU_RATIO_MAX) return 0;
  console.error(`CPU per event is up to ${figureText(worst)} times that of one instance, each at the same rate`);
  return 1;
}

function textOf(
  compared: readonly Comparison[],
  costs: Costs,
  results: readonly InstancesResult[],
  cores: number,
  connections: number,
): string {
  const loads = results.map(({ loadAverage }) => loadAverage);
  const rows = compared.map(rowOf).join("\n");
  return `${cores} cores for load, stores and instances; ${connections} connections to each instance; load average
before each run ${figureText(Math.min(...loads))} to ${figureText(Math.max(...loads))} (runs of this one among it)

| instances | events/s: measured, simulated | against one | CPU µs per event: instances + Redis + MySQL |\
 against one | events a batch: measured, simulated | each at the same rate: events/s | CPU µs | against one | p99 ms |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows}

Costs, of one instance: ${costsText(costs)}; the load driver ${costs.driverEventUs.toFixed(1)} µs an event`;
}

function rowOf({ instances, measured, simulated, ...ratios }: Comparison): string {
  const { instance, redis, mysql } = measured.cpuUsPerEvent;
  const cells = [
    String(instances),
    `${figureText(measured.eventsPerS)}, ${figureText(simulated.answeredPerS)}`,
    figureText(ratios.eventsRatio),
    [instance, redis, mysql].map(figureText).join(" + "),
    figureText(ratios.cpuRatio),
    `${figureText(measured.batchEvents)}, ${figureText(simulated.batchEvents)}`,
    figureText(measured.pacedEventsPerS),
    figureText(sumOf(measured.pacedCpuUsPerEvent)),
    figureText(ratios.pacedCpuRatio),
    figureText(measured.pacedP99Ms),
  ];
  return `| ${cells.join(" | ")} |`;
}
