/** Would it be noticed? Each promise is broken in a copy of the project, and the simulation runs on that. */
import { ScratchCopy } from "../../chaos/site/scratch-copy.ts";
import { SIMULATED_MUTATIONS, type SimulatedMutation } from "./mutations.ts";

export interface Bite {
  readonly mutation: SimulatedMutation;
  /** How many seeds failed. */
  readonly failed: number;
  readonly firstSeed: number | undefined;
  /** The checks that failed, the most frequent first. */
  readonly checks: readonly string[];
}

const FAILED = /^seed (\d+) fails: ([a-z-]+):/gm;
const SUMMARY = /^\d+ seeds, .*: (\d+) failed$/m;

/** `names`: of mutations, all if there are none. `args`: seeds, and what limits the faults and checks. */
export async function* bite(names: readonly string[], args: readonly string[]): AsyncGenerator<Bite> {
  const copy = new ScratchCopy();
  try {
    for (const mutation of SIMULATED_MUTATIONS) {
      if (names.length > 0 && !names.includes(mutation.name)) continue;
      for (const edit of mutation.edits) copy.apply(edit);
      yield await biteOnce(copy, mutation, args);
      copy.mend();
    }
  } finally {
    copy.close();
  }
}

async function biteOnce(copy: ScratchCopy, mutation: SimulatedMutation, args: readonly string[]): Promise<Bite> {
  const { output } = await copy.run(["test/simulation/main.ts", "--keep-going", ...args]);
  const summary = SUMMARY.exec(output);
  if (summary === null) throw new Error(`the simulation did not run with '${mutation.name}':\n${output}`);
  // The file of an earlier, longer output is written over, and not cut.
  const ofThisRun = output.slice(0, summary.index);
  const found = Array.from(ofThisRun.matchAll(FAILED), ([, seed, check]) => ({
    seed: Number(seed),
    check: check!,
  }));
  const byCheck = [...Map.groupBy(found, ({ check }) => check)].sort(([, a], [, b]) => b.length - a.length);
  return {
    mutation,
    failed: Number(summary[1]),
    firstSeed: found[0]?.seed,
    checks: byCheck.map(([check]) => check),
  };
}
