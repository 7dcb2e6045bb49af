/**
 * A scheduler driven by the real event loop, so that the simulation's stores can be called like any other: simulated
 * time stands still while nobody waits for it.
 */
import type { Clock } from "../../../src/runtime/clock.ts";
import { Link } from "../../simulation/world/network.ts";
import { Random } from "../../simulation/world/random.ts";
import { type Owner, Scheduler } from "../../simulation/world/scheduler.ts";
import { Trace } from "../../simulation/world/trace.ts";

/** Turns of the event loop between two steps: others get their turn, as beside a real store. */
const TURNS_PER_STEP = 8;

export class LiveWorld {
  readonly scheduler: Scheduler;
  readonly process: Owner = { name: "test", isDead: false, frozenUntilMs: 0 };
  readonly link: Link;
  readonly trace: Trace;
  readonly clock: Clock;
  #isEnded = false;
  #turns = 0;

  constructor(startMs: number) {
    const random = new Random(1, "live");
    const scheduler = new Scheduler(startMs);
    this.scheduler = scheduler;
    this.link = new Link(scheduler, random);
    this.trace = new Trace(false, startMs, () => scheduler.nowMs);
    const after = (ms: number, act: () => void) => {
      const task = scheduler.after(ms, this.process, act);
      return () => scheduler.cancel(task);
    };
    this.clock = {
      now: () => startMs,
      monotonicMs: () => scheduler.nowMs - startMs,
      after,
      every: () => () => {},
      atTurnEnd: (act) => void after(0, act),
      sleep: (ms) => new Promise((resolve) => void after(ms, resolve)),
      sleepThread: (ms, act) => void after(ms, act),
      threadBusyMs: () => 0,
      random: () => random.next(),
    };
    this.#turn();
  }

  #turn(): void {
    if (this.#isEnded) return;
    if (this.#turns++ % TURNS_PER_STEP === 0) this.scheduler.step(this.scheduler.nowMs + 1_000);
    setImmediate(() => this.#turn());
  }

  end(): void {
    this.#isEnded = true;
  }
}
