/** `npm run simulate -- --seeds FROM..TO`: runs the simulation, and prints a short trace of the first failing run. */
import { Command, InvalidArgumentError } from "commander";
import { CHECKS, type Check } from "./check/failure.ts";
import { FAULT_NAMES, type FaultName } from "./faults/kinds.ts";
import { type Outcome, type RunOptions, run } from "./run.ts";
import { shorten } from "./shorten.ts";
import { bite } from "./teeth/bite.ts";
import { SIMULATED_MUTATIONS } from "./teeth/mutations.ts";
import { type Plan, planOf } from "./world/plan.ts";

interface Options {
  readonly seeds: readonly [from: number, to: number];
  readonly faults: readonly FaultName[];
  readonly checks: readonly Check[];
  readonly trace: boolean;
  readonly keepGoing: boolean;
  readonly shorten: boolean;
  /** Names of mutations; true: all. */
  readonly teeth: readonly string[] | true | undefined;
}

function seedRange(text: string): [number, number] {
  const [, from, to] = /^(\d+)(?:\.\.(\d+))?$/.exec(text) ?? [];
  if (from === undefined) throw new InvalidArgumentError("expected FROM..TO, or a single seed");
  return [Number(from), Number(to ?? from)];
}

function oneOf<T extends string>(known: readonly T[]) {
  return (text: string): readonly T[] => {
    const names = text.split(",") as T[];
    for (const name of names) {
      if (!known.includes(name)) throw new InvalidArgumentError(`'${name}' is none of ${known.join(", ")}`);
    }
    return names;
  };
}

const MUTATIONS = SIMULATED_MUTATIONS.map(({ name }) => name);

const program = new Command("simulate")
  .description("Runs instances over stores in memory under a seeded clock, with faults, and checks every step.")
  .option("--seeds <from..to>", "seeds to run, one run each", seedRange, [1, 1_000])
  .option("--faults <names>", "only these kinds of faults, by commas", oneOf(FAULT_NAMES), FAULT_NAMES)
  .option("--checks <names>", "only these checks, by commas", oneOf(CHECKS), CHECKS)
  .option("--trace", "print the trace of each run", false)
  .option("--no-shorten", "print a failing run as it was")
  .option("--keep-going", "list every seed that fails, without traces", false)
  .option("--teeth [names]", "break each promise in a copy, and tell how many seeds find it", oneOf(MUTATIONS));

async function showTeeth({ seeds: [from, to], faults, checks, teeth }: Options): Promise<boolean> {
  const names = Array.isArray(teeth) ? teeth : [];
  let areAllFound = true;
  const args = ["--seeds", `${from}..${to}`, "--faults", faults.join(), "--checks", checks.join()];
  for await (const { mutation, failed, firstSeed, checks } of bite(names, args)) {
    areAllFound &&= failed > 0;
    const found = failed === 0 ? "NOT FOUND" : `first by seed ${firstSeed}; ${checks.slice(0, 3).join(", ")}`;
    console.log(`${mutation.name.padEnd(30)} ${String(failed).padStart(5)} of ${to - from + 1}  ${found}`);
  }
  return areAllFound;
}

function main(options: Options): boolean {
  const cpuBefore = process.cpuUsage();
  const sums = { runs: 0, faults: 0, steps: 0, simulatedMs: 0 };
  const failed: Outcome[] = [];
  const runOptions: RunOptions = { checks: new Set(options.checks) };
  for (let seed = options.seeds[0]; seed <= options.seeds[1]; seed++) {
    const plan = planOf(seed, options.faults);
    const outcome = run(plan, { ...runOptions, isTraced: options.trace });
    if (options.trace) console.log(outcome.trace.join("\n"));
    sums.runs += 1;
    sums.faults += plan.actions.filter(({ type }) => type === "fault").length;
    sums.steps += outcome.steps;
    sums.simulatedMs += outcome.simulatedMs;
    if (outcome.failure === undefined) continue;
    failed.push(outcome);
    console.log(`seed ${seed} fails: ${outcome.failure.check}: ${outcome.failure.message}`);
    if (options.keepGoing) continue;
    if (!options.trace) showTrace(options.shorten ? shorten(plan, outcome, runOptions) : plan, runOptions);
    break;
  }
  const cpu = process.cpuUsage(cpuBefore);
  const seconds = (cpu.user + cpu.system) / 1_000_000;
  const minutes = sums.simulatedMs / 60_000;
  console.log(
    `${sums.runs} seeds, ${sums.faults} faults, ${sums.steps} steps, ${Math.round(minutes)} simulated minutes in ` +
      `${seconds.toFixed(1)} s of CPU (${Math.round(minutes / seconds)} a second): ${failed.length} failed`,
  );
  return failed.length === 0;
}

function showTrace(plan: Plan, options: RunOptions): void {
  const { settings, actions } = plan;
  console.log(`\nshortened to ${actions.length} actions; settings ${JSON.stringify(settings)}`);
  console.log(run(plan, { ...options, isTraced: true }).trace.join("\n"));
  console.log(`\nrepeat it: npm run simulate -- --seeds ${plan.seed}`);
}

program.parse();
const options = program.opts<Options>();
const isGood = options.teeth ? await showTeeth(options) : main(options);
process.exitCode = isGood ? 0 : 1;
