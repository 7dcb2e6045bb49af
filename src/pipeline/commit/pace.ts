/**
 * When the next commit may start. A commit costs as much as 20 events, and a disk or a Redis can do only so many per
 * second; so under load commits start an interval apart, on average.
 *
 * Waiting pays only while events keep arriving. A commit therefore starts at once
 * - after a quiet moment, which earns a few commits without a wait;
 * - when enough events wait that its cost is spread over them;
 * - when as many events have arrived since the last answers as there were answers: clients that send one event after
 *   the other have all sent their next one, and send no more before they are answered. (Of a single answer that says
 *   nothing: the next event, whoever sends it, would be enough.)
 *
 * Invariant: nothing waits for longer than the interval, except for a commit in flight.
 */

/** From here on a larger batch makes an event cheaper by less than a tenth. */
const ENOUGH_EVENTS = 64;
/** Earned by a quiet moment, in intervals. */
const CREDIT_MAX = 4;

export class CommitPace {
  readonly #intervalMs: number;
  /** When the next commit is due. The further it is in the past, the more credit there is. */
  #dueMs = Number.NEGATIVE_INFINITY;
  #enoughEvents = 1;

  /** `intervalMs`: 0 lets each commit start at once. */
  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  started(nowMs: number): void {
    const earliestMs = nowMs - CREDIT_MAX * this.#intervalMs;
    this.#dueMs = Math.min(Math.max(this.#dueMs, earliestMs), nowMs) + this.#intervalMs;
  }

  /** A commit has answered so many events, while others already wait for the next one. */
  answered(events: number, waitingEvents: number): void {
    this.#enoughEvents = events === 1 ? ENOUGH_EVENTS : Math.min(ENOUGH_EVENTS, events + waitingEvents);
  }

  /** How long the next commit should wait; at most 0: it may start. */
  waitMs(nowMs: number, waitingEvents: number): number {
    return waitingEvents >= this.#enoughEvents ? 0 : this.#dueMs - nowMs;
  }
}
