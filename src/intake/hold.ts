/**
 * Where messages wait while the pipeline takes no events: they are neither lost nor given back, which would only
 * bring them here again at once, or use up what a broker allows of that.
 *
 * Invariant: all who wait share one timer, with a jittered backoff that grows until something has been stored
 * again. Once released, by the timer or by release(), nobody is forgotten.
 */
import type { RefusalReason } from "../domain/refusal-reasons.ts";
import { backoffMs } from "../runtime/backoff.ts";
import type { Log } from "../runtime/log.ts";

const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 5_000;

interface HoldOptions {
  /** Why the pipeline takes no events now; undefined if it does. */
  readonly refusal: () => RefusalReason | undefined;
  readonly log: Log;
  readonly name: string;
}

export class Hold {
  readonly #options: HoldOptions;
  #waiting: ((goesOn: boolean) => void)[] = [];
  #timer: Timer | undefined;
  #attempts = 0;
  #reason: string | undefined;
  #isLogged = false;
  #isOver = false;

  constructor(options: HoldOptions) {
    this.#options = options;
  }

  get reason(): string | undefined {
    return this.#waiting.length > 0 ? this.#reason : undefined;
  }

  /** Answers false if it is to be given up: the message is left to where it came from. */
  wait(reason: RefusalReason): Promise<boolean> {
    if (this.#isOver) return Promise.resolve(false);
    this.#reason = reason;
    this.#timer ??= this.#schedule();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #schedule(): Timer {
    return setTimeout(() => this.#look(), backoffMs(this.#attempts++, RETRY_FIRST_MS, RETRY_MAX_MS, Math.random));
  }

  #look(): void {
    this.#timer = undefined;
    const refusal = this.#options.refusal();
    if (refusal !== undefined) {
      this.#reason = refusal;
      this.#note(refusal);
      this.#timer = this.#schedule();
      return;
    }
    this.#releaseAll(true);
  }

  #note(reason: string): void {
    if (this.#isLogged) return;
    this.#isLogged = true;
    const { log, name } = this.#options;
    log.warn({ source: name, reason, held: this.#waiting.length }, "messages are held until events are taken");
  }

  eased(): void {
    if (this.#waiting.length > 0) return;
    this.#attempts = 0;
    if (this.#isLogged) this.#options.log.info({ source: this.#options.name }, "messages go on again");
    this.#isLogged = false;
  }

  /** From now on nobody waits: whoever does is to give up. */
  release(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#releaseAll(false);
  }

  #releaseAll(goesOn: boolean): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve(goesOn);
  }
}
