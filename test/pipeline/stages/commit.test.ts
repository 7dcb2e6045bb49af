/** Accepting events: group commit, ids, bounds. */

import { describe, expect, test } from "bun:test";
import { DAY_MS, type Event, HOUR_MS, type JournaledBatch } from "../../../src/domain/event.ts";
import type { Refusal } from "../../../src/domain/refusal-reasons.ts";
import {
  answerOf,
  click,
  clicks,
  expectReads,
  hourAt,
  type Instance,
  impression,
  NOON,
  onMethod,
  STREAM,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { ALL, describePipelines, flushesFail, holdUp, NEVER_MS, named, nextTurn } from "./stages-setup.ts";

describePipelines((its) => {
  describe("group commit", () => {
    test("events of one tick are one batch", async () => {
      const a = await its.site.start();
      await a.take(...clicks("u", 50), impression("v", NOON + HOUR_MS, "site-2"));
      await a.drained();
      expect(await its.batchCounts()).toEqual([1]);
      await its.site.expectStored([...clicks("u", 50), impression("v", NOON + HOUR_MS, "site-2")]);
    });

    test("events that arrive during a commit are the next batch", async () => {
      const a = await its.site.start();
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
      expect(await its.batchCounts()).toEqual([2]);
      await its.site.expectStored([click("first"), ...clicks("u", 20)]);
    });

    test("a batch has a bound: the rest of the tick is the next one", async () => {
      const a = await its.site.start();
      const sizes: number[] = [];
      a.guard.intercept = onMethod("hot.commit", (call) => {
        sizes.push((call.args[2] as JournaledBatch).eventCount);
        return call.proceed();
      });
      await a.take(...clicks("u", 4_500));
      expect(sizes).toEqual([2_000, 2_000, 500]);
      await its.site.expectStored(clicks("u", 4_500));
    });

    test("every acknowledged event is in every later read", async () => {
      const a = await its.site.start();
      const taken: Event[] = [];
      for (let i = 0; i < 100; i++) {
        const event = i % 3 === 0 ? click(`u-${i % 7}`) : impression(`u-${i}`);
        await a.take(event);
        taken.push(event);
        expect(await a.read(hourAt(NOON))).toEqual(answerOf(taken));
      }
      await its.site.expectStored(taken);
    });

    test("each hour and stream of a batch is counted separately", async () => {
      const a = await its.site.start();
      const events: Event[] = [];
      for (let i = 0; i < 60; i++) {
        const kind = i % 4 === 0 ? click : impression;
        events.push(kind(`u-${i % 11}`, NOON + (i % 3) * HOUR_MS + i, `site-${i % 5}`));
      }
      await a.take(...events);
      await expectReads(a, events);
      expect(await a.read(hourAt(NOON, "site-none"))).toEqual(answerOf([]));
      await its.site.expectStored(events);
    });

    test("more events than may wait are refused, and none of those that wait", async () => {
      its.site.clock.slowedBy = 30;
      const a = await its.site.start();
      const held = holdUp("hot.commit");
      a.guard.intercept = held.intercept;
      const waiting = a.submit(...clicks("u", 20_000));
      const [refusal] = await a.submit(click("too many"));
      expect(refusal).toEqual({ reason: "overloaded", retryAfterS: 1 });
      held.letGo();
      expect((await waiting).filter((outcome) => outcome !== undefined)).toEqual([]);
      await a.take(click("later"));
      await a.drained();
      expect(await its.site.cold.countEvents()).toBe(20_001);
    });

    test("nothing is accepted before the start", async () => {
      const a = its.site.create();
      expect(await a.submit(click("u"))).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
      expect(a.pipeline.ledger.refused.hot_store_away).toBe(1);
    });
  });

  describe("ids", () => {
    test("an id counts once, and is answered as stored however often it comes", async () => {
      const a = await its.site.start();
      await a.take(named("x"), named("y"), named("x"));
      await a.take(named("x"));
      await a.take(named("y"), click("other"), named("x"));
      const { ledger } = a.pipeline;
      expect({ accepted: ledger.accepted, duplicates: ledger.duplicates }).toEqual({
        accepted: 3,
        duplicates: 4,
      });
      await expectReads(a, [named("x"), named("y"), click("other")]);
      await its.site.expectStored([named("x"), named("y"), click("other")]);
    });

    test("of two events with one id the first counts, also its user", async () => {
      const a = await its.site.start();
      await a.take(named("x", "first"));
      await a.take(impression("second", NOON, STREAM, "x"));
      await expectReads(a, [named("x", "first")]);
      await its.site.expectStored([named("x", "first")]);
    });

    test("an id is one of its stream", async () => {
      const a = await its.site.start();
      await a.take(named("x"), named("x", "u", NOON, "site-2"));
      await a.take(named("x", "u", NOON, "site-2"));
      await its.site.expectStored([named("x"), named("x", "u", NOON, "site-2")]);
    });

    test("an id is known after a restart, flushed or not, in order or not", async () => {
      const first = await its.site.start();
      await first.take(named("x"));
      await first.stop();
      const second = await its.site.start({}, undefined);
      second.guard.intercept = flushesFail;
      await second.take(named("x"), named("y"));
      its.site.kill(second);
      const third = await its.site.start({ leaseMs: 200 });
      await third.takeInTheEnd(named("x"), named("y"), named("z"));
      expect(third.pipeline.ledger.duplicates).toBe(2);
    });

    test("batches of duplicates alone pile up nowhere while the cold store is unavailable", async () => {
      const a = await its.site.start();
      a.guard.intercept = flushesFail;
      await a.take(named("x"));
      for (let i = 0; i < 100; i++) await a.take(named("x"));
      let flushedBatches = 0;
      a.guard.intercept = onMethod("cold.flush", (call) => {
        flushedBatches += (call.args[1] as JournaledBatch[]).length;
        return call.proceed();
      });
      await a.drained();
      await its.site.expectStored([named("x")]);
      expect(flushedBatches).toBe(1);
    });

    test("duplicates leave the journal although there is nothing to flush", async () => {
      const a = await its.site.start();
      await a.take(named("x"));
      await a.drained();
      await a.take(named("x"));
      its.site.clock.ms += 1_500;
      expect(a.pipeline.oldestPendingMs).toBe(0);
      const { writer } = a.pipeline;
      await waitFor("the journal to be trimmed", async () => {
        return (await a.stores.hot.readJournal(writer!, 0, ALL)).length === 0;
      });
    });

    test("so do those that come while a flush is under way", async () => {
      const held = holdUp("cold.flush");
      const a = await its.site.start();
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

  describe("bounds", () => {
    /** Records what each flush stores, and what was read back from the journal for it. */
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
      const a = await its.site.start({ ringCapacityEvents: 10, flushMaxEvents: 40 });
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
      await its.site.expectStored(taken);
      expect(seen.flushed).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
      // The ring held the first four batches, of 1 + 2 + 3 + 4 events.
      expect(new Set(seen.readBack).size).toBeGreaterThanOrEqual(56);
      await its.expectLedger(a, taken.length);
    });

    test("the ring is used again once the backlog has drained", async () => {
      const a = await its.site.start({ ringCapacityEvents: 10 });
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
      await its.site.expectStored([...clicks("spilled", 100), ...clicks("u", 20)]);
    });

    test("commits, flushes and spills at once", async () => {
      const a = await its.site.start({ ringCapacityEvents: 15, flushMaxEvents: 10, flushIntervalMs: 10 });
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
      await its.site.expectStored(taken);
      await its.expectLedger(a, taken.length);
    });

    test("a spill is found by the next one after a kill", async () => {
      const a = await its.site.start({ ringCapacityEvents: 5, leaseMs: 200 });
      a.guard.intercept = flushesFail;
      const taken: Event[] = [];
      for (let i = 0; i < 20; i++) {
        await a.take(...clicks(`batch-${i}`, 3));
        taken.push(...clicks(`batch-${i}`, 3));
      }
      its.site.kill(a);
      const b = await its.site.start({ leaseMs: 200, flushMaxEvents: 10 });
      await its.site.expectStored(taken);
      await expectReads(b, taken);
    });

    test("a full journal refuses, says for how long, and accepts events again when it has drained", async () => {
      const a = await its.site.start({ journalMaxEvents: 10 });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 10));
      await waitFor("a flush to fail", () => a.pipeline.flushError);
      const waits: number[] = [];
      for (const ageMs of [0, 50_000, 200_000, 10 * HOUR_MS, 100 * DAY_MS]) {
        its.site.clock.ms = NOON + ageMs;
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
      await its.site.expectStored([...clicks("u", 10), click("later")]);
    });

    test("a journal that is full of what drains fast refuses for a second", async () => {
      const a = await its.site.start({ journalMaxEvents: 10, flushIntervalMs: NEVER_MS });
      its.site.clock.ms = NOON - DAY_MS;
      await a.take(...clicks("u", 10, its.site.clock.ms));
      expect(await a.submit(click("too many"))).toEqual([{ reason: "journal_full", retryAfterS: 1 }]);
    });
  });
});
