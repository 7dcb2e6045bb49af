/**
 * Has the cold store do its upkeep, and finds what an operator must see to: upkeep that keeps failing, and rows that
 * the store refused.
 * Invariant: each change is logged once.
 */
import type { Log } from "../../runtime/log.ts";
import type { DeadLetterStore, UpkeepProblems, UpkeepStore } from "../../store/cold.ts";

type ProblemStore = UpkeepStore & Pick<DeadLetterStore, "deadLetterCount">;
type Upkeep = keyof UpkeepProblems;

const FAILED: Readonly<Record<Upkeep, string>> = {
  partitions: "could not add partitions: rows go into the last one, which retention cannot drop",
  folding: "could not fold the rows of hours: reads have more and more of them to add up",
};

export class ColdProblems {
  readonly #cold: ProblemStore;
  readonly #log: Log;
  /** What the last check found. */
  deadLetterCount = 0;
  upkeep: UpkeepProblems = {};

  constructor(cold: ProblemStore, log: Log) {
    this.#cold = cold;
    this.#log = log;
  }

  /** Throws ColdUnavailableError. */
  async check(): Promise<void> {
    // First, as it throws if the store is unavailable. upkeep() answers even then.
    this.#noteDeadLetters(await this.#cold.deadLetterCount());
    this.#noteUpkeep(await this.#cold.upkeep());
  }

  #noteUpkeep(found: UpkeepProblems): void {
    for (const upkeep of Object.keys(FAILED) as Upkeep[]) {
      const [problem, before] = [found[upkeep], this.upkeep[upkeep]];
      if (problem !== undefined && before === undefined) this.#log.warn({ problem }, FAILED[upkeep]);
      if (problem === undefined && before !== undefined) this.#log.info({ upkeep }, "upkeep succeeds again");
    }
    this.upkeep = found;
  }

  #noteDeadLetters(deadLetters: number): void {
    const isMore = deadLetters > this.deadLetterCount;
    this.deadLetterCount = deadLetters;
    if (!isMore) return;
    const advice = "the database refuses rows of acknowledged events: see 'hourglass dead-letters list'";
    this.#log.warn({ deadLetters }, advice);
  }
}
