/**
 * The connection between a process and a server, and its faults.
 *
 * Invariant: over one connection messages arrive in the order in which they were sent, in each direction. Once it has
 * ended, messages in flight arrive late or never, and no answer does.
 */
import type { Random } from "./random.ts";
import type { Owner, Scheduler } from "./scheduler.ts";

const LATENCY_MIN_MS = 0.1;
const LATENCY_MAX_MS = 1.5;

/** Whether a request applies a batch, changes a store in another way, or neither. */
export type Purpose = "chore" | "work" | "commit";

/** Strikes at the next request of this purpose; "work" includes commits. */
interface Ambush {
  readonly at: Exclude<Purpose, "chore">;
  readonly lastsMs: number;
}

/** Between a process and a server: faults are set here. */
export class Link {
  /** No connection can be made, and those there are have ended. */
  isCut = false;
  /** Nothing arrives before that, in neither direction. */
  heldUntilMs = 0;
  slowness = 1;
  /** So many answers are lost, and the connection ends at each. */
  answersToLose = 0;
  requestsToLose = 0;
  /** The next such request is not answered, and all is cut for so long. */
  cutAfter: Ambush | undefined;
  /** The next such request arrives so late. */
  delayOf: Ambush | undefined;
  readonly #connections = new Set<Connection>();
  readonly #random: Random;
  readonly #scheduler: Scheduler;

  constructor(scheduler: Scheduler, random: Random) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** When a message sent now arrives. */
  arrivalMs(): number {
    const latencyMs = this.#random.between(LATENCY_MIN_MS, LATENCY_MAX_MS) * this.slowness;
    return Math.max(this.#scheduler.nowMs + latencyMs, this.heldUntilMs + latencyMs);
  }

  chance(probability: number): boolean {
    return this.#random.chance(probability);
  }

  between(minMs: number, maxMs: number): number {
    return this.#random.between(minMs, maxMs);
  }

  add(connection: Connection): void {
    this.#connections.add(connection);
  }

  remove(connection: Connection): void {
    this.#connections.delete(connection);
  }

  /** Ends all connections there are, as seen by the process a moment later. */
  reset(): void {
    for (const connection of this.#connections) connection.reset();
  }

  cut(): void {
    this.isCut = true;
    this.reset();
  }

  cutFor(ms: number): void {
    this.cut();
    this.#scheduler.after(ms, undefined, () => this.heal());
  }

  heal(): void {
    this.isCut = false;
    this.heldUntilMs = 0;
    this.slowness = 1;
    this.answersToLose = 0;
    this.requestsToLose = 0;
    this.cutAfter = undefined;
    this.delayOf = undefined;
  }
}

function strikesAt(ambush: Ambush | undefined, purpose: Purpose): ambush is Ambush {
  return ambush !== undefined && (ambush.at === purpose || (ambush.at === "work" && purpose === "commit"));
}

/** An ordered way to a server and back. */
export class Connection {
  isOpen = true;
  /** Once it has ended: whether requests that are still on their way arrive. */
  #areRequestsLost = false;
  #lastRequestMs = 0;
  #lastAnswerMs = 0;
  readonly #scheduler: Scheduler;
  readonly #link: Link;
  readonly #client: Owner;
  readonly #server: Owner;
  readonly #onEnd: () => void;

  constructor(scheduler: Scheduler, link: Link, client: Owner, server: Owner, onEnd: () => void) {
    this.#scheduler = scheduler;
    this.#link = link;
    this.#client = client;
    this.#server = server;
    this.#onEnd = onEnd;
    link.add(this);
  }

  /** `handle` runs at the server, and what it gives back at the client, if that still listens. */
  request(handle: () => () => void, purpose: Purpose = "chore"): void {
    if (this.#isLost("requestsToLose")) {
      this.reset();
      return;
    }
    const link = this.#link;
    this.#lastRequestMs = Math.max(this.#lastRequestMs, link.arrivalMs());
    if (strikesAt(link.delayOf, purpose)) {
      this.#lastRequestMs += link.delayOf.lastsMs;
      link.delayOf = undefined;
    }
    this.#scheduler.at(this.#lastRequestMs, this.#server, () => {
      if (!this.isOpen && this.#areRequestsLost) return;
      const answered = handle();
      if (this.isOpen) this.#answer(answered, purpose);
    });
  }

  #answer(answered: () => void, purpose: Purpose): void {
    const { cutAfter } = this.#link;
    if (strikesAt(cutAfter, purpose)) {
      this.#link.cutAfter = undefined;
      this.#link.cutFor(cutAfter.lastsMs);
      return;
    }
    if (this.#isLost("answersToLose")) {
      this.reset();
      return;
    }
    this.#lastAnswerMs = Math.max(this.#lastAnswerMs, this.#link.arrivalMs());
    this.#scheduler.at(this.#lastAnswerMs, this.#client, () => {
      if (this.isOpen) answered();
    });
  }

  #isLost(what: "answersToLose" | "requestsToLose"): boolean {
    if (this.#link[what] === 0) return false;
    this.#link[what] -= 1;
    return true;
  }

  /** The network, or the server, ends it: the process is notified. */
  reset(): void {
    if (!this.isOpen) return;
    this.end();
    this.#scheduler.after(this.#link.between(0.01, 2), this.#client, this.#onEnd);
  }

  /** The process ends it. */
  end(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.#areRequestsLost = this.#link.chance(0.5);
    this.#link.remove(this);
  }
}
