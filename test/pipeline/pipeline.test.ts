/**
 * The way of an event through the pipeline, on both pairs of real stores: taken, counted, flushed, aged out.
 *
 * Invariant checked at the end of nearly every test: the rows of the cold store are the events that were
 * taken, each once, and its hours are what those rows give.
 */
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { countEvents, type JournaledBatch } from "../../src/domain/batch.ts";
import { DAY_MS, type Event, HOUR_MS } from "../../src/domain/event.ts";
import type { Refusal } from "../../src/pipeline/commit/open-batch.ts";
import { HotUnavailableError } from "../../src/store/hot.ts";
import {
  answerOf,
  click,
  clicks,
  coldStoreAway,
  expectReads,
  hourAt,
  type Instance,
  type Interceptor,
  impression,
  NOON,
  onMethod,
  type PipelineMode,
  pipelineModes,
  type Site,
  STREAM,
  unavailable,
} from "../harness/pipeline/pipeline-harness.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SERVERS_TIMEOUT_MS = 120_000;
const SLOW_TEST_MS = 60_000;
setDefaultTimeout(SLOW_TEST_MS);
const ALL = Number.POSITIVE_INFINITY;
/** No flush by the timer within a test. */
const NEVER_MS = 60_000;

const flushesFail = onMethod("cold.flush", async () => {
  throw unavailable("cold");
});

/** Holds calls of one method up until they are let go. */
function holdUp(method: Parameters<typeof onMethod>[0]): { intercept: Interceptor; letGo(): void } {
  const gate = Promise.withResolvers<void>();
  const intercept = onMethod(method, async (call) => {
    await gate.promise;
    return await call.proceed();
  });
  return { intercept, letGo: () => gate.resolve() };
}

/** Lets everything else that waits have its turn: a loop over an embedded store alone never would. */
async function nextTurn(count = 1): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** A click that comes with an id. */
function named(id: string, user = `user of ${id}`, at = NOON, stream = STREAM): Event {
  return click(user, at, stream, id);
}

for (const mode of pipelineModes()) {
  describeWithServers(`pipeline: ${mode.name}`, mode.needs, () => pipelineTests(mode));
}

function pipelineTests(mode: PipelineMode): void {
  let site: Site;

  beforeAll(() => mode.prepare(), SERVERS_TIMEOUT_MS);
  afterAll(() => mode.end(), SERVERS_TIMEOUT_MS);

  beforeEach(async () => {
    site = await mode.open();
  });

  afterEach(() => site.close(), SLOW_TEST_MS);

  /** The number of batches that were committed, by the writers that did. */
  async function batchCounts(): Promise<number[]> {
    return (await site.watermarks()).map(({ seq }) => seq);
  }

  /** Compares the books with what stands in the stores: for an instance that has had one writer. */
  async function expectLedger(instance: Instance, accepted: number): Promise<void> {
    const { ledger, writer } = instance.pipeline;
    const { hot, cold } = instance.stores;
    const unflushed = await hot.readJournal(writer!, await cold.watermark(writer!), ALL);
    expect(ledger.accepted).toBe(accepted);
    expect(ledger.persisted).toBe(await site.cold.countEvents());
    expect(ledger.pending).toBe(countEvents(unflushed));
    expect(ledger.accepted).toBe(ledger.persisted + ledger.pending + ledger.handedOver + ledger.lost);
  }

  describe("group commit", () => {
    test("events of one tick are one batch", async () => {
      const a = await site.start();
      await a.take(...clicks("u", 50), impression("v", NOON + HOUR_MS, "site-2"));
      await a.drained();
      expect(await batchCounts()).toEqual([1]);
      await site.expectStored([...clicks("u", 50), impression("v", NOON + HOUR_MS, "site-2")]);
    });

    test("events that arrive during a commit are the next batch", async () => {
      const a = await site.start();
      const held = holdUp("hot.commit");
      a.guard.intercept = held.intercept;
      const first = a.take(click("first"));
      const others: Promise<void>[] = [];
      for (const event of clicks("u", 20)) {
        others.push(a.take(event));
        await nextTurn();
      }
      held.letGo();
      await Promise.all([first, ...others]);
      await a.drained();
      expect(await batchCounts()).toEqual([2]);
      await site.expectStored([click("first"), ...clicks("u", 20)]);
    });

    test("a batch has a bound: the rest of the tick is the next one", async () => {
      const a = await site.start();
      const sizes: number[] = [];
      a.guard.intercept = onMethod("hot.commit", (call) => {
        sizes.push((call.args[2] as JournaledBatch).eventCount);
        return call.proceed();
      });
      await a.take(...clicks("u", 4_500));
      expect(sizes).toEqual([2_000, 2_000, 500]);
      await site.expectStored(clicks("u", 4_500));
    });

    test("what was answered is in every read that is asked for after it", async () => {
      const a = await site.start();
      const taken: Event[] = [];
      for (let i = 0; i < 100; i++) {
        const event = i % 3 === 0 ? click(`u-${i % 7}`) : impression(`u-${i}`);
        await a.take(event);
        taken.push(event);
        expect(await a.read(hourAt(NOON))).toEqual(answerOf(taken));
      }
      await site.expectStored(taken);
    });

    test("each hour and stream of a batch is counted apart", async () => {
      const a = await site.start();
      const events: Event[] = [];
      for (let i = 0; i < 60; i++) {
        const kind = i % 4 === 0 ? click : impression;
        events.push(kind(`u-${i % 11}`, NOON + (i % 3) * HOUR_MS + i, `site-${i % 5}`));
      }
      await a.take(...events);
      await expectReads(a, events);
      expect(await a.read(hourAt(NOON, "site-none"))).toEqual(answerOf([]));
      await site.expectStored(events);
    });

    test("more events than may wait are refused, and none of those that wait", async () => {
      const a = await site.start();
      const held = holdUp("hot.commit");
      a.guard.intercept = held.intercept;
      const waiting = a.submit(...clicks("u", 20_000));
      const [refusal] = await a.submit(click("too many"));
      expect(refusal).toEqual({ reason: "overloaded", retryAfterS: 1 });
      held.letGo();
      expect((await waiting).filter((outcome) => outcome !== undefined)).toEqual([]);
      await a.take(click("later"));
      await a.drained();
      expect(await site.cold.countEvents()).toBe(20_001);
    });

    test("nothing is taken before the start", async () => {
      const a = site.create();
      expect(await a.submit(click("u"))).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
      expect(a.pipeline.ledger.refused.hot_store_away).toBe(1);
    });
  });

  describe("ids", () => {
    test("an id counts once, and is answered as stored however often it comes", async () => {
      const a = await site.start();
      await a.take(named("x"), named("y"), named("x"));
      await a.take(named("x"));
      await a.take(named("y"), click("other"), named("x"));
      const { ledger } = a.pipeline;
      expect({ accepted: ledger.accepted, duplicates: ledger.duplicates }).toEqual({
        accepted: 3,
        duplicates: 4,
      });
      await expectReads(a, [named("x"), named("y"), click("other")]);
      await site.expectStored([named("x"), named("y"), click("other")]);
    });

    test("of two events with one id the first counts, also its user", async () => {
      const a = await site.start();
      await a.take(named("x", "first"));
      await a.take(impression("second", NOON, STREAM, "x"));
      await expectReads(a, [named("x", "first")]);
      await site.expectStored([named("x", "first")]);
    });

    test("an id is one of its stream", async () => {
      const a = await site.start();
      await a.take(named("x"), named("x", "u", NOON, "site-2"));
      await a.take(named("x", "u", NOON, "site-2"));
      await site.expectStored([named("x"), named("x", "u", NOON, "site-2")]);
    });

    test("an id is known after a restart, flushed or not, in order or not", async () => {
      const first = await site.start();
      await first.take(named("x"));
      await first.stop();
      const second = await site.start({}, undefined);
      second.guard.intercept = flushesFail;
      await second.take(named("x"), named("y"));
      site.kill(second);
      const third = await site.start({ leaseMs: 200 });
      await third.takeInTheEnd(named("x"), named("y"), named("z"));
      expect(third.pipeline.ledger.duplicates).toBe(2);
    });

    test("batches of duplicates alone pile up nowhere while the cold store is away", async () => {
      const a = await site.start();
      a.guard.intercept = flushesFail;
      await a.take(named("x"));
      for (let i = 0; i < 100; i++) await a.take(named("x"));
      let flushedBatches = 0;
      a.guard.intercept = onMethod("cold.flush", (call) => {
        flushedBatches += (call.args[1] as JournaledBatch[]).length;
        return call.proceed();
      });
      await a.drained();
      await site.expectStored([named("x")]);
      expect(flushedBatches).toBe(1);
    });

    test("duplicates leave the journal although there is nothing to flush", async () => {
      const a = await site.start();
      await a.take(named("x"));
      await a.drained();
      await a.take(named("x"));
      expect(a.pipeline.oldestPendingAt).toBeUndefined();
      const { writer } = a.pipeline;
      await waitFor("the journal to be trimmed", async () => {
        return (await a.stores.hot.readJournal(writer!, 0, ALL)).length === 0;
      });
    });

    test("so do those that come while a flush is under way", async () => {
      const held = holdUp("cold.flush");
      const a = await site.start();
      await a.take(named("x"));
      await a.drained();
      a.guard.intercept = held.intercept;
      await a.take(named("y"));
      await a.take(named("x"));
      await a.take(named("x"));
      held.letGo();
      const { writer } = a.pipeline;
      await waitFor("the journal to be trimmed", async () => {
        return (await a.stores.hot.readJournal(writer!, 0, ALL)).length === 0;
      });
    });
  });

  describe("flush", () => {
    test("by the timer, however little there is", async () => {
      const a = await site.start({ flushIntervalMs: 20, flushMaxEvents: 100_000 });
      await a.take(click("u"));
      await site.expectStored([click("u")]);
      await a.drained();
      await expectLedger(a, 1);
    });

    test("by size, long before the timer", async () => {
      const a = await site.start({ flushIntervalMs: NEVER_MS, flushMaxEvents: 10 });
      await a.take(...clicks("u", 9));
      await expectLedger(a, 9);
      expect(a.pipeline.ledger.pending).toBe(9);
      await a.take(click("the tenth"));
      await a.drained();
      await site.expectStored([...clicks("u", 9), click("the tenth")]);
    });

    test("less than a transaction takes waits for the timer: not each few events are one", async () => {
      const held = holdUp("cold.flush");
      const a = await site.start({ flushIntervalMs: NEVER_MS, flushMaxEvents: 10 });
      const sizes: number[] = [];
      a.guard.intercept = onMethod("cold.flush", (call) => {
        sizes.push(countEvents(call.args[1] as JournaledBatch[]));
        return held.intercept(call);
      });
      await a.take(...clicks("u", 10));
      await a.take(...clicks("v", 9));
      held.letGo();
      await waitFor("the flush", async () => a.pipeline.ledger.persisted >= 10);
      await a.take(click("w"));
      await a.drained();
      await expectLedger(a, 20);
      expect(sizes).toEqual([10, 10]);
    });

    test("a long backlog goes in transactions of a bounded size", async () => {
      const a = await site.start({ flushMaxEvents: 100 });
      a.guard.intercept = flushesFail;
      for (let i = 0; i < 50; i++) await a.take(...clicks(`batch-${i}`, 20));
      const sizes: number[] = [];
      a.guard.intercept = onMethod("cold.flush", (call) => {
        sizes.push(countEvents(call.args[1] as JournaledBatch[]));
        return call.proceed();
      });
      await a.drained();
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(1_000);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(100);
      expect(await site.cold.countEvents()).toBe(1_000);
    });

    test("the books agree with the stores at every step", async () => {
      const a = await site.start();
      await expectLedger(a, 0);
      await a.take(...clicks("a", 5));
      await a.drained();
      await expectLedger(a, 5);
      a.guard.intercept = flushesFail;
      await a.take(...clicks("b", 7), named("x"), named("x"));
      await expectLedger(a, 13);
      expect(a.pipeline.ledger.pending).toBe(8);
      expect(a.pipeline.oldestPendingAt).toBe(site.clock.ms);
      a.guard.intercept = undefined;
      await a.drained();
      await expectLedger(a, 13);
      expect(a.pipeline.oldestPendingAt).toBeUndefined();
      expect(a.pipeline.ledger.duplicates).toBe(1);
    });

    test("a flush that fails is told of, until it works again", async () => {
      const a = await site.start();
      a.guard.intercept = flushesFail;
      await a.take(click("u"));
      await waitFor("the failure to be told of", () => a.pipeline.flushError);
      a.guard.intercept = undefined;
      await a.drained();
      await waitFor("the failure to be over", () => a.pipeline.flushError === undefined);
      expect(a.log.has("flush failed")).toBe(true);
    });

    test("a trim that failed is told of, until it works again, although all is flushed", async () => {
      const a = await site.start();
      let failures = 0;
      a.guard.intercept = onMethod("hot.trimJournal", async (call) => {
        failures += 1;
        if (failures < 3) throw unavailable("hot");
        return await call.proceed();
      });
      await a.take(click("u"));
      await waitFor("the failure to be told of", () => a.pipeline.flushError);
      await waitFor("the failure to be over", () => a.pipeline.flushError === undefined);
      expect(failures).toBe(3);
      const { writer } = a.pipeline;
      expect(await a.stores.hot.readJournal(writer!, 0, ALL)).toEqual([]);
    });

    test("the journal is trimmed only after the cold store has committed", async () => {
      const a = await site.start();
      let committed = 0;
      const trimmed: number[] = [];
      a.guard.intercept = async ({ method, args, proceed }) => {
        const answer = await proceed();
        if (method === "flush") committed = (args[1] as JournaledBatch[]).at(-1)!.seq;
        if (method === "trimJournal") trimmed.push(committed - (args[1] as number));
        return answer;
      };
      for (const event of clicks("u", 20)) await a.take(event);
      await a.drained();
      await waitFor("a trim", () => trimmed.length > 0);
      expect(Math.min(...trimmed)).toBe(0);
    });
  });

  describe("stop", () => {
    test("flushes what is left, removes its journal, and takes nothing more", async () => {
      const a = await site.start({ flushIntervalMs: NEVER_MS, flushMaxEvents: 100_000 });
      await a.take(...clicks("u", 30));
      await a.pipeline.stop();
      expect(await a.submit(click("late"))).toEqual([{ reason: "shutting_down", retryAfterS: 1 }]);
      await a.stop();
      await site.expectStored(clicks("u", 30));
      expect(await site.journals()).toEqual([]);
      expect((await site.watermarks()).map(({ sealed }) => sealed)).toEqual([1]);
    });

    test("settles what is under way", async () => {
      const a = await site.start();
      const held = holdUp("hot.commit");
      a.guard.intercept = held.intercept;
      const underWay = a.take(...clicks("u", 10));
      await nextTurn();
      const more = a.take(...clicks("v", 10));
      const stopping = a.stop();
      held.letGo();
      await Promise.all([underWay, more, stopping]);
      await site.expectStored([...clicks("u", 10), ...clicks("v", 10)]);
    });

    test("with the cold store away: the backlog stays in the journal, and the next one flushes it", async () => {
      const a = await site.start();
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 30));
      await a.stop();
      expect(a.log.has("it is in the journal")).toBe(true);
      expect(await site.journals()).toHaveLength(1);
      const b = await site.start({ leaseMs: 200 });
      await site.expectStored(clicks("u", 30));
      await b.stop();
      await waitFor("its journal to be gone", async () => (await site.journals()).length === 0);
    });

    test(
      "with the hot store gone silent: ends in time, answers all, and lets the stores alone afterwards",
      async () => {
        const a = await site.start();
        let calls = 0;
        a.guard.intercept = async (call) => {
          calls += 1;
          if (call.store === "hot") throw new HotUnavailableError("no answer", true);
          return await call.proceed();
        };
        const outcomes = a.submit(...clicks("u", 3));
        await a.stop();
        expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(3).fill("hot_store_away"));
        const callsAtStop = calls;
        // Longer than any pause between two attempts.
        const until = performance.now() + 1_000;
        await waitFor("some time to pass", () => performance.now() > until);
        expect(calls).toBe(callsAtStop);
        expect(await a.submit(click("late"))).toEqual([{ reason: "shutting_down", retryAfterS: 1 }]);
      },
      SLOW_TEST_MS,
    );

    test(
      "leaves nothing behind that keeps the process alive",
      async () => {
        const script = `
        const [root, places, user] = process.argv.slice(1);
        const { createStores } = await import(root + "/src/store/open.ts");
        const { Pipeline } = await import(root + "/src/pipeline/pipeline.ts");
        const { Metrics } = await import(root + "/src/runtime/metrics.ts");
        const { systemClock } = await import(root + "/src/runtime/clock.ts");
        const settings = { flushIntervalMs: 10, flushMaxEvents: 100, ringCapacityEvents: 100, hotHours: 24,
          journalMaxEvents: 1000, leaseMs: 5000, maxStreams: 100,
          retentionDays: undefined, aggregateRetentionDays: undefined };
        const { hotShards, cold } = createStores({ ...settings, ...JSON.parse(places) }, Date.now);
        const log = { info() {}, warn() {}, error() {} };
        const parts = { hotShards, cold, metrics: new Metrics(), log, clock: systemClock(), settings };
        const pipeline = new Pipeline(parts);
        await Promise.all(hotShards.map((hot) => hot.open()));
        await pipeline.start();
        const refusal = await pipeline.submit({ stream: "site-1", at: ${NOON}, kind: "click", user });
        await pipeline.stop();
        await Promise.all([...hotShards, cold].map((store) => store.close()));
        if (refusal !== undefined) process.exit(1);`;
        const places = JSON.stringify(site.places);
        const child = Bun.spawn([process.execPath, "-e", script, PROJECT_ROOT, places, "u"], {
          stderr: "inherit",
        });
        try {
          await waitFor("the process to end by itself", () => child.exitCode !== null, { timeoutMs: 20_000 });
        } finally {
          child.kill("SIGKILL");
        }
        expect(child.exitCode).toBe(0);
        await site.expectStored([click("u")]);
      },
      SLOW_TEST_MS,
    );
  });

  describe("restart", () => {
    test("finds everything again after an orderly stop", async () => {
      const events = [
        ...clicks("u", 40),
        impression("v", NOON - 2 * HOUR_MS),
        impression("w", NOON, "site-2"),
      ];
      const a = await site.start();
      await a.take(...events);
      await a.stop();
      const b = await site.start();
      await expectReads(b, events);
      await b.take(click("later"));
      await expectReads(b, [...events, click("later")]);
      await site.expectStored([...events, click("later")]);
    });

    test("finds everything again after a kill, at any stage of the flush", async () => {
      const taken: Event[] = [];
      const stages: Interceptor[] = [
        flushesFail,
        onMethod("cold.flush", async (call) => {
          await call.proceed();
          throw unavailable("cold");
        }),
        onMethod("hot.trimJournal", async () => {
          throw unavailable("hot");
        }),
        (call) => call.proceed(),
      ];
      for (const [i, stage] of stages.entries()) {
        const a = await site.start({ leaseMs: 200 });
        a.guard.intercept = stage;
        const events = clicks(`stage-${i}`, 20);
        await a.take(...events);
        taken.push(...events);
        await expectReads(a, taken);
        site.kill(a);
      }
      const last = await site.start({ leaseMs: 200 });
      await expectReads(last, taken);
      await site.expectStored(taken);
      await last.drained();
      await expectReads(last, taken);
    });

    test("a batch under way at the kill counts once or not; sent again under its ids, once", async () => {
      const sent: Event[] = [];
      for (const isApplied of [true, false]) {
        const a = await site.start({ leaseMs: 200 });
        const reached = Promise.withResolvers<void>();
        a.guard.intercept = onMethod("hot.commit", async (call) => {
          if (isApplied) await call.proceed();
          reached.resolve();
          return await new Promise(() => {});
        });
        const events = Array.from({ length: 5 }, (_, i) => named(`${isApplied} ${i}`));
        void a.submit(...events);
        await reached.promise;
        site.kill(a);
        sent.push(...events);
        const b = await site.start({ leaseMs: 200 });
        await b.takeInTheEnd(...events);
        await expectReads(b, sent);
        await b.stop();
      }
      await site.start({ leaseMs: 200 });
      await site.expectStored(sent);
    });
  });

  describe("hours", () => {
    async function statusInHot(a: Instance, at: number): Promise<string> {
      const reads = await a.stores.hot.read([hourAt(at)]);
      return reads === "unborn" ? reads : reads[0]!.status;
    }

    test("an hour leaves the hot store when it is too old, and reads the same as before", async () => {
      const a = await site.start({ hotHours: 3 });
      const events = [...clicks("u", 1_000), ...clicks("u", 500), impression("v")];
      await a.take(...events);
      await a.drained();
      await waitFor("the journal to be trimmed", async () => {
        return (await a.stores.hot.readJournal(a.pipeline.writer!, 0, ALL)).length === 0;
      });
      const before = await a.read(hourAt(NOON));
      expect(before).toEqual(answerOf(events));
      site.clock.ms = NOON + 3 * HOUR_MS - 1;
      expect(await a.pipeline.retire()).toBe(0);
      expect(await statusInHot(a, NOON)).toBe("present");
      site.clock.ms = NOON + 3 * HOUR_MS;
      expect(await a.pipeline.retire()).toBe(1);
      expect(await statusInHot(a, NOON)).toBe("absent");
      expect(await a.read(hourAt(NOON))).toEqual(before);
      await site.expectStored(events);
    });

    test("an hour whose events are not all flushed stays", async () => {
      const a = await site.start({ hotHours: 1 });
      await a.take(click("flushed"));
      await a.drained();
      a.guard.intercept = flushesFail;
      await a.take(click("not flushed"));
      site.clock.advance(DAY_MS);
      expect(await a.pipeline.retire()).toBe(0);
      await expectReads(a, [click("flushed"), click("not flushed")]);
      a.guard.intercept = undefined;
      await a.drained();
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      await expectReads(a, [click("flushed"), click("not flushed")]);
    });

    test("a late event joins the whole of its hour", async () => {
      const a = await site.start({ hotHours: 1 });
      const events = [...clicks("u", 100), impression("v")];
      await a.take(...events);
      await a.drained();
      site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      await a.take(click("late", NOON + 1), click("u-0", NOON + 2), click("now", site.clock.ms));
      events.push(click("late", NOON + 1), click("u-0", NOON + 2), click("now", site.clock.ms));
      expect(await statusInHot(a, NOON)).toBe("present");
      await expectReads(a, events);
      await site.expectStored(events);
      await waitFor("the hour to be retired again", async () => (await a.pipeline.retire()) === 1);
      await expectReads(a, events);
    });

    test("a late event for an hour that was always empty", async () => {
      const a = await site.start({ hotHours: 1 });
      await a.take(click("now"));
      await a.drained();
      site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      const late = click("late", NOON - 10 * HOUR_MS);
      expect(await a.read(hourAt(late.at))).toEqual(answerOf([]));
      await a.take(late);
      await expectReads(a, [late, click("now")]);
      await site.expectStored([late, click("now")]);
    });

    test("late events, retirements and reads at once: every read is complete", async () => {
      const a = await site.start({ hotHours: 1 });
      const taken = clicks("u", 20);
      await a.take(...taken);
      await a.drained();
      site.clock.advance(DAY_MS);
      let isOver = false;
      const retire = async () => {
        // Not all the time, or no hour would be here for long enough to be added to.
        for (; !isOver; await nextTurn(10)) await a.pipeline.retire();
      };
      const read = async () => {
        for (; !isOver; await nextTurn()) {
          const least = taken.length;
          const { clicks: seen } = await a.read(hourAt(NOON));
          expect(seen).toBeGreaterThanOrEqual(least);
        }
      };
      const others = [retire(), read(), read()];
      for (const event of clicks("late", 60)) {
        await a.take(event);
        taken.push(event);
      }
      isOver = true;
      await Promise.all(others);
      await expectReads(a, taken);
      await site.expectStored(taken);
    });

    test("an hour that was retired while it was fetched is fetched anew", async () => {
      const a = await site.start({ hotHours: 1 });
      await a.take(click("u"), click("v", NOON - HOUR_MS));
      await a.drained();
      site.clock.advance(DAY_MS);
      await waitFor("both hours to be retired", async () => {
        await a.pipeline.retire();
        return (
          (await statusInHot(a, NOON)) === "absent" && (await statusInHot(a, NOON - HOUR_MS)) === "absent"
        );
      });
      let reads = 0;
      a.guard.intercept = onMethod("cold.read", async (call) => {
        const found = await call.proceed();
        reads += 1;
        if (reads > 1) return found;
        // Between the two, another late event comes and goes again, here and in the cold store.
        await a.take(click("w", NOON - HOUR_MS));
        await a.drained();
        await waitFor("a retirement", async () => (await a.pipeline.retire()) === 1);
        return found;
      });
      await a.take(click("late"));
      expect(reads).toBe(3);
      await expectReads(a, [click("u"), click("late")]);
    });

    test("with the cold store away, a late event is refused, and holds up nobody", async () => {
      const a = await site.start({ hotHours: 1 });
      await a.take(click("u"));
      await a.drained();
      site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      a.guard.intercept = coldStoreAway;
      const outcomes = await a.submit(click("late"), click("now", site.clock.ms), click("late too"));
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual([
        "cold_store_away",
        undefined,
        "cold_store_away",
      ]);
      expect(a.pipeline.ledger.refused.cold_store_away).toBe(2);
      expect(a.pipeline.refusal).toBeUndefined();
      a.guard.intercept = undefined;
      await a.take(click("late"));
      await expectReads(a, [click("u"), click("late"), click("now", site.clock.ms)]);
      await site.expectStored([click("u"), click("late"), click("now", site.clock.ms)]);
    });

    test("an hour ends with its last millisecond", async () => {
      const a = await site.start();
      const turn = NOON + HOUR_MS;
      site.clock.ms = turn;
      const before = [click("u", turn - 1), click("v", NOON)];
      const after = [click("u", turn), click("w", turn + 1)];
      await a.take(...before, ...after);
      expect(await a.read(hourAt(turn - 1))).toEqual(answerOf(before));
      expect(await a.read(hourAt(turn))).toEqual(answerOf(after));
      await site.expectStored([...before, ...after]);
    });

    test("a new hour begins while the cold store is away", async () => {
      const a = await site.start({ hotHours: 2 });
      const taken = [click("u")];
      await a.take(...taken);
      await a.drained();
      a.guard.intercept = coldStoreAway;
      for (let hour = 1; hour <= 4; hour++) {
        site.clock.advance(HOUR_MS);
        await a.pipeline.retire();
        const events = clicks(`hour-${hour}`, 10, site.clock.ms);
        await a.take(...events);
        taken.push(...events);
        await expectReads(a, events);
      }
      a.guard.intercept = undefined;
      await a.drained();
      await expectReads(a, taken);
      await site.expectStored(taken);
    });

    test("the latest event there can be is not taken for old, also after a restart", async () => {
      const events = [click("far", NOON + DAY_MS), click("now")];
      const a = await site.start({ hotHours: 1 });
      await a.take(...events);
      await expectReads(a, events);
      await a.drained();
      await waitFor("nothing to be left in the journal", async () => {
        return (await a.stores.hot.readJournal(a.pipeline.writer!, 0, ALL)).length === 0;
      });
      expect(await a.pipeline.retire()).toBe(0);
      await a.stop();
      const b = await site.start({ hotHours: 1 });
      // Hours before it are absent now, not empty: they are fetched, however new they are.
      const later = [click("soon", NOON + HOUR_MS), click("far too", NOON + DAY_MS)];
      await b.take(...later);
      await expectReads(b, [...events, ...later]);
      await site.expectStored([...events, ...later]);
    });

    test("the first millisecond of all time", async () => {
      const a = await site.start();
      await a.take(click("u", 0));
      await expectReads(a, [click("u", 0)]);
      await site.expectStored([click("u", 0)]);
    });
  });

  describe("bounds", () => {
    /** What each flush was given, and what was read back from the journal for it. */
    function watch(a: Instance): { flushed: number[]; readBack: number[] } {
      const seen: { flushed: number[]; readBack: number[] } = { flushed: [], readBack: [] };
      a.guard.intercept = async ({ method, args, proceed }) => {
        const answer = await proceed();
        const seqs = (batches: unknown) => (batches as JournaledBatch[]).map(({ seq }) => seq);
        if (method === "flush") seen.flushed.push(...seqs(args[1]));
        if (method === "readJournal") seen.readBack.push(...seqs(answer));
        return answer;
      };
      return seen;
    }

    test("what the ring cannot hold comes back from the journal, each event once", async () => {
      const a = await site.start({ ringCapacityEvents: 10, flushMaxEvents: 40 });
      a.guard.intercept = flushesFail;
      const taken: Event[] = [];
      for (let i = 0; i < 60; i++) {
        const events = clicks(`batch-${i}`, 1 + (i % 4));
        await a.take(...events);
        taken.push(...events);
      }
      await expectReads(a, taken);
      const seen = watch(a);
      await a.drained();
      await site.expectStored(taken);
      expect(seen.flushed).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
      // The ring held the first four batches, of 1 + 2 + 3 + 4 events.
      expect(new Set(seen.readBack).size).toBeGreaterThanOrEqual(56);
      await expectLedger(a, taken.length);
    });

    test("the ring is used again once the backlog is gone", async () => {
      const a = await site.start({ ringCapacityEvents: 10 });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("spilled", 100));
      a.guard.intercept = undefined;
      await a.drained();
      const seen = watch(a);
      for (let i = 0; i < 20; i++) {
        await a.take(click(`u-${i}`));
        await a.drained();
      }
      expect(seen.readBack).toEqual([]);
      expect(seen.flushed).toHaveLength(20);
      await site.expectStored([...clicks("spilled", 100), ...clicks("u", 20)]);
    });

    test("commits, flushes and spills at once", async () => {
      const a = await site.start({ ringCapacityEvents: 15, flushMaxEvents: 10, flushIntervalMs: 10 });
      const taken: Event[] = [];
      const rounds = async (name: string) => {
        for (let i = 0; i < 100; i++) {
          const events = clicks(`${name}-${i}`, 1 + (i % 6));
          await a.take(...events);
          taken.push(...events);
        }
      };
      await Promise.all([rounds("a"), rounds("b"), rounds("c")]);
      await expectReads(a, taken);
      await a.drained();
      await site.expectStored(taken);
      await expectLedger(a, taken.length);
    });

    test("a spill is found by the next one after a kill", async () => {
      const a = await site.start({ ringCapacityEvents: 5, leaseMs: 200 });
      a.guard.intercept = flushesFail;
      const taken: Event[] = [];
      for (let i = 0; i < 20; i++) {
        await a.take(...clicks(`batch-${i}`, 3));
        taken.push(...clicks(`batch-${i}`, 3));
      }
      site.kill(a);
      const b = await site.start({ leaseMs: 200, flushMaxEvents: 10 });
      await site.expectStored(taken);
      await expectReads(b, taken);
    });

    test("a full journal refuses, says for how long, and takes events again when it has drained", async () => {
      const a = await site.start({ journalMaxEvents: 10 });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 10));
      await waitFor("a flush to fail", () => a.pipeline.flushError);
      const waits: number[] = [];
      for (const ageMs of [0, 50_000, 200_000, 10 * HOUR_MS, 100 * DAY_MS]) {
        site.clock.ms = NOON + ageMs;
        const [refusal] = (await a.submit(click("too many"))) as [Refusal];
        expect(refusal.reason).toBe("journal_full");
        waits.push(refusal.retryAfterS);
      }
      expect(waits).toEqual([1, 5, 20, 60, 60]);
      expect(a.pipeline.ledger.refused.journal_full).toBe(5);
      await expectReads(a, clicks("u", 10));
      a.guard.intercept = undefined;
      await a.drained();
      await a.take(click("later"));
      await site.expectStored([...clicks("u", 10), click("later")]);
    });

    test("a journal that is full of what drains fast refuses for a second", async () => {
      const a = await site.start({ journalMaxEvents: 10, flushIntervalMs: NEVER_MS });
      site.clock.ms = NOON - DAY_MS;
      await a.take(...clicks("u", 10, site.clock.ms));
      expect(await a.submit(click("too many"))).toEqual([{ reason: "journal_full", retryAfterS: 1 }]);
    });
  });

  describe("reads", () => {
    test("reads of one hour that come at once are one question", async () => {
      const a = await site.start();
      await a.take(...clicks("u", 10));
      const questions: number[] = [];
      a.guard.intercept = onMethod("hot.read", (call) => {
        questions.push((call.args[0] as unknown[]).length);
        return call.proceed();
      });
      const keys = [hourAt(NOON), hourAt(NOON), hourAt(NOON + HOUR_MS), hourAt(NOON)];
      const answers = await Promise.all(keys.map((key) => a.read(key)));
      expect(answers.map(({ clicks: seen }) => seen)).toEqual([10, 10, 0, 10]);
      expect(questions).toEqual([2]);
    });

    test("with the hot store away, answers come from the cold store and say so", async () => {
      const a = await site.start();
      await a.take(...clicks("u", 10));
      await a.drained();
      a.guard.intercept = onMethod("hot.read", async () => {
        throw unavailable("hot");
      });
      expect(await a.read(hourAt(NOON))).toEqual(answerOf(clicks("u", 10), true));
      expect(await a.read(hourAt(NOON + HOUR_MS))).toEqual(answerOf([], true));
      a.guard.intercept = async (call) => {
        throw unavailable(call.store);
      };
      await expect(a.read(hourAt(NOON))).rejects.toThrow("the test took it away");
    });
  });

  // Embedded there is nobody whose journal could be adopted while this process runs.
  if (mode.name === "embedded") return;

  describe("adoption", () => {
    test(
      "a stop does not wait for the end of a long journal",
      async () => {
        const a = await site.start({ leaseMs: 200 });
        a.guard.intercept = flushesFail;
        for (const event of clicks("u", 40)) await a.take(event);
        site.kill(a);
        const held = holdUp("cold.flush");
        const b = await site.start({ leaseMs: 200, flushMaxEvents: 1 });
        let flushes = 0;
        b.guard.intercept = async (call) => {
          if (call.method === "flush") flushes += 1;
          return await (flushes > 2 ? held.intercept : (other: typeof call) => other.proceed())(call);
        };
        await waitFor("the adoption to be under way", () => flushes > 2);
        const stopping = b.stop();
        held.letGo();
        await stopping;
        expect(await site.cold.countEvents()).toBeLessThan(40);
        await site.start({ leaseMs: 200 });
        await site.expectStored(clicks("u", 40));
      },
      SLOW_TEST_MS,
    );
  });
}
