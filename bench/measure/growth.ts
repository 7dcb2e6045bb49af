/**
 * Whether an event costs more as the work grows: more users, more streams, more rows already in MySQL. Each
 * case is measured beside the small one in each round.
 */
import { errorText } from "../../src/runtime/deadline.ts";
import { candidate, HOURGLASS } from "../candidates.ts";
import { MIXES, type Population } from "../load/workload.ts";
import { GROWTH_BASE, type GrowthResults } from "../results.ts";
import { type TrialContext, withCandidate } from "../trial.ts";
import { waitForDrain } from "./flush-watch.ts";
import type { Parameters } from "./parameters.ts";
import { storesWithRows } from "./stored-rows.ts";
import { openStores, type Stores } from "./stores.ts";

interface Case {
  readonly name: string;
  readonly title: string;
  readonly population: Population;
  /** In MySQL, before it begins. */
  readonly storedRows?: number;
  readonly eventsPerS: (number | undefined)[];
  readonly failures: string[];
}

/** In `--only`. */
export const GROWTH = "growth";
const SEED = 777;

export class Growth {
  readonly #cases: readonly Case[];
  /** Kept from round to round, since filling them takes long. */
  #filled: Promise<Stores> | undefined;

  constructor({ users, manyUsers, manyStreams, storedRows }: Parameters) {
    const text = (count: number) => count.toLocaleString("en-US");
    const one = (name: string, title: string, population: Population) => {
      return { name, title, population, eventsPerS: [], failures: [] };
    };
    const small = { users, streams: 1 };
    this.#cases = [
      one(GROWTH_BASE, "small", small),
      one("users", `${text(manyUsers / users)} times the users`, { users: manyUsers, streams: 1 }),
      one("streams", `${text(manyStreams)} streams`, { users, streams: manyStreams }),
      { ...one("rows", `${text(storedRows)} rows stored before`, small), storedRows },
    ];
  }

  async runRound(context: TrialContext): Promise<void> {
    // The order turns, so that no case always comes first.
    const start = context.round % this.#cases.length;
    for (const one of [...this.#cases.slice(start), ...this.#cases.slice(0, start)]) {
      const say = (text: string) => context.say(`${GROWTH}, ${one.title}: ${text}`);
      await this.#runCase(one, { ...context, say });
    }
  }

  async #runCase(one: Case, context: TrialContext): Promise<void> {
    let eventsPerS: number | undefined;
    try {
      eventsPerS = await this.#measure(one, context);
      context.say(`${Math.round(eventsPerS)} events/s`);
    } catch (error) {
      const text = errorText(error);
      context.say(`FAILED: ${text}`);
      one.failures.push(`round ${context.round}: ${text}`);
    }
    one.eventsPerS.push(eventsPerS);
  }

  async #measure({ population, storedRows }: Case, context: TrialContext): Promise<number> {
    if (storedRows !== undefined) {
      this.#filled ??= storesWithRows(storedRows, context);
      return await measure(population, await this.#filled, context);
    }
    const stores = await openStores(candidate(HOURGLASS).needs);
    try {
      return await measure(population, stores, context);
    } finally {
      await stores.close();
    }
  }

  results(): GrowthResults[] {
    return this.#cases.map(({ name, title, eventsPerS, failures }) => ({
      name,
      title,
      eventsPerS,
      failures,
    }));
  }

  async close(): Promise<void> {
    await this.#filled?.then((stores) => stores.close()).catch(() => {});
  }
}

async function measure(population: Population, stores: Stores, context: TrialContext): Promise<number> {
  return await withCandidate(candidate(HOURGLASS), stores, context, async (running) => {
    const { driver, parameters, round } = context;
    const target = { port: running.process.port, mix: MIXES["100:0"], population, seed: SEED + round };
    await driver.saturate({ ...target, durationMs: parameters.warmUpMs });
    await waitForDrain(running);
    const { answered, durationMs } = await driver.saturate({ ...target, durationMs: parameters.phaseMs });
    await waitForDrain(running);
    return (answered * 1_000) / durationMs;
  });
}
