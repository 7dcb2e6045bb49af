#!/usr/bin/env bun
/**
 * `npm run bench`: measures Hourglass beside what it is compared with, and says what it found: as tables
 * here, and as results/latest.json and results/latest.html. It ends with 1 if something could not be
 * measured, and with `--check` also if a target is missed. Beside it: several instances, measured and simulated.
 */
import { mkdirSync } from "node:fs";
import { join, relative } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { errorText } from "../src/runtime/deadline.ts";
import { seconds, whole } from "./arguments.ts";
import { simulateCommand } from "./capacity/simulate.ts";
import { instancesCommand } from "./instances/command.ts";
import type { SaturationDriver } from "./load/saturation.ts";
import { FULL, type Parameters, QUICK } from "./measure/parameters.ts";
import { resultsHtml } from "./report/html.ts";
import { failures, resultsText } from "./report/text.ts";
import type { Results } from "./results.ts";
import { CHOICES, runSuite } from "./suite.ts";
import { judge, verdictText } from "./targets.ts";

interface Options {
  readonly quick: boolean;
  readonly check: boolean;
  readonly out: string;
  readonly from?: string;
  readonly only?: string[];
  readonly rounds?: number;
  readonly seconds?: number;
  readonly connections?: number;
  readonly storedRows?: number;
  readonly driver?: SaturationDriver | "auto";
}

function names(text: string): string[] {
  const found = text.split(",").map((name) => name.trim());
  const unknown = found.find((name) => !CHOICES.includes(name));
  if (unknown === undefined) return found;
  throw new InvalidArgumentError(`There is no '${unknown}' among ${CHOICES.join(", ")}.`);
}

const program = new Command("bench")
  .description("measures Hourglass beside the approaches before it, and beside servers that do nothing")
  // Each command has its own options, behind its name.
  .enablePositionalOptions()
  .option("--quick", "tiny sizes, under a minute: shows that all works, its figures say nothing", false)
  .option("--check", "end with 1 if a target is missed or not measured, naming it", false)
  .option("--rounds <n>", "each starts everything anew", whole)
  .option("--seconds <n>", "of each measurement", seconds)
  .option("--only <names>", `of these, by commas: ${CHOICES.join(", ")}`, names)
  .option("--connections <n>", "of the load", whole)
  .option("--stored-rows <n>", "in MySQL before the case of many rows begins", whole)
  .addOption(new Option("--driver <name>", "of the maximum").choices(["auto", "wrk", "built-in"]))
  .option("--out <folder>", "for latest.json and latest.html", join(import.meta.dir, "results"))
  .option("--from <file>", "measure nothing: report, and check, this earlier latest.json")
  .action(async (options: Options) => process.exit(await measure(options)))
  .addCommand(instancesCommand(say))
  .addCommand(simulateCommand());

function parametersOf(options: Options): Parameters {
  const base = options.quick ? QUICK : FULL;
  return {
    ...base,
    rounds: options.rounds ?? base.rounds,
    phaseMs: options.seconds === undefined ? base.phaseMs : options.seconds * 1_000,
    connections: options.connections ?? base.connections,
    storedRows: options.storedRows ?? base.storedRows,
    saturationDriver: options.driver ?? base.saturationDriver,
  };
}

/** Progress, beside what is told at the end. */
function say(line: string): void {
  console.error(`${new Date().toTimeString().slice(0, 8)}  ${line}`);
}

async function resultsOf(options: Options): Promise<Results> {
  if (options.from !== undefined) return await Bun.file(options.from).json();
  return await runSuite({ parameters: parametersOf(options), only: options.only, say });
}

async function writeReports(results: Results, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const [json, html] = [join(folder, "latest.json"), join(folder, "latest.html")];
  await Bun.write(json, `${JSON.stringify(results, null, 1)}\n`);
  await Bun.write(html, await resultsHtml(results));
  console.log(`\nwrote ${[json, html].map((path) => relative(process.cwd(), path)).join(" and ")}`);
}

async function measure(options: Options): Promise<number> {
  const results = await resultsOf(options);
  console.log(resultsText(results));
  if (options.from === undefined) await writeReports(results, options.out);
  const isWhole = failures(results).length === 0;
  if (!options.check) return isWhole ? 0 : 1;
  const missed = judge(results).filter(({ isMet }) => !isMet);
  for (const verdict of missed) console.error(verdictText(verdict));
  console.error(missed.length === 0 ? "all targets are met" : `${missed.length} targets are missed`);
  return missed.length === 0 && isWhole ? 0 : 1;
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
try {
  await program.parseAsync();
} catch (error) {
  console.error(`bench: ${errorText(error)}`);
  process.exit(1);
}
