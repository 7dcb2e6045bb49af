/**
 * Threads on the cores of a machine: each does its jobs in order; with more threads than cores they take turns.
 * Invariant: no core is idle while a thread of its machine has work.
 */
import type { EventQueue } from "./event-queue.ts";

interface Job {
  leftUs: number;
  readonly done: () => void;
}

/** About Linux' time slice when some threads compete and wake each other. */
export const SLICE_US = 500;

export class Cores {
  readonly #events: EventQueue;
  readonly #sliceUs: number;
  readonly count: number;
  #idle: number;
  #ready: Thread[] = [];

  constructor(events: EventQueue, count: number, sliceUs = SLICE_US) {
    this.#events = events;
    this.count = count;
    this.#idle = count;
    this.#sliceUs = sliceUs;
  }

  /** It has something to do. */
  wake(thread: Thread): void {
    this.#ready.push(thread);
    this.#dispatch();
  }

  #dispatch(): void {
    while (this.#idle > 0) {
      const thread = this.#ready.shift();
      if (thread === undefined) return;
      this.#idle -= 1;
      const us = Math.min(this.#sliceUs, thread.leftUs);
      this.#events.after(us, () => {
        this.#idle += 1;
        // What it is given to do by that may be given to others, too: it waits behind them.
        if (thread.ran(us)) this.#ready.push(thread);
        this.#dispatch();
      });
    }
  }
}

export class Thread {
  readonly #cores: Cores;
  readonly #jobs: Job[] = [];
  #isAwake = false;
  busyUs = 0;

  constructor(cores: Cores) {
    this.#cores = cores;
  }

  get isIdle(): boolean {
    return this.#jobs.length === 0;
  }

  run(us: number, done: () => void): void {
    this.#jobs.push({ leftUs: us, done });
    if (this.#isAwake) return;
    this.#isAwake = true;
    this.#cores.wake(this);
  }

  /** Time left of the current job. */
  get leftUs(): number {
    return this.#jobs[0]!.leftUs;
  }

  /** Records that the thread ran for `us`; returns whether it has more to do. */
  ran(us: number): boolean {
    const job = this.#jobs[0]!;
    this.busyUs += us;
    job.leftUs -= us;
    if (job.leftUs <= 0) {
      this.#jobs.shift();
      job.done();
    }
    this.#isAwake = this.#jobs.length > 0;
    return this.#isAwake;
  }
}

/** Held by one at a time; the others wait in line. */
export class Lock {
  readonly #events: EventQueue;
  readonly #waiting: (() => void)[] = [];
  #heldSinceUs: number | undefined;
  heldUs = 0;

  constructor(events: EventQueue) {
    this.#events = events;
  }

  take(taken: () => void): void {
    if (this.#heldSinceUs === undefined) this.#give(taken);
    else this.#waiting.push(taken);
  }

  #give(taken: () => void): void {
    this.#heldSinceUs = this.#events.nowUs;
    taken();
  }

  free(): void {
    this.heldUs += this.#events.nowUs - this.#heldSinceUs!;
    this.#heldSinceUs = undefined;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#give(next);
  }
}
