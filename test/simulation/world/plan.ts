/**
 * Everything that happens in a run, decided before it begins: who sends what and when, and which faults strike.
 *
 * Invariant: a plan without one of its actions is still a plan, and every other action stays the same. So a failing run
 * can be shortened.
 */
import { HOUR_MS, type Kind } from "../../../src/domain/event.ts";
import { type Fault, type FaultName, planFault } from "../faults/kinds.ts";
import { Random } from "./random.ts";

export interface EventSpec {
  readonly stream: string;
  readonly hoursAgo: number;
  readonly kind: Kind;
  readonly hasId: boolean;
}

export interface RetrySpec {
  readonly afterMs: number;
  readonly process: number;
}

interface Action {
  /** Names the users of its events: kept when others are taken away. */
  readonly number: number;
  readonly atMs: number;
}

export interface Send extends Action {
  readonly type: "send";
  readonly process: number;
  readonly events: readonly EventSpec[];
  readonly isBulk: boolean;
  /** Events with an id are resent even if they are stored, as a queue with at-least-once delivery does. */
  readonly isRepeated: boolean;
  /** After a refusal, an unknown outcome, or none at all. */
  readonly retries: readonly RetrySpec[];
}

export interface Read extends Action {
  readonly type: "read";
  readonly process: number;
  readonly stream: string;
  readonly hoursAgo: number;
  readonly isRange: boolean;
}

export interface Strike extends Action {
  readonly type: "fault";
  readonly fault: Fault;
}

/** Periodic work runs no more often than this from now on, so a quiet minute takes no time. */
export interface PaceChange extends Action {
  readonly type: "pace";
  readonly leastIntervalMs: number;
}

/** Retires hours that are too old. A process does so once a minute, so it may happen at any time. */
export interface Retire extends Action {
  readonly type: "retire";
  readonly process: number;
}

export type PlannedAction = Send | Read | Strike | PaceChange | Retire;

export interface PlanSettings {
  readonly processes: number;
  readonly shards: number;
  readonly leaseMs: number;
  readonly outcomeTimeoutMs: number;
  readonly commitIntervalUs: number;
  readonly flushIntervalMs: number;
  readonly flushMaxEvents: number;
  readonly ringCapacityEvents: number;
  readonly journalMaxEvents: number;
  readonly hotHours: number;
  /** Of rows and aggregates; 0: those of today. */
  readonly retentionDays: number | undefined;
  /** Simulates REDIS_WAIT_REPLICAS=1. */
  readonly areReplicasAwaited: boolean;
}

export interface Plan {
  readonly seed: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly settings: PlanSettings;
  readonly actions: readonly PlannedAction[];
}

const NOON = Date.UTC(2026, 0, 31, 12);
const STREAMS = ["a", "b.c"];
const LEASES_MS = [5_000, 15_000, 60_000, 120_000];

/** The time in which a fault's aftermath shows. */
const AFTERMATH_MS = 1_500;
/** As a share of a lease, which is renewed in time at either speed. */
export const SLOW = 0.15;
const QUIET = 0.45;

/** The share of faults that follow another one, at about its end or while it lasts. */
const NEXT_SHARE = 0.35;
const MEANWHILE_SHARE = 0.35;
const NEXT_MS = 300;

/** `faults`: the kinds that may strike. */
export function planOf(seed: number, faults: readonly FaultName[]): Plan {
  return new Planner(seed, faults).plan();
}

type Unnumbered<A extends Action> = A extends Action ? Omit<A, "number"> : never;

class Planner {
  readonly #seed: number;
  readonly #random: Random;
  readonly #faults: readonly FaultName[];
  readonly #settings: PlanSettings;
  readonly #startMs: number;
  readonly #actions: PlannedAction[] = [];
  #idShare = 0;
  #lateShare = 0;
  #nowMs: number;

  constructor(seed: number, faults: readonly FaultName[]) {
    this.#seed = seed;
    this.#random = new Random(seed, "plan");
    this.#faults = faults;
    this.#settings = this.#planSettings();
    // Half of the runs see the turn of an hour early.
    const beforeTurnMs = this.#random.chance(0.5) ? this.#random.between(5_000, 90_000) : HOUR_MS / 2;
    this.#startMs = NOON + HOUR_MS - Math.floor(beforeTurnMs);
    this.#nowMs = this.#startMs;
  }

  #planSettings(): PlanSettings {
    const random = this.#random;
    return {
      processes: random.pick([1, 2, 2, 2, 3]),
      shards: random.pick([1, 1, 1, 2]),
      leaseMs: random.pick(LEASES_MS),
      outcomeTimeoutMs: random.pick([1_000, 3_000, 10_000]),
      commitIntervalUs: new Random(this.#seed, "pace").pick([0, 1_700, 50_000]),
      flushIntervalMs: random.pick([200, 1_000, 3_000]),
      flushMaxEvents: random.pick([5, 50, 1_000]),
      ringCapacityEvents: random.pick([10, 1_000, 1_000, 1_000]),
      journalMaxEvents: random.pick([40, 100_000, 100_000]),
      hotHours: random.pick([1, 2, 24]),
      retentionDays: new Random(this.#seed, "retention").pick([undefined, undefined, 0]),
      areReplicasAwaited: new Random(this.#seed, "replicas").chance(0.3),
    };
  }

  plan(): Plan {
    const random = this.#random;
    this.#idShare = random.pick([0, 0.3, 1]);
    this.#lateShare = random.pick([0, 0.1, 0.4]);
    this.#nowMs += random.between(0, 1_500);
    const phases = random.integer(2, 4);
    for (let phase = 0; phase < phases; phase++) this.#addPhase();
    this.#actions.sort((a, b) => a.atMs - b.atMs);
    const { startMs, settings, actions, endMs } = { ...this.#result() };
    return { seed: this.#seed, startMs, endMs, settings, actions };
  }

  #result() {
    return { startMs: this.#startMs, settings: this.#settings, actions: this.#actions, endMs: this.#nowMs };
  }

  /** Some seconds in which much happens, faults that may last longer, and a pause. */
  #addPhase(): void {
    const random = this.#random;
    const { leaseMs } = this.#settings;
    const fromMs = this.#nowMs;
    const lengthMs = random.between(300, 3_000);
    const someTime = () => fromMs + random.between(0, lengthMs);
    this.#pace(fromMs, 0);
    for (let left = random.integer(2, 9); left > 0; left--) this.#push(this.#send(someTime()));
    for (let left = random.integer(0, 4); left > 0; left--) this.#push(this.#read(someTime()));
    const faults = this.#faults.length === 0 ? 0 : random.pick([0, 1, 1, 2, 3]);
    let endMs = fromMs + lengthMs + AFTERMATH_MS;
    this.#pace(endMs, leaseMs * SLOW);
    let before: { readonly atMs: number; readonly overMs: number } | undefined;
    for (let left = faults; left > 0; left--) {
      const fault = planFault(random.pick(this.#faults), random, this.#settings);
      const followingMs = before && this.#followingMs(before);
      const atMs = followingMs ?? someTime();
      if (followingMs !== undefined) this.#push(this.#send(atMs - random.between(0, NEXT_MS)));
      this.#push({ type: "fault", atMs, fault });
      const overMs = atMs + fault.lastsMs;
      before = { atMs, overMs };
      if (atMs > fromMs + lengthMs) this.#hurry(atMs - NEXT_MS, atMs);
      if (overMs <= endMs) continue;
      this.#hurry(overMs, overMs);
      endMs = overMs + AFTERMATH_MS;
    }
    if (random.chance(0.3)) this.#addRetirement(someTime());
    this.#pace(endMs, leaseMs * QUIET);
    this.#nowMs = endMs + this.#pauseMs();
  }

  /** Retires an hour that several processes fetch at about that time. */
  #addRetirement(atMs: number): void {
    const random = this.#random;
    const late = { ...this.#event(), hoursAgo: random.integer(1, 4) };
    for (let left = random.integer(1, 3); left > 0; left--) {
      const send = this.#send(atMs - random.between(0, 2 * NEXT_MS));
      this.#push({ ...send, events: send.events.map((event, i) => (i === 0 ? late : event)) });
    }
    for (let left = random.integer(1, 2); left > 0; left--) {
      this.#push({ type: "retire", atMs: atMs + random.between(0, NEXT_MS), process: this.#process() });
    }
  }

  /** When a fault strikes that has to do with the one before; undefined if it has not. */
  #followingMs({ atMs, overMs }: { readonly atMs: number; readonly overMs: number }): number | undefined {
    const random = this.#random;
    const share = random.next();
    if (share < NEXT_SHARE) return overMs + random.between(-NEXT_MS, NEXT_MS);
    return share < NEXT_SHARE + MEANWHILE_SHARE ? random.between(atMs, overMs) : undefined;
  }

  #hurry(fromMs: number, toMs: number): void {
    this.#pace(fromMs, 0);
    this.#pace(toMs + AFTERMATH_MS, this.#settings.leaseMs * SLOW);
  }

  #pace(atMs: number, leastIntervalMs: number): void {
    this.#push({ type: "pace", atMs, leastIntervalMs });
  }

  /** Longer where timers are slow: a pause of many leases shows nothing that one of some leases does not. */
  #pauseMs(): number {
    const { leaseMs } = this.#settings;
    return this.#random.pick([0, 0.3, 0.3, 1.2, 1.2, 3, 3, 12]) * leaseMs;
  }

  #push(action: Unnumbered<PlannedAction>) {
    this.#actions.push({ ...action, number: this.#actions.length });
  }

  #process(): number {
    return this.#random.integer(0, this.#settings.processes - 1);
  }

  #hoursAgo(): number {
    return this.#random.chance(this.#lateShare) ? this.#random.integer(1, 4) : 0;
  }

  #send(atMs: number): Omit<Send, "number"> {
    const random = this.#random;
    const isBulk = random.chance(0.25);
    const events = Array.from({ length: isBulk ? random.integer(2, 12) : 1 }, () => this.#event());
    const retries = Array.from({ length: random.integer(0, 3) }, () => ({
      afterMs: random.pick([1, 50, 400, 2_000, 20_000, 60_000]) * random.between(0.5, 1.5),
      process: this.#process(),
    }));
    const isRepeated = random.chance(0.2);
    return { type: "send", atMs, process: this.#process(), events, isBulk, isRepeated, retries };
  }

  #event(): EventSpec {
    const random = this.#random;
    return {
      stream: random.pick(STREAMS),
      hoursAgo: this.#hoursAgo(),
      kind: random.chance(0.5) ? "click" : "impression",
      hasId: random.chance(this.#idShare),
    };
  }

  #read(atMs: number): Omit<Read, "number"> {
    const random = this.#random;
    const stream = random.pick(STREAMS);
    return {
      type: "read",
      atMs,
      process: this.#process(),
      stream,
      hoursAgo: this.#hoursAgo(),
      isRange: random.chance(0.3),
    };
  }
}
