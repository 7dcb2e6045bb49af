/**
 * Simulates instances over data sets of Redis and nodes of MySQL. The work per event comes from measured costs; the
 * waiting results from the simulation.
 *
 * Invariants: the same seed gives the same result. No event is created or lost: each one sent was answered or is still
 * in flight. Modelled is the work of each thread: an instance's event loop (requests, then one batch at a time), Redis'
 * thread (one script per batch), MySQL's sessions (one transaction each), and the row of the current hour, which a
 * flush locks at its end. Not modelled: memory, disks (except for that lock), faults, reads, past hours.
 */
import { Latencies } from "../../src/runtime/latencies.ts";
import { Random } from "../../test/harness/pipeline/random.ts";
import { Cores, Lock, Thread } from "./cores.ts";
import type { Costs } from "./costs.ts";
import { EventQueue } from "./event-queue.ts";
import { Poisson } from "./poisson.ts";

export interface Sizes {
  readonly instances: number;
  /** Data sets of Redis: each writer's batches go to one of them. */
  readonly shards: number;
  readonly mysqlNodes: number;
  readonly mysqlCores: number;
  /** Rows of an hour and stream, in each node, that flushes are spread over. */
  readonly hourRows: number;
}

export interface Load {
  /** Events a second, of all together, whatever is answered. Or: */
  readonly ratePerS?: number;
  /** to each instance, each of which sends its next event once it has its answer. */
  readonly connections?: number;
}

export interface SimulationOptions {
  readonly sizes: Sizes;
  readonly load: Load;
  readonly costs: Costs;
  readonly seed: number;
  readonly warmUpMs: number;
  readonly durationMs: number;
  /** There and back. */
  readonly networkMs: number;
  readonly flushIntervalMs: number;
  readonly flushMaxEvents: number;
  /** All are on one machine, which the driver is on, too. Undefined: each thread has a core, and MySQL its own. */
  readonly sharedCores?: number;
}

export interface Simulated {
  readonly offeredPerS: number;
  readonly answeredPerS: number;
  /** Rows. */
  readonly storedPerS: number;
  readonly batchEvents: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** 0 to 1: of the busiest of each kind. */
  readonly utilisation: Readonly<Record<Part, number>>;
  readonly cpuUsPerEvent: { readonly instance: number; readonly redis: number; readonly mysql: number };
  /** Events that were answered and are no rows, per instance. */
  readonly unflushed: number;
}

export type Part = "instance" | "redis" | "mysql" | "hour row";

/** The committer's value. */
const BATCH_MAX_EVENTS = 2_000;
/** Requests that are read in one turn of an instance's loop. */
const TURN_MAX_EVENTS = 64;
/** Requests that a driver sends before what it sent arrives: it reads and writes some connections at a time. */
const SENT_MAX_EVENTS = 4;
/** Arrivals are drawn for so long at a time. */
const ARRIVALS_US = 250;

/** Events that came at the same time. */
interface Bunch {
  readonly atUs: number;
  readonly count: number;
}

export function simulate(options: SimulationOptions): Simulated {
  return new Simulation(options).run();
}

interface Totals {
  readonly offered: number;
  readonly answered: number;
  readonly stored: number;
  readonly batches: number;
  readonly busyUs: Readonly<Record<Part, readonly number[]>>;
}

class Simulation {
  readonly events = new EventQueue();
  readonly options: SimulationOptions;
  readonly latencies = new Latencies();
  readonly #machine: Cores | undefined;
  readonly #shards: readonly Thread[];
  readonly #nodes: readonly Node[];
  readonly #instances: readonly Instance[];
  isMeasuring = false;

  constructor(options: SimulationOptions) {
    const { sizes, sharedCores } = options;
    this.options = options;
    this.#machine = sharedCores === undefined ? undefined : new Cores(this.events, sharedCores);
    this.#shards = times(sizes.shards, () => this.thread());
    this.#nodes = times(sizes.mysqlNodes, () => new Node(this));
    this.#instances = times(sizes.instances, (n) => new Instance(this, n));
  }

  thread(cores?: Cores): Thread {
    return new Thread(this.#machine ?? cores ?? new Cores(this.events, 1, Number.POSITIVE_INFINITY));
  }

  shardOf(instance: number): Thread {
    return this.#shards[instance % this.#shards.length]!;
  }

  nodeOf(instance: number): Node {
    return this.#nodes[instance % this.#nodes.length]!;
  }

  run(): Simulated {
    const { warmUpMs, durationMs } = this.options;
    for (const instance of this.#instances) instance.start();
    this.events.runUntil(warmUpMs * 1_000);
    const before = this.#totals();
    this.isMeasuring = true;
    this.events.runUntil((warmUpMs + durationMs) * 1_000);
    return this.#resultOf(before, this.#totals());
  }

  #totals(): Totals {
    const sum = (of: (instance: Instance) => number) => this.#instances.reduce((all, one) => all + of(one), 0);
    return {
      offered: sum(({ offered }) => offered),
      answered: sum(({ answered }) => answered),
      stored: sum(({ stored }) => stored),
      batches: sum(({ batches }) => batches),
      busyUs: {
        instance: this.#instances.flatMap(({ threads }) => threads.map(({ busyUs }) => busyUs)),
        redis: this.#shards.map(({ busyUs }) => busyUs),
        mysql: this.#nodes.map(({ busyUs }) => busyUs),
        "hour row": this.#nodes.flatMap(({ locks }) => locks.map(({ heldUs }) => heldUs)),
      },
    };
  }

  #resultOf(before: Totals, after: Totals): Simulated {
    const { durationMs, sizes, sharedCores } = this.options;
    const perS = (count: number) => (count * 1_000) / durationMs;
    const answered = after.answered - before.answered;
    const gained = (part: Part) => after.busyUs[part].map((us, i) => us - before.busyUs[part][i]!);
    const busiest = (part: Part, cores = 1) => Math.max(...gained(part)) / (durationMs * 1_000 * cores);
    const usPerEvent = (part: Part) => gained(part).reduce((sum, us) => sum + us, 0) / Math.max(answered, 1);
    return {
      offeredPerS: perS(after.offered - before.offered),
      answeredPerS: perS(answered),
      storedPerS: perS(after.stored - before.stored),
      batchEvents: answered / Math.max(after.batches - before.batches, 1),
      p50Ms: this.latencies.percentileMs(50),
      p99Ms: this.latencies.percentileMs(99),
      utilisation: {
        instance: busiest("instance"),
        redis: busiest("redis"),
        mysql: busiest("mysql", sharedCores ?? sizes.mysqlCores),
        "hour row": busiest("hour row"),
      },
      cpuUsPerEvent: {
        instance: usPerEvent("instance"),
        redis: usPerEvent("redis"),
        mysql: usPerEvent("mysql"),
      },
      unflushed: (after.answered - after.stored) / sizes.instances,
    };
  }
}

function times<T>(count: number, make: (n: number) => T): T[] {
  return Array.from({ length: count }, (_, n) => make(n));
}

/** One MySQL: a session for each instance that flushes there, on its cores. */
class Node {
  readonly #simulation: Simulation;
  readonly #cores: Cores;
  readonly #sessions = new Map<number, Thread>();
  readonly locks: readonly Lock[];

  constructor(simulation: Simulation) {
    const { sizes } = simulation.options;
    this.#simulation = simulation;
    this.#cores = new Cores(simulation.events, sizes.mysqlCores);
    this.locks = times(sizes.hourRows, () => new Lock(simulation.events));
  }

  get busyUs(): number {
    return Array.from(this.#sessions.values()).reduce((sum, { busyUs }) => sum + busyUs, 0);
  }

  flush(instance: number, events: number, done: () => void): void {
    const { events: queue, options } = this.#simulation;
    const { costs, sizes } = options;
    let session = this.#sessions.get(instance);
    if (session === undefined) {
      session = this.#simulation.thread(this.#cores);
      this.#sessions.set(instance, session);
    }
    // Instances of one node come one after the other in turn: the row is chosen by what they are among those.
    const lock = this.locks[Math.floor(instance / sizes.mysqlNodes) % this.locks.length]!;
    session.run(events * costs.mysqlEventUs, () =>
      lock.take(() =>
        queue.after(costs.hourLockMs * 1_000, () => {
          lock.free();
          done();
        }),
      ),
    );
  }
}

class Instance {
  readonly #simulation: Simulation;
  readonly #number: number;
  readonly #loop: Thread;
  readonly #flusher: Thread;
  readonly #driver: Thread | undefined;
  readonly #poisson: Poisson;
  /** Sent, and not read yet. */
  #inbox: Bunch[] = [];
  /** Read, and in no batch yet. */
  #waiting: Bunch[] = [];
  #isCommitting = false;
  #isReading = false;
  #isFlushing = false;
  #unflushed = 0;
  offered = 0;
  answered = 0;
  stored = 0;
  batches = 0;

  constructor(simulation: Simulation, number: number) {
    const { seed, load, sharedCores } = simulation.options;
    this.#simulation = simulation;
    this.#number = number;
    this.#loop = simulation.thread();
    this.#flusher = simulation.thread();
    if (load.connections !== undefined && sharedCores !== undefined) this.#driver = simulation.thread();
    this.#poisson = new Poisson(new Random(seed * 65_537 + number));
  }

  get threads(): readonly Thread[] {
    return [this.#loop, this.#flusher];
  }

  start(): void {
    const { events, options } = this.#simulation;
    const { load, flushIntervalMs } = options;
    if (load.connections !== undefined) this.#send(load.connections);
    else this.#arrive();
    // Not all at the same time.
    events.after(this.#poisson.fraction() * flushIntervalMs * 1_000, () => this.#flushOnTime());
  }

  #arrive(): void {
    const { events, options } = this.#simulation;
    const mean = ((options.load.ratePerS ?? 0) / options.sizes.instances / 1e6) * ARRIVALS_US;
    const count = this.#poisson.draw(mean);
    if (count > 0) this.#take(count);
    events.after(ARRIVALS_US, () => this.#arrive());
  }

  /** Sends an event on each of `count` connections that have got their answers. */
  #send(count: number): void {
    const { costs, networkMs } = this.#simulation.options;
    for (let left = count; left > 0; left -= SENT_MAX_EVENTS) {
      const some = Math.min(left, SENT_MAX_EVENTS);
      const arrive = () => this.#simulation.events.after(networkMs * 500, () => this.#take(some));
      if (this.#driver === undefined) arrive();
      else this.#driver.run(some * costs.driverEventUs, arrive);
    }
  }

  #take(count: number): void {
    this.offered += count;
    this.#inbox.push({ atUs: this.#simulation.events.nowUs, count });
    this.#read();
  }

  #read(): void {
    if (this.#isReading || this.#inbox.length === 0) return;
    this.#isReading = true;
    const turn = takeFrom(this.#inbox, TURN_MAX_EVENTS);
    this.#loop.run(sizeOf(turn) * this.#simulation.options.costs.instanceEventUs, () => {
      this.#isReading = false;
      this.#waiting.push(...turn);
      // The batch first: it is sent before the next requests are read.
      this.#commit();
      this.#read();
    });
  }

  #commit(): void {
    if (this.#isCommitting || this.#waiting.length === 0) return;
    this.#isCommitting = true;
    const { events, options } = this.#simulation;
    const { costs, networkMs } = options;
    const batch = takeFrom(this.#waiting, BATCH_MAX_EVENTS);
    const count = sizeOf(batch);
    const onItsWay = (act: () => void) => events.after(networkMs * 500, act);
    this.#loop.run(costs.instanceBatchUs, () =>
      onItsWay(() =>
        this.#simulation
          .shardOf(this.#number)
          .run(costs.redisBatchUs + count * costs.redisEventUs, () => onItsWay(() => this.#answer(batch, count))),
      ),
    );
  }

  #answer(batch: readonly Bunch[], count: number): void {
    const { isMeasuring, latencies, events, options } = this.#simulation;
    this.#isCommitting = false;
    this.batches += 1;
    this.answered += count;
    this.#unflushed += count;
    if (isMeasuring) for (const { atUs, count: n } of batch) latencies.add((events.nowUs - atUs) / 1_000, n);
    if (options.load.connections !== undefined) this.#send(count);
    if (this.#unflushed >= options.flushMaxEvents) this.#flush();
    this.#commit();
  }

  #flushOnTime(): void {
    const { events, options } = this.#simulation;
    this.#flush();
    events.after(options.flushIntervalMs * 1_000, () => this.#flushOnTime());
  }

  #flush(): void {
    const { options } = this.#simulation;
    const { costs, flushMaxEvents } = options;
    const count = Math.min(this.#unflushed, flushMaxEvents);
    if (this.#isFlushing || count === 0) return;
    this.#isFlushing = true;
    this.#flusher.run(count * costs.flushEventUs, () =>
      this.#simulation.nodeOf(this.#number).flush(this.#number, count, () => {
        this.#isFlushing = false;
        this.#unflushed -= count;
        this.stored += count;
        if (this.#unflushed >= flushMaxEvents) this.#flush();
      }),
    );
  }
}

/** The first ones, taken out: at most so many events. */
function takeFrom(bunches: Bunch[], max: number): Bunch[] {
  const taken: Bunch[] = [];
  let room = max;
  while (room > 0 && bunches.length > 0) {
    const { atUs, count } = bunches.shift()!;
    taken.push({ atUs, count: Math.min(count, room) });
    if (count > room) bunches.unshift({ atUs, count: count - room });
    room -= Math.min(count, room);
  }
  return taken;
}

function sizeOf(bunches: readonly Bunch[]): number {
  return bunches.reduce((sum, { count }) => sum + count, 0);
}
