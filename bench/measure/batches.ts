/**
 * Many events in one request, beside one event in each: how many are taken, and how many become rows. And beside
 * what MySQL takes from somebody who does nothing but insert, as fast as it goes, in the order of the key.
 *
 * Invariant: the events are those of the other measurements, and all of them are rows when their time is up.
 */
import { errorText } from "../../src/runtime/deadline.ts";
import { type Candidate, candidate, HOURGLASS, HOURGLASS_EMBEDDED } from "../candidates.ts";
import { MIXES } from "../load/workload.ts";
import type { BatchResults, BatchRound } from "../results.ts";
import { type TrialContext, withCandidate } from "../trial.ts";
import { measureBulkInsert } from "./bulk-insert.ts";
import { waitForDrain } from "./flush-watch.ts";
import { openStores } from "./stores.ts";

interface Case {
  readonly candidate: Candidate;
  readonly rounds: (BatchRound | undefined)[];
  readonly failures: string[];
}

/** In `--only`. */
export const BATCHES = "batches";
const SEED = 555;

export class Batches {
  readonly #cases = [HOURGLASS, HOURGLASS_EMBEDDED].map((name): Case => {
    return { candidate: candidate(name), rounds: [], failures: [] };
  });

  async runRound(context: TrialContext): Promise<void> {
    const order = context.round % 2 === 0 ? this.#cases.toReversed() : this.#cases;
    for (const one of order) {
      const say = (text: string) => context.say(`${BATCHES}, ${one.candidate.title}: ${text}`);
      await runCase(one, { ...context, say });
    }
  }

  results(): BatchResults[] {
    return this.#cases.map(({ candidate: { name, title }, rounds, failures }) => {
      return { name, title, rounds, failures };
    });
  }
}

async function runCase(one: Case, context: TrialContext): Promise<void> {
  try {
    const found = await measure(one.candidate, context);
    context.say(`${Math.round(found.takenPerS)} events/s`);
    one.rounds.push(found);
  } catch (error) {
    const text = errorText(error);
    context.say(`FAILED: ${text}`);
    one.rounds.push(undefined);
    one.failures.push(`round ${context.round}: ${text}`);
  }
}

async function measure(which: Candidate, context: TrialContext): Promise<BatchRound> {
  const { parameters, driver, round } = context;
  const { phaseMs, warmUpMs, users } = parameters;
  const stores = await openStores(which.needs);
  try {
    const found = await withCandidate(which, stores, context, async (running) => {
      const { port } = running.process;
      const target = { port, mix: MIXES["100:0"], population: { users, streams: 1 }, seed: SEED + round };
      await driver.saturate({ ...target, durationMs: warmUpMs });
      await waitForDrain(running);
      const singles = await driver.saturate({ ...target, durationMs: phaseMs });
      await waitForDrain(running);
      await driver.sendBatches({ ...target, durationMs: warmUpMs });
      await waitForDrain(running);
      const startMs = performance.now();
      const batches = await driver.sendBatches({ ...target, durationMs: phaseMs });
      const storedMs = (await waitForDrain(running)).atMs - startMs;
      return {
        singlesPerS: (singles.answered * 1_000) / singles.durationMs,
        takenPerS: (batches.accepted * 1_000) / batches.durationMs,
        storedPerS: (batches.accepted * 1_000) / storedMs,
        refusedRequests: batches.refusedRequests,
      };
    });
    if (stores.mariaDb === undefined) return found;
    return { ...found, bulkRowsPerS: await measureBulkInsert(stores.mariaDb.url, phaseMs) };
  } finally {
    await stores.close();
  }
}
