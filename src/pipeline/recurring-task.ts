/**
 * Work repeated at an interval, never twice at a time. A failure is logged once, until the work succeeds again. An
 * unavailable store is not logged here: StoreWatch logs it once for everyone.
 */
import type { Clock } from "../runtime/clock.ts";
import { errorText } from "../runtime/deadline.ts";
import type { Log } from "../runtime/log.ts";
import { ColdUnavailableError } from "../store/cold.ts";
import { HotUnavailableError } from "../store/hot.ts";

export class RecurringTask {
  readonly #what: string;
  readonly #intervalMs: number;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #work: () => Promise<unknown>;
  #endTimer = () => {};
  #underWay: Promise<void> | undefined;
  #isFailing = false;

  constructor(what: string, intervalMs: number, log: Log, clock: Clock, work: () => Promise<unknown>) {
    this.#what = what;
    this.#intervalMs = intervalMs;
    this.#log = log;
    this.#clock = clock;
    this.#work = work;
  }

  /** `isAtOnce`: for the first time now, not after an interval. */
  start(isAtOnce = false): void {
    this.#endTimer = this.#clock.every(this.#intervalMs, () => this.#begin());
    if (isAtOnce) this.#begin();
  }

  #begin(): void {
    this.#underWay ??= this.#once().finally(() => {
      this.#underWay = undefined;
    });
  }

  async #once(): Promise<void> {
    try {
      await this.#work();
      this.#isFailing = false;
    } catch (error) {
      if (error instanceof HotUnavailableError || error instanceof ColdUnavailableError) return;
      if (!this.#isFailing) this.#log.warn({ error: errorText(error) }, `could not ${this.#what}`);
      this.#isFailing = true;
    }
  }

  async stop(): Promise<void> {
    this.#endTimer();
    await this.#underWay;
  }
}
