/** Hours that age out, return and are read. */
import { describe, expect, test } from "bun:test";
import { DAY_MS, HOUR_MS } from "../../../src/domain/event.ts";
import { Steps } from "../../../src/domain/time-steps.ts";
import { TimeZone } from "../../../src/domain/time-zone.ts";
import { readCutHours } from "../../../src/pipeline/read/cut-hours.ts";
import { SeriesTally } from "../../../src/pipeline/read/series-tally.ts";
import {
  answerOf,
  click,
  clicks,
  coldStoreAway,
  expectReads,
  hourAt,
  type Instance,
  impression,
  NOON,
  onMethod,
  STREAM,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { ALL, describePipelines, flushesFail, nextTurn } from "./stages-setup.ts";

describePipelines((its) => {
  describe("hours", () => {
    async function statusInHot(a: Instance, at: number): Promise<string> {
      const reads = await a.stores.hot.read([hourAt(at)]);
      return reads === "uninitialized" ? reads : reads[0]!.status;
    }

    test("an hour leaves the hot store when it is too old, and reads the same as before", async () => {
      const a = await its.site.start({ hotHours: 3 });
      const events = [...clicks("u", 1_000), ...clicks("u", 500), impression("v")];
      await a.take(...events);
      await a.drained();
      await waitFor("the journal to be trimmed", async () => {
        return (await a.stores.hot.readJournal(a.pipeline.writer!, 0, ALL)).length === 0;
      });
      const before = await a.read(hourAt(NOON));
      expect(before).toEqual(answerOf(events));
      its.site.clock.ms = NOON + 3 * HOUR_MS - 1;
      expect(await a.pipeline.retire()).toBe(0);
      expect(await statusInHot(a, NOON)).toBe("present");
      its.site.clock.ms = NOON + 3 * HOUR_MS;
      expect(await a.pipeline.retire()).toBe(1);
      expect(await statusInHot(a, NOON)).toBe("absent");
      expect(await a.read(hourAt(NOON))).toEqual(before);
      await its.site.expectStored(events);
    });

    test("an hour whose events are not all flushed stays", async () => {
      const a = await its.site.start({ hotHours: 1 });
      await a.take(click("flushed"));
      await a.drained();
      a.guard.intercept = flushesFail;
      await a.take(click("not flushed"));
      its.site.clock.advance(DAY_MS);
      expect(await a.pipeline.retire()).toBe(0);
      await expectReads(a, [click("flushed"), click("not flushed")]);
      a.guard.intercept = undefined;
      await a.drained();
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      await expectReads(a, [click("flushed"), click("not flushed")]);
    });

    test("a late event joins the whole of its hour", async () => {
      const a = await its.site.start({ hotHours: 1 });
      const events = [...clicks("u", 100), impression("v")];
      await a.take(...events);
      await a.drained();
      its.site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      await a.take(click("late", NOON + 1), click("u-0", NOON + 2), click("now", its.site.clock.ms));
      events.push(click("late", NOON + 1), click("u-0", NOON + 2), click("now", its.site.clock.ms));
      expect(await statusInHot(a, NOON)).toBe("present");
      await expectReads(a, events);
      await its.site.expectStored(events);
      await waitFor("the hour to be retired again", async () => (await a.pipeline.retire()) === 1);
      await expectReads(a, events);
    });

    test("a late event for an hour that was always empty", async () => {
      const a = await its.site.start({ hotHours: 1 });
      await a.take(click("now"));
      await a.drained();
      its.site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      const late = click("late", NOON - 10 * HOUR_MS);
      expect(await a.read(hourAt(late.at))).toEqual(answerOf([]));
      await a.take(late);
      await expectReads(a, [late, click("now")]);
      await its.site.expectStored([late, click("now")]);
    });

    test("late events, retirements and reads at once: every read is complete", async () => {
      const a = await its.site.start({ hotHours: 1 });
      const taken = clicks("u", 20);
      await a.take(...taken);
      await a.drained();
      its.site.clock.advance(DAY_MS);
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
      await its.site.expectStored(taken);
    });

    test("an hour that was retired while it was fetched is fetched again", async () => {
      const a = await its.site.start({ hotHours: 1 });
      await a.take(click("u"), click("v", NOON - HOUR_MS));
      await a.drained();
      its.site.clock.advance(DAY_MS);
      await waitFor("both hours to be retired", async () => {
        await a.pipeline.retire();
        return (await statusInHot(a, NOON)) === "absent" && (await statusInHot(a, NOON - HOUR_MS)) === "absent";
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

    test("with the cold store unavailable, a late event is refused, and delays no other", async () => {
      const a = await its.site.start({ hotHours: 1 });
      await a.take(click("u"));
      await a.drained();
      its.site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      a.guard.intercept = coldStoreAway;
      const outcomes = await a.submit(click("late"), click("now", its.site.clock.ms), click("late too"));
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual(["cold_store_away", undefined, "cold_store_away"]);
      expect(a.pipeline.ledger.refused.cold_store_away).toBe(2);
      expect(a.pipeline.refusal).toBeUndefined();
      a.guard.intercept = undefined;
      await a.take(click("late"));
      await expectReads(a, [click("u"), click("late"), click("now", its.site.clock.ms)]);
      await its.site.expectStored([click("u"), click("late"), click("now", its.site.clock.ms)]);
    });

    test("an hour ends with its last millisecond", async () => {
      const a = await its.site.start();
      const turn = NOON + HOUR_MS;
      its.site.clock.ms = turn;
      const before = [click("u", turn - 1), click("v", NOON)];
      const after = [click("u", turn), click("w", turn + 1)];
      await a.take(...before, ...after);
      expect(await a.read(hourAt(turn - 1))).toEqual(answerOf(before));
      expect(await a.read(hourAt(turn))).toEqual(answerOf(after));
      await its.site.expectStored([...before, ...after]);
    });

    test("a new hour begins while the cold store is unavailable", async () => {
      const a = await its.site.start({ hotHours: 2 });
      const taken = [click("u")];
      await a.take(...taken);
      await a.drained();
      a.guard.intercept = coldStoreAway;
      for (let hour = 1; hour <= 4; hour++) {
        its.site.clock.advance(HOUR_MS);
        await a.pipeline.retire();
        const events = clicks(`hour-${hour}`, 10, its.site.clock.ms);
        await a.take(...events);
        taken.push(...events);
        await expectReads(a, events);
      }
      a.guard.intercept = undefined;
      await a.drained();
      await expectReads(a, taken);
      await its.site.expectStored(taken);
    });

    test("the latest possible event is not considered old, also after a restart", async () => {
      const events = [click("far", NOON + DAY_MS), click("now")];
      const a = await its.site.start({ hotHours: 1 });
      await a.take(...events);
      await expectReads(a, events);
      await a.drained();
      await waitFor("nothing to be left in the journal", async () => {
        return (await a.stores.hot.readJournal(a.pipeline.writer!, 0, ALL)).length === 0;
      });
      expect(await a.pipeline.retire()).toBe(0);
      await a.stop();
      const b = await its.site.start({ hotHours: 1 });
      // Hours before it are absent now, not empty: they are fetched, however new they are.
      const later = [click("soon", NOON + HOUR_MS), click("far too", NOON + DAY_MS)];
      await b.take(...later);
      await expectReads(b, [...events, ...later]);
      await its.site.expectStored([...events, ...later]);
    });

    test("the first millisecond of all time", async () => {
      const a = await its.site.start();
      await a.take(click("u", 0));
      await expectReads(a, [click("u", 0)]);
      await its.site.expectStored([click("u", 0)]);
    });
  });

  describe("reads", () => {
    const HALF_MS = HOUR_MS / 2;

    /** The hours around noon on the clocks of a zone that is not whole hours from UTC. */
    async function readCutHoursAt({ pipeline }: Instance) {
      const period = { from: NOON - HALF_MS, to: NOON + HALF_MS };
      const steps = new Steps({ ...period, step: "hour", zone: TimeZone.named("Asia/Kolkata")! });
      const streams = { text: STREAM, isPrefix: false };
      const { tally } = await pipeline.ranges.read({ ...steps.hours, streams }, () => new SeriesTally(steps));
      return await readCutHours(pipeline.ranges, steps, streams, tally);
    }

    test("of rows do not take an event that arrives meanwhile for one that is missing", async () => {
      const a = await its.site.start();
      await a.take(click("before"));
      a.guard.intercept = onMethod("cold.readUsers", async (call) => {
        const rows = await call.proceed();
        await a.take(click("meanwhile"));
        return rows;
      });
      expect(await readCutHoursAt(a)).toMatchObject({ lacks: undefined, total: { clicks: 1 } });
    });

    test("of rows say that events are missing which are not flushed yet", async () => {
      const a = await its.site.start();
      await a.take(click("flushed"));
      await a.drained();
      a.guard.intercept = flushesFail;
      await a.take(click("not flushed"));
      expect(await readCutHoursAt(a)).toMatchObject({ lacks: "not-flushed-yet", total: { clicks: 1 } });
    });

    test("reads of one hour that come at once are one question", async () => {
      const a = await its.site.start();
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

    test("with the hot store unavailable, answers come from the cold store and say so", async () => {
      const a = await its.site.start();
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
});
