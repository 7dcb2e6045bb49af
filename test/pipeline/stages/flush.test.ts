/** Flushes, and what an orderly stop and a restart leave behind. */
import { describe, expect, test } from "bun:test";
import { countEvents, type Event, HOUR_MS, type JournaledBatch } from "../../../src/domain/event.ts";
import { HotUnavailableError } from "../../../src/store/hot.ts";
import {
  click,
  clicks,
  expectReads,
  type Interceptor,
  impression,
  NOON,
  onMethod,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { PROJECT_ROOT } from "../../harness/project/project-files.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { ALL, describePipelines, flushesFail, holdUp, NEVER_MS, named, nextTurn } from "./stages-setup.ts";

describePipelines((its, mode) => {
  describe("flush", () => {
    test("by the timer, however little there is", async () => {
      const a = await its.site.start({ flushIntervalMs: 20, flushMaxEvents: 100_000 });
      await a.take(click("u"));
      await its.site.expectStored([click("u")]);
      await a.drained();
      await its.expectLedger(a, 1);
    });

    test("by size, long before the timer", async () => {
      const a = await its.site.start({ flushIntervalMs: NEVER_MS, flushMaxEvents: 10 });
      await a.take(...clicks("u", 9));
      await its.expectLedger(a, 9);
      expect(a.pipeline.ledger.pending).toBe(9);
      await a.take(click("the tenth"));
      await a.drained();
      await its.site.expectStored([...clicks("u", 9), click("the tenth")]);
    });

    test("less than a full transaction waits for the timer", async () => {
      const held = holdUp("cold.flush");
      const a = await its.site.start({ flushIntervalMs: NEVER_MS, flushMaxEvents: 10 });
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
      await its.expectLedger(a, 20);
      expect(sizes).toEqual([10, 10]);
    });

    test("a long backlog goes in transactions of a bounded size", async () => {
      const a = await its.site.start({ flushMaxEvents: 100 });
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
      expect(await its.site.cold.countEvents()).toBe(1_000);
    });

    test("the books agree with the stores at every step", async () => {
      const a = await its.site.start();
      await its.expectLedger(a, 0);
      await a.take(...clicks("a", 5));
      await a.drained();
      await its.expectLedger(a, 5);
      a.guard.intercept = flushesFail;
      await a.take(...clicks("b", 7), named("x"), named("x"));
      await its.expectLedger(a, 13);
      expect(a.pipeline.ledger.pending).toBe(8);
      its.site.clock.ms += 1_500;
      expect(a.pipeline.oldestPendingMs).toBe(1_500);
      a.guard.intercept = undefined;
      await a.drained();
      await its.expectLedger(a, 13);
      expect(a.pipeline.oldestPendingMs).toBe(0);
      expect(a.pipeline.ledger.duplicates).toBe(1);
    });

    test("a failing flush is reported until it works again", async () => {
      const a = await its.site.start();
      a.guard.intercept = flushesFail;
      await a.take(click("u"));
      await waitFor("the failure to be told of", () => a.pipeline.flushError);
      a.guard.intercept = undefined;
      await a.drained();
      await waitFor("the failure to be over", () => a.pipeline.flushError === undefined);
      expect(a.log.has("flush failed")).toBe(true);
    });

    test("a failing trim is reported until it works again, although all is flushed", async () => {
      const a = await its.site.start();
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
      const a = await its.site.start();
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
    test("flushes what is left, removes its journal, and accepts nothing more", async () => {
      const a = await its.site.start({ flushIntervalMs: NEVER_MS, flushMaxEvents: 100_000 });
      await a.take(...clicks("u", 30));
      await a.pipeline.stop();
      expect(await a.submit(click("late"))).toEqual([{ reason: "shutting_down", retryAfterS: 1 }]);
      await a.stop();
      await its.site.expectStored(clicks("u", 30));
      expect(await its.site.journals()).toEqual([]);
      expect((await its.site.watermarks()).map(({ sealed }) => sealed)).toEqual([1]);
    });

    test("settles what is under way", async () => {
      const a = await its.site.start();
      const held = holdUp("hot.commit");
      a.guard.intercept = held.intercept;
      const underWay = a.take(...clicks("u", 10));
      await nextTurn();
      const more = a.take(...clicks("v", 10));
      const stopping = a.stop();
      held.letGo();
      await Promise.all([underWay, more, stopping]);
      await its.site.expectStored([...clicks("u", 10), ...clicks("v", 10)]);
    });

    test("with the cold store unavailable: the backlog stays in the journal, and the next one flushes it", async () => {
      const a = await its.site.start();
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 30));
      await a.stop();
      expect(a.log.has("it is in the journal")).toBe(true);
      expect(await its.site.journals()).toHaveLength(1);
      const b = await its.site.start({ leaseMs: 200 });
      await its.site.expectStored(clicks("u", 30));
      await b.stop();
      await waitFor("its journal to be gone", async () => (await its.site.journals()).length === 0);
    });

    test("with the hot store silent: ends in time, answers all, and makes no further calls to the stores", async () => {
      const a = await its.site.start();
      let calls = 0;
      a.guard.intercept = async (call) => {
        calls += 1;
        if (call.store === "hot") throw new HotUnavailableError("no answer", true);
        return await call.proceed();
      };
      const outcomes = a.submit(...clicks("u", 3));
      await a.stop();
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(3).fill("outcome_unknown"));
      const callsAtStop = calls;
      // Longer than any pause between two attempts.
      const until = performance.now() + 1_000;
      await waitFor("some time to pass", () => performance.now() > until);
      expect(calls).toBe(callsAtStop);
      expect(await a.submit(click("late"))).toEqual([{ reason: "shutting_down", retryAfterS: 1 }]);
    });

    test("leaves nothing behind that keeps the process alive", async () => {
      const script = `
        const [root, places, user] = process.argv.slice(1);
        const { createStores } = await import(root + "/src/store/open.ts");
        const { Pipeline } = await import(root + "/src/pipeline/pipeline.ts");
        const { Metrics } = await import(root + "/src/runtime/metrics.ts");
        const { systemClock } = await import(root + "/src/runtime/clock.ts");
        const settings = { flushIntervalMs: 10, flushMaxEvents: 100, ringCapacityEvents: 100, hotHours: 24,
          journalMaxEvents: 1000, leaseMs: 5000, maxStreams: 100, outcomeTimeoutMs: 10000, commitIntervalUs: 1700,
          retentionDays: undefined, aggregateRetentionDays: undefined };
        const { hotShards, cold } = await createStores({ ...settings, ...JSON.parse(places) }, Date.now);
        const log = { info() {}, warn() {}, error() {} };
        const parts = { hotShards, cold, metrics: new Metrics(), log, clock: systemClock(), settings,
          onBrokenInvariant(error) { throw error; } };
        const pipeline = new Pipeline(parts);
        await Promise.all(hotShards.map((hot) => hot.open()));
        await pipeline.start();
        const refusal = await pipeline.submit({ stream: "site-1", at: ${NOON}, kind: "click", user });
        await pipeline.stop();
        await Promise.all([...hotShards, cold].map((store) => store.close()));
        if (refusal !== undefined) process.exit(1);`;
      const places = JSON.stringify(its.site.places);
      const child = Bun.spawn([process.execPath, "-e", script, PROJECT_ROOT, places, "u"], {
        stderr: "inherit",
      });
      try {
        await waitFor("the process to end by itself", () => child.exitCode !== null);
      } finally {
        child.kill("SIGKILL");
      }
      expect(child.exitCode).toBe(0);
      await its.site.expectStored([click("u")]);
    });
  });

  describe("restart", () => {
    test("finds everything again after an orderly stop", async () => {
      const events = [...clicks("u", 40), impression("v", NOON - 2 * HOUR_MS), impression("w", NOON, "site-2")];
      const a = await its.site.start();
      await a.take(...events);
      await a.stop();
      const b = await its.site.start();
      await expectReads(b, events);
      await b.take(click("later"));
      await expectReads(b, [...events, click("later")]);
      await its.site.expectStored([...events, click("later")]);
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
        const a = await its.site.start({ leaseMs: 200 });
        a.guard.intercept = stage;
        const events = clicks(`stage-${i}`, 20);
        await a.take(...events);
        taken.push(...events);
        await expectReads(a, taken);
        its.site.kill(a);
      }
      const last = await its.site.start({ leaseMs: 200 });
      await expectReads(last, taken);
      await its.site.expectStored(taken);
      await last.drained();
      await expectReads(last, taken);
    });

    test("a batch in flight at the kill counts at most once; resent under its ids, exactly once", async () => {
      const sent: Event[] = [];
      for (const isApplied of [true, false]) {
        const a = await its.site.start({ leaseMs: 200 });
        const reached = Promise.withResolvers<void>();
        a.guard.intercept = onMethod("hot.commit", async (call) => {
          if (isApplied) await call.proceed();
          reached.resolve();
          return await new Promise(() => {});
        });
        const events = Array.from({ length: 5 }, (_, i) => named(`${isApplied} ${i}`));
        void a.submit(...events);
        await reached.promise;
        its.site.kill(a);
        sent.push(...events);
        const b = await its.site.start({ leaseMs: 200 });
        await b.takeInTheEnd(...events);
        await expectReads(b, sent);
        await b.stop();
      }
      await its.site.start({ leaseMs: 200 });
      await its.site.expectStored(sent);
    });
  });

  // Embedded there is nobody whose journal could be adopted while this process runs.
  if (mode.name === "embedded") return;

  describe("adoption", () => {
    test("a stop does not wait for the end of a long journal", async () => {
      const a = await its.site.start({ leaseMs: 200 });
      a.guard.intercept = flushesFail;
      for (const event of clicks("u", 40)) await a.take(event);
      its.site.kill(a);
      const held = holdUp("cold.flush");
      const b = await its.site.start({ leaseMs: 200, flushMaxEvents: 1 });
      let flushes = 0;
      b.guard.intercept = async (call) => {
        if (call.method === "flush") flushes += 1;
        return await (flushes > 2 ? held.intercept : (other: typeof call) => other.proceed())(call);
      };
      await waitFor("the adoption to be under way", () => flushes > 2);
      const stopping = b.stop();
      held.letGo();
      await stopping;
      expect(await its.site.cold.countEvents()).toBeLessThan(40);
      await its.site.start({ leaseMs: 200 });
      await its.site.expectStored(clicks("u", 40));
    });
  });
});
