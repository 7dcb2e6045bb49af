#!/usr/bin/env bun
/**
 * `bun run chaos <suite>`: shakes the service for as long as is asked for, and says what it saw. Ends with 0
 * only if everything held. Everything that it starts is in folders and on ports of its own, and ends with it.
 */
import { Command, InvalidArgumentError } from "commander";
import { runFaults } from "./faults.ts";
import type { SiteMode } from "./support/chaos-site.ts";
import { type Report, reportText } from "./support/report.ts";

function whole(text: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new InvalidArgumentError("It takes a whole number.");
  return Number(text);
}

function mode(text: string): SiteMode {
  if (text !== "redis" && text !== "embedded") throw new InvalidArgumentError("It takes redis or embedded.");
  return text;
}

const say = (line: string) => console.error(`… ${line}`);

async function run(suite: Promise<Report>): Promise<never> {
  const report = await suite;
  console.log(reportText(report));
  process.exit(report.problems.length === 0 ? 0 : 1);
}

const program = new Command("chaos").description("shakes the service, and says what it saw");

/** The seed is printed first: a run that hangs or crashes can be made again, too. */
function suite(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option("--seed <n>", "of all random choices", whole, Math.floor(Math.random() * 2 ** 32))
    .hook("preAction", (_, command) => say(`${name}, seed ${command.opts()["seed"]}`));
}

suite("faults", "random faults under load: nothing is lost or doubled")
  .option("--faults <n>", "how many", whole, 200)
  .option("--mode <mode>", "redis or embedded", mode, "redis")
  .option("--rate <n>", "events per second", whole, 500)
  .action(({ faults, mode, seed, rate }) => run(runFaults({ faults, mode, seed, ratePerS: rate, say })));

await program.parseAsync();
