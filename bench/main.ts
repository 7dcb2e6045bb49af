#!/usr/bin/env bun
/**
 * `npm run bench`: measures Hourglass beside simpler designs and a server that does nothing, prints what it found, and
 * writes results/latest.json and results/latest.html. Beside it: several instances, measured and simulated.
 *
 * It exits with 1 if something could not be measured. With `--check` it judges: 0 passed, 1 failed, 2 not judged, since
 * the machine was not quiet.
 */
import { mkdirSync } from "node:fs";
import { join, relative } from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { errorText } from "../src/runtime/error-text.ts";
import { seconds, whole } from "./arguments.ts";
import { CANDIDATES, type Candidate, whyNotMeasurable } from "./candidates.ts";
import { simulateCommand } from "./capacity/simulate.ts";
import { instancesCommand } from "./instances/command.ts";
import { FULL, GATE, type Parameters, QUICK } from "./parameters.ts";
import { resultsHtml } from "./report/html.ts";
import { writePages } from "./report/markdown.ts";
import { resultsText } from "./report/text.ts";
import { failures, type Results } from "./results.ts";
import { runSuite } from "./suite.ts";
import { topicCommand } from "./topic.ts";
import { judgementOf } from "./verdict.ts";

interface Options {
  readonly quick: boolean;
  readonly check: boolean;
  readonly docs: boolean;
  readonly out: string;
  readonly from?: string;
  readonly only?: Candidate[];
  readonly rounds?: number;
  readonly seconds?: number;
  readonly connections?: number;
  readonly storedRows?: number;
}

const EXIT_CODES = { passed: 0, failed: 1, noisy: 2 } as const;
const NAMES = CANDIDATES.map(({ name }) => name).join(", ");

function candidates(text: string): Candidate[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => CANDIDATES.every((one) => one.name !== name));
  if (unknown !== undefined) throw new InvalidArgumentError(`There is no '${unknown}' among ${NAMES}.`);
  return CANDIDATES.filter(({ name }) => names.includes(name));
}

const program = new Command("bench")
  .description("measures Hourglass beside simpler designs, and beside a server that does nothing")
  // Each command has its own options, behind its name.
  .enablePositionalOptions()
  .option("--check", "the gate, within ten minutes: exit with 1 if a bound is missed, 2 if the machine is noisy", false)
  .option("--quick", "tiny sizes: shows that everything works, its figures mean nothing", false)
  .option("--rounds <n>", "each starts everything anew", whole)
  .option("--seconds <n>", "of each measurement", seconds)
  .option("--only <names>", `of these, separated by commas: ${NAMES}`, candidates)
  .option("--connections <n>", "of the load", whole)
  .option("--stored-rows <n>", "in MySQL before hourglass-rows is measured", whole)
  .option("--out <folder>", "for latest.json and latest.html", join(import.meta.dir, "results"))
  .option("--from <file>", "measure nothing: report (and check) this earlier latest.json")
  .option("--docs", "also write the results into docs/performance.md and README.md", false)
  .action(async (options: Options) => process.exit(await measure(options)))
  .addCommand(instancesCommand(say))
  .addCommand(simulateCommand())
  .addCommand(topicCommand(say));

function parametersOf(options: Options): Parameters {
  const base = options.quick ? QUICK : options.check ? GATE : FULL;
  return {
    ...base,
    rounds: options.rounds ?? base.rounds,
    phaseMs: options.seconds === undefined ? base.phaseMs : options.seconds * 1_000,
    connections: options.connections ?? base.connections,
    storedRows: options.storedRows ?? base.storedRows,
  };
}

/**
 * `npm run bench`: measures Hourglass beside simpler designs and a server that does nothing, prints the findings, and
 * writes results/latest.json and results/latest.html. It also measures and simulates several instances.
 *
 * Exits with 1 if something could not be measured. With `--check`: 0 passed, 1 failed, 2 not judged, since the machine
 * was not quiet.
 */
function say(line: string): void {
  console.error(`${new Date().toTimeString().slice(0, 8)}  ${line}`);
}

async function resultsOf(options: Options): Promise<Results> {
  if (options.from !== undefined) return await Bun.file(options.from).json();
  const chosen = options.only ?? CANDIDATES.filter(({ isInGate }) => isInGate || !options.check);
  const left = chosen.filter((one) => {
    const reason = options.only === undefined ? whyNotMeasurable(one) : undefined;
    if (reason !== undefined) say(`${one.name.toUpperCase()} IS LEFT OUT: ${reason}`);
    return reason === undefined;
  });
  return await runSuite({ parameters: parametersOf(options), candidates: left, say });
}

async function writeReports(results: Results, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const [json, html] = [join(folder, "latest.json"), join(folder, "latest.html")];
  await Bun.write(json, `${JSON.stringify(results, null, 1)}\n`);
  await Bun.write(html, resultsHtml(results));
  console.log(`\nwrote ${[json, html].map((path) => relative(process.cwd(), path)).join(" and ")}`);
}

async function measure(options: Options): Promise<number> {
  const results = await resultsOf(options);
  console.log(resultsText(results));
  if (options.from === undefined) await writeReports(results, options.out);
  if (options.docs) console.log(`wrote ${writePages(results).join(" and ")}`);
  const { outcome, text } = judgementOf(results);
  if (!options.check) return failures(results).length === 0 ? 0 : 1;
  console.error(text);
  return EXIT_CODES[outcome];
}

for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));
try {
  await program.parseAsync();
} catch (error) {
  console.error(`bench: ${errorText(error)}`);
  process.exit(1);
}
