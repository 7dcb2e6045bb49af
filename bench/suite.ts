/**
 * A whole run: in each round every candidate once, side by side, each time in fresh processes.
 * Invariant: a candidate that fails is noted and the others go on; nothing that was started is left running.
 */
import { cpus, loadavg, release, totalmem, type } from "node:os";
import { errorText } from "../src/runtime/deadline.ts";
import { findBinary } from "../test/harness/servers/binaries.ts";
import { CANDIDATES, type Candidate } from "./candidates.ts";
import { LoadDriver } from "./load/load-driver.ts";
import type { SaturationDriver } from "./load/saturation.ts";
import { hasWrk } from "./load/wrk-load.ts";
import { BATCHES, Batches } from "./measure/batches.ts";
import { GROWTH, Growth } from "./measure/growth.ts";
import type { Parameters } from "./measure/parameters.ts";
import type { CandidateResults, Machine, Results, TrialResult } from "./results.ts";
import { runTrial, type TrialContext } from "./trial.ts";

export interface SuiteOptions {
  readonly parameters: Parameters;
  /** Names of candidates, GROWTH and BATCHES. All if it is left out. */
  readonly only?: readonly string[] | undefined;
  readonly say: (line: string) => void;
}

export const CHOICES: readonly string[] = [...CANDIDATES.map(({ name }) => name), GROWTH, BATCHES];

interface Entry {
  readonly candidate: Candidate;
  readonly rounds: (TrialResult | undefined)[];
  readonly failures: string[];
}

export async function runSuite({ parameters, only = CHOICES, say }: SuiteOptions): Promise<Results> {
  checkThatThisIsLinux();
  const startedAt = new Date();
  const machine = describeMachine();
  const saturationDriver = chosenDriver(parameters);
  const driver = new LoadDriver({ ...parameters, saturationDriver });
  const chosen = CANDIDATES.filter(({ name }) => only.includes(name));
  const entries = chosen.map((candidate): Entry => ({ candidate, rounds: [], failures: [] }));
  const growth = only.includes(GROWTH) ? new Growth(parameters) : undefined;
  const batches = only.includes(BATCHES) ? new Batches() : undefined;
  try {
    for (let round = 1; round <= parameters.rounds; round++) {
      const sayInRound = (line: string) => say(`round ${round}/${parameters.rounds}  ${line}`);
      const context = { parameters, driver, round, say: sayInRound };
      for (const entry of turned(entries, round)) await runEntry(entry, context);
      await growth?.runRound(context);
      await batches?.runRound(context);
    }
  } finally {
    await growth?.close();
    await driver.stop();
  }
  return {
    startedAt: startedAt.toISOString(),
    durationS: Math.round((Date.now() - startedAt.getTime()) / 1_000),
    machine,
    parameters,
    drivers: { saturation: saturationDriver, constantRate: "bench/load/constant-rate.ts" },
    candidates: entries.map(candidateResults),
    growth: growth?.results() ?? [],
    batches: batches?.results() ?? [],
  };
}

function checkThatThisIsLinux(): void {
  if (process.platform === "linux") return;
  throw new Error(`the bench suite reads CPU times from /proc, which ${process.platform} has not: run it on Linux`);
}

/** wrk takes less of a core, but counts in whole seconds. */
function chosenDriver({ saturationDriver, phaseMs, warmUpMs }: Parameters): SaturationDriver {
  const isWhole = phaseMs % 1_000 === 0 && warmUpMs % 1_000 === 0;
  if (saturationDriver === "auto") return hasWrk() && isWhole ? "wrk" : "built-in";
  if (saturationDriver === "built-in") return saturationDriver;
  if (!hasWrk()) throw new Error("--driver wrk: there is no wrk in the PATH: install it, or say --driver built-in");
  if (!isWhole) throw new Error(`wrk takes whole seconds, but measurements are of ${phaseMs / 1_000} s`);
  return saturationDriver;
}

/** Each round begins with another one: what the first of a round suffers from, all do in turn. */
function turned<T>(items: readonly T[], by: number): T[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}

async function runEntry(entry: Entry, context: TrialContext): Promise<void> {
  const { name } = entry.candidate;
  const say = (text: string) => context.say(`${name}  ${text}`);
  try {
    entry.rounds.push(await runTrial(entry.candidate, { ...context, say }));
  } catch (error) {
    entry.rounds.push(undefined);
    entry.failures.push(`round ${context.round}: ${errorText(error)}`);
    say(`FAILED: ${errorText(error)}`);
  }
}

function candidateResults({ candidate: { name, title }, rounds, failures }: Entry): CandidateResults {
  return { name, title, rounds, failures };
}

function describeMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    bun: Bun.version,
    redis: versionOf("redis-server"),
    mariaDb: versionOf("mariadbd"),
    loadAverage: loadavg()[0]!,
  };
}

function versionOf(name: string): string {
  const path = findBinary(name);
  if (path === undefined) return "not installed";
  const output = Bun.spawnSync([path, "--version"], { stdin: "ignore" }).stdout.toString();
  return /\d+\.\d+\.\d+/.exec(output)?.[0] ?? output.trim();
}
