/**
 * Holds messages while the pipeline refuses events. They are neither lost nor returned to the broker, which would
 * redeliver them at once or count towards a delivery limit.
 *
 * Invariant: all waiting messages share one timer, whose jittered backoff grows until an event has been stored again.
 * When the timer or release() fires, every waiting message is released.
 */
import type { RefusalReason } from "../domain/refusal-reasons.ts";
import { backoffMs } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";

const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 5_000;

interface HoldOptions {
  /** Why the pipeline refuses events now; undefined if it accepts them. */
  readonly refusal: () => RefusalReason | undefined;
  readonly log: Log;
  readonly name: string;
}

export class Hold {
  readonly #options: HoldOptions;
  #waiting: ((mayRetry: boolean) => void)[] = [];
  #timer: Timer | undefined;
  #attempts = 0;
  #reason: string | undefined;
  #isLogged = false;
  #isOver = false;
  #hasEnded = false;
  /** Those that wait for something else than the pipeline. A race of promises would keep memory until the end. */
  readonly #atEnd = new Set<(isDone: false) => void>();

  constructor(options: HoldOptions) {
    this.#options = options;
  }

  get reason(): string | undefined {
    return this.#waiting.length > 0 ? this.#reason : undefined;
  }

  /** Resolves to false if waiting was given up: the message stays with the broker. */
  wait(reason: RefusalReason): Promise<boolean> {
    if (this.#isOver) return Promise.resolve(false);
    this.#reason = reason;
    this.#timer ??= this.#schedule();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #schedule(): Timer {
    return setTimeout(() => this.#check(), backoffMs(this.#attempts++, RETRY_FIRST_MS, RETRY_MAX_MS, Math.random));
  }

  #check(): void {
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
    log.warn({ source: name, reason, held: this.#waiting.length }, "messages are held until events are accepted");
  }

  eased(): void {
    if (this.#waiting.length > 0) return;
    this.#attempts = 0;
    if (this.#isLogged) this.#options.log.info({ source: this.#options.name }, "messages are no longer held");
    this.#isLogged = false;
  }

  /** Resolves to false once the connection has ended, if `outcome` takes longer. It never rejects. */
  async untilEnd(outcome: Promise<boolean>): Promise<boolean> {
    if (this.#hasEnded) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#atEnd.add(resolve);
    void outcome.then(resolve);
    const isDone = await promise;
    this.#atEnd.delete(resolve);
    return isDone;
  }

  /** The connection is lost: its messages will be redelivered. */
  end(): void {
    this.#hasEnded = true;
    this.release();
    for (const resolve of this.#atEnd) resolve(false);
  }

  /** Ends all waiting, now and in future. */
  release(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#releaseAll(false);
  }

  #releaseAll(mayRetry: boolean): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve(mayRetry);
  }
}
