/**
 * The simulation of many instances: its engine compared with queueing theory, its figures with calculations, and
 * repeatability for a seed. The measurement that it is compared with runs too, at tiny sizes.
 */
import { describe, expect, test } from "bun:test";
import { Cores, Lock, Thread } from "../../bench/capacity/cores.ts";
import { fitted, MEASURED } from "../../bench/capacity/costs.ts";
import { EventQueue } from "../../bench/capacity/event-queue.ts";
import { type SimulationOptions, simulate } from "../../bench/capacity/model.ts";
import { BUSY_MAX, isEnough, limitOf, planFor } from "../../bench/capacity/plan.ts";
import { Poisson } from "../../bench/capacity/poisson.ts";
import { Random } from "../harness/pipeline/random.ts";
import { bench } from "../harness/project/bench-command.ts";

const PROCESS_TIMEOUT_MS = 300_000;

const SMALL: SimulationOptions = {
  sizes: { instances: 4, shards: 2, mysqlNodes: 1, mysqlCores: 4, hourRows: 1 },
  load: { ratePerS: 40_000 },
  costs: MEASURED,
  seed: 7,
  warmUpMs: 300,
  durationMs: 700,
  networkMs: 0.2,
  flushIntervalMs: 100,
  flushMaxEvents: 10_000,
};

describe("threads on cores", () => {
  test("that come independently to one wait as long as theory says (M/D/1)", () => {
    const events = new EventQueue();
    const poisson = new Poisson(new Random(1));
    const thread = new Thread(new Cores(events, 1, Number.POSITIVE_INFINITY));
    const [serviceUs, busy] = [100, 0.8];
    let [waitedUs, served] = [0, 0];
    const arrive = () => {
      const arrivedUs = events.nowUs;
      thread.run(serviceUs, () => {
        waitedUs += events.nowUs - arrivedUs - serviceUs;
        served += 1;
      });
      events.after((-Math.log(1 - poisson.fraction()) * serviceUs) / busy, arrive);
    };
    arrive();
    events.runUntil(20e6);
    expect(served).toBeGreaterThan(150_000);
    expect(thread.busyUs / 20e6).toBeCloseTo(busy, 1);
    const theoryUs = (busy * serviceUs) / (2 * (1 - busy));
    expect(waitedUs / served / theoryUs).toBeGreaterThan(0.93);
    expect(waitedUs / served / theoryUs).toBeLessThan(1.07);
  });

  test("take turns, and leave no core idle", () => {
    const events = new EventQueue();
    const cores = new Cores(events, 2, 10);
    const threads = Array.from({ length: 3 }, () => new Thread(cores));
    const endsUs: number[] = [];
    for (const thread of threads) thread.run(1_000, () => endsUs.push(events.nowUs));
    events.runUntil(10_000);
    // 3,000 µs on two cores: none is done much before the others.
    expect(Math.max(...endsUs)).toBeLessThanOrEqual(1_510);
    expect(Math.min(...endsUs)).toBeGreaterThan(1_400);
    expect(threads.map(({ busyUs }) => Math.round(busyUs))).toEqual([1_000, 1_000, 1_000]);
  });

  test("hold a lock one after the other, in the order in which they came", () => {
    const events = new EventQueue();
    const lock = new Lock(events);
    const taken: string[] = [];
    for (const name of ["a", "b", "c"]) {
      lock.take(() => {
        taken.push(`${name} ${events.nowUs}`);
        events.after(5, () => lock.free());
      });
    }
    events.runUntil(100);
    expect(taken).toEqual(["a 0", "b 5", "c 10"]);
    expect(lock.heldUs).toBe(15);
  });

  test("what is due at the same time happens in the order in which it was planned", () => {
    const events = new EventQueue();
    const random = new Random(3);
    const seen: (readonly [number, number])[] = [];
    for (let n = 0; n < 2_000; n++) {
      const at = random.below(50);
      events.after(at, () => seen.push([at, n]));
    }
    events.runUntil(50);
    expect(seen).toEqual(seen.toSorted(([a, m], [b, n]) => a - b || m - n));
  });
});

describe("the simulation", () => {
  test("is the same for the same seed, and another for another", () => {
    expect(simulate(SMALL)).toEqual(simulate(SMALL));
    expect(simulate({ ...SMALL, seed: 8 })).not.toEqual(simulate(SMALL));
  });

  test("answers and stores what is offered, where it is enough, and is as busy as can be reckoned", () => {
    const found = simulate(SMALL);
    expect(found.offeredPerS / 40_000).toBeCloseTo(1, 1);
    expect(found.answeredPerS / found.offeredPerS).toBeCloseTo(1, 1);
    expect(found.storedPerS / found.offeredPerS).toBeCloseTo(1, 0.5);
    const { instanceEventUs, instanceBatchUs, flushEventUs, redisEventUs, redisBatchUs } = MEASURED;
    const { instance, redis, mysql } = found.cpuUsPerEvent;
    const perBatch = (us: number) => us / found.batchEvents;
    expect(instance / (instanceEventUs + perBatch(instanceBatchUs) + flushEventUs)).toBeCloseTo(1, 1);
    expect(redis / (redisEventUs + perBatch(redisBatchUs))).toBeCloseTo(1, 1);
    expect(mysql / MEASURED.mysqlEventUs).toBeCloseTo(1, 0.5);
    expect(found.p99Ms).toBeGreaterThan(found.p50Ms);
    expect(found.utilisation.redis).toBeCloseTo((redis * found.answeredPerS) / 2e6, 1);
  });

  test("tells what is too little, and what breaks first", () => {
    const onlyRedis = { ...MEASURED, redisEventUs: 40, instanceEventUs: 1, instanceBatchUs: 1 };
    const tooMuch = simulate({ ...SMALL, costs: onlyRedis, load: { ratePerS: 80_000 } });
    expect(isEnough(tooMuch)).toBe(false);
    expect(limitOf(tooMuch).part).toBe("redis");
    expect(tooMuch.utilisation.redis).toBeGreaterThan(0.95);
    // Two threads that take 40 µs for an event.
    expect(tooMuch.answeredPerS).toBeLessThanOrEqual(50_000 * 1.02);
    const locked = simulate({ ...SMALL, costs: { ...MEASURED, hourLockMs: 50 } });
    expect(limitOf(locked).part).toBe("hour row");
    const spread = { ...SMALL.sizes, hourRows: 4 };
    const unlocked = simulate({ ...SMALL, sizes: spread, costs: { ...MEASURED, hourLockMs: 50 } });
    expect(unlocked.storedPerS).toBeGreaterThan(locked.storedPerS);
  });

  test("of one machine takes no more than its cores have, however many instances there are", () => {
    const on = (instances: number) => {
      const sizes = { ...SMALL.sizes, instances, shards: 1 };
      return simulate({ ...SMALL, sizes, load: { connections: 64 }, sharedCores: 2 });
    };
    for (const found of [on(1), on(2), on(4)]) {
      const { instance, redis, mysql } = found.cpuUsPerEvent;
      const allUs = (instance + redis + mysql + MEASURED.driverEventUs) * found.answeredPerS;
      expect(allUs / 2e6).toBeLessThan(1.05);
      expect(allUs / 2e6).toBeGreaterThan(0.45);
    }
  });

  test("plans what keeps a third in reserve", () => {
    const { sizes, load, ...options } = SMALL;
    const plan = planFor(200_000, { ...options, mysqlCores: 4, flushIntervalMs: 300 });
    expect(isEnough(plan.simulated)).toBe(true);
    expect(Math.max(...Object.values(plan.simulated.utilisation))).toBeLessThanOrEqual(BUSY_MAX);
    expect(plan.sizes.instances).toBeGreaterThan(sizes.instances);
    expect(load.ratePerS).toBeLessThan(plan.ratePerS);
  });

  test("has as many arrivals as there should be, and as unevenly", () => {
    for (const mean of [0.3, 5, 200]) {
      const poisson = new Poisson(new Random(11));
      const counts = Array.from({ length: 20_000 }, () => poisson.draw(mean));
      const average = counts.reduce((sum, count) => sum + count, 0) / counts.length;
      const variance = counts.reduce((sum, count) => sum + (count - average) ** 2, 0) / counts.length;
      expect(average / mean).toBeCloseTo(1, 1);
      expect(variance / mean).toBeCloseTo(1, 1);
    }
  });

  test("takes costs that two sizes of batches give", () => {
    const at = (batchEvents: number) => ({ batchEvents, usPerEvent: 20 + 300 / batchEvents });
    const { eventUs, batchUs } = fitted(at(100), at(10));
    expect([eventUs, batchUs].map(Math.round)).toEqual([20, 300]);
    expect(fitted(at(10), at(100)).batchUs).toBeCloseTo(300);
    // Neither of them is less than nothing.
    expect(fitted({ batchEvents: 100, usPerEvent: 30 }, { batchEvents: 10, usPerEvent: 20 }).batchUs).toBe(0);
    expect(fitted({ batchEvents: 10, usPerEvent: 1 }, { batchEvents: 5, usPerEvent: 90 }).eventUs).toBe(0);
  });

  test(
    "is a command",
    async () => {
      const args = ["simulate", "--instances", "2", "--rate", "20000", "--seconds", "0.3", "--warm-up", "0.2"];
      const [first, again, json] = [await bench(...args), await bench(...args), await bench(...args, "--json")];
      expect([first.errors, first.code]).toEqual(["", 0]);
      expect(first.output).toBe(again.output);
      expect(first.output).toContain("breaks first");
      expect(JSON.parse(json.output).answeredPerS).toBeGreaterThan(15_000);
      expect((await bench("simulate", "--instances", "0")).code).toBe(1);
    },
    PROCESS_TIMEOUT_MS,
  );
});
