/**
 * Has the cold store do its upkeep, and finds what an operator must see to: upkeep that keeps failing, and rows that
 * the store refused.
 * Invariant: each change is logged once.
 */
import type { HourKey } from "../../domain/event.ts";
import { type HourRange, includes } from "../../domain/hour-range.ts";
import type { Log } from "../../runtime/log.ts";
import type { DeadLetterStore, UpkeepProblems, UpkeepStore } from "../../store/cold.ts";

type ProblemStore = UpkeepStore & Pick<DeadLetterStore, "deadLetterCount" | "deadLetterHours">;
type Upkeep = keyof UpkeepProblems;

const FAILED: Readonly<Record<Upkeep, string>> = {
  partitions: "could not add partitions: rows go into the last one, which retention cannot drop",
  folding: "could not fold the rows of hours: reads have more and more of them to add up",
};

/** Hours of streams with dead letters. If there are more, all hours are taken to have some. */
const DEAD_HOURS_MAX = 1_000;

export class ColdProblems {
  readonly #cold: ProblemStore;
  readonly #log: Log;
  /** What the last check found. */
  deadLetterCount = 0;
  upkeep: UpkeepProblems = {};
  #deadHours: readonly HourKey[] = [];

  constructor(cold: ProblemStore, log: Log) {
    this.#cold = cold;
    this.#log = log;
  }

  /** Throws ColdUnavailableError. */
  async check(): Promise<void> {
    // First, as it throws if the store is unavailable. upkeep() answers even then.
    const count = await this.#cold.deadLetterCount();
    this.#deadHours = count === 0 ? [] : await this.#cold.deadLetterHours(DEAD_HOURS_MAX);
    this.#noteDeadLetters(count);
    this.#noteUpkeep(await this.#cold.upkeep());
  }

  /** Whether a range has dead letters, which its counts lack once their hour was loaded from the cold store. */
  hasDeadLetters(range: HourRange): boolean {
    if (this.#deadHours.length === DEAD_HOURS_MAX) return true;
    return this.#deadHours.some((key) => includes(range, key));
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
