/**
 * One instance of the service: the real pipeline, with a clock, timers and random numbers of the simulation.
 *
 * Invariant: once it is killed nothing of it runs any more, wherever it was; what it had sent by then may arrive.
 */
import { Pipeline, type PipelineSettings } from "../../../src/pipeline/pipeline.ts";
import type { InvariantHandler } from "../../../src/runtime/assert.ts";
import type { Clock } from "../../../src/runtime/clock.ts";
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
/** What is done at intervals comes late in a process that is busy: by this factor at most. */
const LATENESS_MAX = 2;
/** Pauses between tries are of this length: they are late as well, which saves a quarter of all steps. */
const RETRY_MIN_MS = 200;
const RETRY_MAX_MS = 2_000;

interface Recurring {
  readonly intervalMs: number;
  readonly act: () => void;
  task: Task | undefined;
}

export interface ProcessOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly trace: Trace;
  readonly pace: Pace;
  /** Of all clocks of the world. */
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
  /** Of its wall clock. */
  skewMs = 0;
  readonly clock: Clock;
  readonly pipeline: Pipeline;
  readonly #options: ProcessOptions;
  readonly #startedMs: number;
  readonly #recurring = new Set<Recurring>();

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
    const recurring: Recurring = { intervalMs: ms, act, task: undefined };
    this.#recurring.add(recurring);
    this.#schedule(recurring);
    return () => {
      this.#recurring.delete(recurring);
      this.#options.scheduler.cancel(recurring.task);
    };
  }

  #schedule(recurring: Recurring): void {
    const { scheduler, pace, random } = this.#options;
    const { intervalMs, act } = recurring;
    const lateMs = Math.max(intervalMs, pace.leastIntervalMs) * random.between(1, LATENESS_MAX);
    recurring.task = scheduler.after(lateMs, this, () => {
      this.#schedule(recurring);
      act();
    });
  }

  /** A quiet time is over: what waits for longer than its interval comes within that. */
  hurry(): void {
    const { scheduler, random } = this.#options;
    for (const recurring of this.#recurring) {
      const { task, intervalMs } = recurring;
      if (task === undefined || task.atMs <= scheduler.nowMs + intervalMs) continue;
      scheduler.cancel(task);
      recurring.task = scheduler.after(intervalMs * random.next(), this, () => {
        this.#schedule(recurring);
        recurring.act();
      });
    }
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
