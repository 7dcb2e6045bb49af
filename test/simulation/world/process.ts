/**
 * One instance of the service: the real pipeline, with the simulation's clock, timers and random numbers.
 *
 * Invariant: once it is killed nothing of it runs anymore; what it had sent by then may arrive.
 */
import { drainMicrotasks } from "bun:jsc";
import { Pipeline, type PipelineSettings } from "../../../src/pipeline/pipeline.ts";
import type { Clock } from "../../../src/runtime/clock.ts";
import type { InvariantHandler } from "../../../src/runtime/invariant-error.ts";
import type { Log } from "../../../src/runtime/log.ts";
import type { Metrics } from "../../../src/runtime/metrics.ts";
import type { ColdStore } from "../../../src/store/cold.ts";
import type { HotStore } from "../../../src/store/hot.ts";
import type { Random } from "./random.ts";
import type { Owner, Scheduler, Task } from "./scheduler.ts";
import type { Trace } from "./trace.ts";

/** How often what is done at intervals is done at most: late, as timers may be. */
export interface Pace {
  readonly leastIntervalMs: number;
}

/** Reading sockets and running callbacks takes some time. */
const TURN_MS = 0.02;
/** A busy process does periodic work late: by this much, or by up to an interval. */
const LATENESS_MS = 2_000;
const LATENESS_MAX = 4;
/** Pauses between tries are of this length: they are late as well, which saves a quarter of all steps. */
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 2_000;

/** Due between the two times: whatever else makes the process run its timers, or at the latest by itself. */
interface Recurring {
  readonly intervalMs: number;
  readonly act: () => void;
  earliestMs: number;
  latestMs: number;
}

export interface ProcessOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly trace: Trace;
  readonly pace: Pace;
  /** All clocks of the world. */
  readonly wall: { readonly skewMs: number };
  readonly metrics: Metrics;
  readonly settings: PipelineSettings;
  readonly onBrokenInvariant: InvariantHandler;
  readonly openStores: (process: Process) => { hotShards: readonly HotStore[]; cold: ColdStore };
}

export class Process implements Owner {
  readonly name: string;
  isDead = false;
  frozenUntilMs = 0;
  /** It is stopping, and accepts no more requests. */
  isStopping = false;
  /** The skew of its wall clock. */
  skewMs = 0;
  readonly clock: Clock;
  readonly pipeline: Pipeline;
  readonly #options: ProcessOptions;
  readonly #startedMs: number;
  readonly #recurring = new Set<Recurring>();
  #wake: Task | undefined;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.#startedMs = options.scheduler.nowMs;
    this.clock = this.#newClock();
    const { metrics, settings, onBrokenInvariant } = options;
    const log = this.#newLog();
    const stores = options.openStores(this);
    const { clock } = this;
    this.pipeline = new Pipeline({ ...stores, metrics, log, clock, settings, onBrokenInvariant });
  }

  #newClock(): Clock {
    const { scheduler, random, wall } = this.#options;
    const after = (ms: number, act: () => void) => {
      if (this.#options.pace.leastIntervalMs > 0 && ms >= RETRY_MIN_MS && ms <= RETRY_MAX_MS)
        return this.#late(ms, act);
      const task = scheduler.after(Math.max(ms, TURN_MS), this, act);
      return () => scheduler.cancel(task);
    };
    return {
      now: () => Math.floor(scheduler.nowMs + wall.skewMs + this.skewMs),
      monotonicMs: () => scheduler.nowMs - this.#startedMs,
      after,
      every: (ms, act) => this.#every(ms, act),
      atTurnEnd: (act) => void after(TURN_MS, act),
      sleep: (ms) => new Promise((resolve) => void after(ms, resolve)),
      sleepThread: (ms, act) => void after(ms, act),
      threadBusyMs: () => 0,
      random: () => random.next(),
    };
  }

  /** Once, and no sooner than what is done at intervals. */
  #late(ms: number, act: () => void): () => void {
    const end = this.#every(ms, () => {
      end();
      act();
    });
    return end;
  }

  #every(ms: number, act: () => void): () => void {
    const recurring: Recurring = { intervalMs: ms, act, earliestMs: 0, latestMs: 0 };
    this.#recurring.add(recurring);
    this.#postpone(recurring);
    this.#wakeBy(recurring.latestMs);
    return () => this.#recurring.delete(recurring);
  }

  #postpone(recurring: Recurring): void {
    const { scheduler, pace, random } = this.#options;
    const { intervalMs } = recurring;
    const afterMs = Math.max(intervalMs, pace.leastIntervalMs);
    const lateMs = Math.max(afterMs, Math.min(afterMs * LATENESS_MAX, LATENESS_MS));
    recurring.earliestMs = scheduler.nowMs + afterMs;
    recurring.latestMs = recurring.earliestMs + lateMs * random.next();
  }

  #wakeBy(atMs: number): void {
    const { scheduler } = this.#options;
    if (this.#wake?.run !== undefined && this.#wake.atMs <= atMs) return;
    scheduler.cancel(this.#wake);
    this.#wake = scheduler.at(atMs, this, () => this.#runDue());
  }

  /** All that may run now: the later they are, the more of them run together. */
  #runDue(): void {
    const { scheduler } = this.#options;
    for (const recurring of this.#recurring) {
      if (recurring.earliestMs > scheduler.nowMs) continue;
      this.#postpone(recurring);
      recurring.act();
      drainMicrotasks();
    }
    this.#wakeForNext();
  }

  #wakeForNext(): void {
    let nextMs = Number.POSITIVE_INFINITY;
    for (const { latestMs } of this.#recurring) nextMs = Math.min(nextMs, latestMs);
    if (nextMs < Number.POSITIVE_INFINITY) this.#wakeBy(nextMs);
  }

  /** A quiet time is over: what waits for longer than its interval comes within that. */
  hurry(): void {
    const { scheduler, random } = this.#options;
    for (const recurring of this.#recurring) {
      const { intervalMs, latestMs } = recurring;
      if (latestMs <= scheduler.nowMs + intervalMs) continue;
      recurring.earliestMs = recurring.latestMs = scheduler.nowMs + intervalMs * random.next();
    }
    this.#wakeForNext();
  }

  #newLog(): Log {
    const { trace } = this.#options;
    const say = (level: string) => (fields: object, message: string) => {
      if (trace.isOn) trace.add(this.name, `logs ${level}: ${message} ${JSON.stringify(fields)}`);
    };
    return { info: say("info"), warn: say("warning"), error: say("error") };
  }

  kill(): void {
    this.isDead = true;
  }

  get isRunning(): boolean {
    return !this.isDead && !this.isStopping;
  }
}
