/**
 * A whole run: in each round every candidate once, each time in fresh processes.
 * Invariant: a candidate that fails is noted and the others continue; nothing that was started is left running.
 */
import { cpus, release, totalmem, type } from "node:os";
import { errorText } from "../src/runtime/error-text.ts";
import { PROJECT_ROOT } from "../test/harness/project/project-files.ts";
import { findBinary } from "../test/harness/servers/binaries.ts";
import type { Candidate } from "./candidates.ts";
import { LoadDriver } from "./load/load-driver.ts";
import { coresToPin } from "./measure/pinning.ts";
import { machineBusyMs } from "./measure/process-tree.ts";
import type { Parameters } from "./parameters.ts";
import type { Machine, Results, TrialResult } from "./results.ts";
import { runTrial, type TrialContext } from "./trial.ts";

export interface SuiteOptions {
  readonly parameters: Parameters;
  readonly candidates: readonly Candidate[];
  readonly say: (line: string) => void;
}

const BUSY_SAMPLE_MS = 2_000;

interface Entry {
  readonly candidate: Candidate;
  readonly rounds: (TrialResult | undefined)[];
  readonly failures: string[];
}

export async function runSuite({ parameters, candidates, say }: SuiteOptions): Promise<Results> {
  if (process.platform !== "linux") throw new Error("the bench reads CPU times from /proc: run it on Linux");
  const startedAt = new Date();
  const machine = { ...describeMachine(), busyShare: await busyShare() };
  const cores = coresToPin();
  const driver = new LoadDriver({ ...parameters, core: cores?.driver });
  const entries = candidates.map((candidate): Entry => ({ candidate, rounds: [], failures: [] }));
  for (let round = 1; round <= parameters.rounds; round++) {
    const sayInRound = (line: string) => say(`round ${round}/${parameters.rounds}  ${line}`);
    for (const entry of turned(entries, round)) {
      await runEntry(entry, { parameters, driver, cores, round, say: sayInRound });
    }
  }
  return {
    startedAt: startedAt.toISOString(),
    durationS: Math.round((Date.now() - startedAt.getTime()) / 1_000),
    commit: commit(),
    machine,
    parameters,
    candidates: entries.map(({ candidate: { name, title }, rounds, failures }) => {
      return { name, title, rounds, failures };
    }),
  };
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

function describeMachine(): Omit<Machine, "busyShare"> {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    bun: Bun.version,
    redis: versionOf("redis-server"),
    mariaDb: versionOf("mariadbd"),
  };
}

/** The busy share of the cores before anything was started. */
async function busyShare(): Promise<number> {
  const before = machineBusyMs();
  await Bun.sleep(BUSY_SAMPLE_MS);
  return (machineBusyMs() - before) / (BUSY_SAMPLE_MS * cpus().length);
}

function versionOf(name: string): string {
  const path = findBinary(name);
  if (path === undefined) return "not installed";
  const output = outputOf([path, "--version"]);
  return /\d+\.\d+\.\d+/.exec(output)?.[0] ?? output.trim();
}

function commit(): string {
  const git = (...args: string[]) => outputOf(["git", "-C", PROJECT_ROOT, ...args]).trim();
  if (Bun.which("git") === null) return "unknown";
  return `${git("rev-parse", "--short", "HEAD") || "unknown"}${git("status", "--porcelain") === "" ? "" : "+"}`;
}

function outputOf(command: string[]): string {
  return Bun.spawnSync(command, { stdin: "ignore", stderr: "ignore" }).stdout.toString();
}
