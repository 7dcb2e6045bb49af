/** Tests that run seeds of the simulation, one run each, and name those that fail. */
import { expect, test } from "bun:test";
import type { FaultName } from "../faults/kinds.ts";
import { run } from "../run.ts";
import { planOf } from "../world/plan.ts";

const SEEDS_A_TEST = 500;
const TIMEOUT_MS = 600_000;

/** The seeds from 1 on. */
export function testSeeds(what: string, seeds: number, faults: readonly FaultName[]): void {
  for (let from = 1; from <= seeds; from += SEEDS_A_TEST) {
    const to = from + SEEDS_A_TEST - 1;
    test(
      `seeds ${from} to ${to}, ${what}, keep every promise`,
      () => {
        expect(failuresOf(from, to, faults)).toEqual([]);
      },
      TIMEOUT_MS,
    );
  }
}

export function failuresOf(from: number, to: number, faults: readonly FaultName[]): string[] {
  const failures: string[] = [];
  for (let seed = from; seed <= to; seed++) {
    const { failure } = run(planOf(seed, faults));
    if (failure !== undefined) failures.push(`seed ${seed}: ${failure.check}: ${failure.message}`);
  }
  return failures;
}
