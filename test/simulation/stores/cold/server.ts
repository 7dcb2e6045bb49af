/**
 * A MySQL in memory: its tables, the locks on writers, and the state that a fault puts it in.
 *
 * Invariant: a caller who flushes, seals or reads the watermark of a writer waits until the writer's previous
 * transaction has ended, one way or the other.
 */
import type { Owner } from "../../world/scheduler.ts";
import type { ColdData } from "./data.ts";

/** Held by one transaction at a time. */
export interface WriterLock {
  release(): void;
}

interface Waiting {
  readonly isWanted: () => boolean;
  readonly take: (lock: WriterLock) => void;
}

export class ColdServer implements Owner {
  readonly name = "mysql";
  isDead = false;
  frozenUntilMs = 0;
  isDown = false;
  /** Reads go on. */
  isReadOnly = false;
  run = 1;
  data: ColdData;
  readonly #locks = new Map<string, Waiting[]>();

  constructor(data: ColdData) {
    this.data = data;
  }

  /** `isWanted`: false once whoever asked has gone. */
  lockWriter(writer: string, isWanted: () => boolean, take: (lock: WriterLock) => void): void {
    const waiting = this.#locks.get(writer);
    if (waiting !== undefined) {
      waiting.push({ isWanted, take });
      return;
    }
    this.#locks.set(writer, []);
    take(this.#lock(writer));
  }

  #lock(writer: string): WriterLock {
    const { run } = this;
    let isHeld = true;
    return {
      release: () => {
        // A server that was started anew since then has forgotten all locks.
        if (!isHeld || this.run !== run) return;
        isHeld = false;
        this.#passOn(writer);
      },
    };
  }

  #passOn(writer: string): void {
    const next = this.#locks.get(writer)?.shift();
    if (next === undefined) this.#locks.delete(writer);
    else if (next.isWanted()) next.take(this.#lock(writer));
    else this.#passOn(writer);
  }

  stop(): void {
    this.isDown = true;
    this.run += 1;
    this.#locks.clear();
  }

  start(): void {
    this.isDown = false;
    this.isReadOnly = false;
  }
}
