/** Reads of a range of hours over one stream or many. */
import { describe, expect } from "bun:test";
import fc from "fast-check";
import { DAY_MS, type Event, HOUR_MS, hourKeyName, hourOf } from "../../../../src/domain/event.ts";
import { type Sketch, UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { expectSameUsers } from "../../../harness/service/stored.ts";
import {
  branch,
  click,
  clickers,
  clicksOf,
  expectCounted,
  expectSameRegisters,
  type Harness,
  impression,
  initializeAndRegister,
  mixedEvents,
  NOON,
  NOON_KEY,
  oneStream,
  present,
  rangeOf,
  retireAll,
  STREAM,
  shownOf,
  sketchOf,
  testWithStore,
  testWithWriter,
  usersOf,
} from "../setup.ts";

export function rangesContract(openHarness: () => Promise<Harness>): void {
  describe("ranges", () => {
    const test = testWithStore(openHarness);
    const testWithW1 = testWithWriter(openHarness);

    test("show each hour of a stream that is held within them, and no other", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON - DAY_MS);
      const events = [
        ...mixedEvents("a", 60),
        click("b", undefined, NOON - HOUR_MS),
        click("c", undefined, NOON + DAY_MS),
      ];
      await store.commit("w1", 1, batchOf(events));
      for (const [from, to] of [
        [0, NOON + 2 * DAY_MS],
        [NOON, NOON + HOUR_MS],
        [NOON + HOUR_MS, NOON + DAY_MS],
        [NOON + 5 * HOUR_MS, NOON + DAY_MS],
      ] as const) {
        const range = oneStream(STREAM, from, to);
        expect(await rangeOf(store, range)).toEqual({
          hours: shownOf(events, range),
          freshFrom: NOON - DAY_MS,
        });
      }
      expect((await rangeOf(store, oneStream(STREAM))).hours).toHaveLength(4);
      expect((await rangeOf(store, oneStream("site"))).hours).toEqual([]);
    });

    testWithW1("show all streams whose names begin alike, and no neighbours of them", async ({ store }) => {
      const names = ["a", "a.", "a.b", "a.b.c", "a-b", "a_b", "aa", "A.b", "b", ".", "a.z", "a..", "0", "z"];
      const events = names.flatMap((stream, i) => [
        click(`u${i}`, undefined, NOON, stream),
        impression(`u${i}`, undefined, NOON + (i % 3) * HOUR_MS, stream),
      ]);
      await store.commit("w1", 1, batchOf(events));
      for (const prefix of ["", "a", "a.", "a.b", "a.b.c.d", ".", "z", "A", "zz"]) {
        const range = branch(prefix);
        expect((await rangeOf(store, range)).hours).toEqual(shownOf(events, range));
      }
    });

    testWithW1("of more hours and streams than one answer of Redis carries show each once", async ({ store }) => {
      const events = Array.from({ length: 4_500 }, (_, i) =>
        click(`u${i}`, undefined, NOON + (i % 4) * HOUR_MS, `${i % 2 === 0 ? "even" : "odd"}.${i}`),
      );
      await store.commit("w1", 1, batchOf(events));
      for (const prefix of ["", "even.", "odd.1"]) {
        const range = branch(prefix);
        expect((await rangeOf(store, range)).hours).toEqual(shownOf(events, range));
      }
    });

    testWithW1("carry sketches of any size whole", async ({ store }) => {
      const events = [
        ...clicksOf("dense", 40_000),
        ...clicksOf("sparse", 300, NOON + HOUR_MS),
        ...clicksOf("one", 1, NOON + 2 * HOUR_MS),
      ];
      await store.commit("w1", 1, batchOf(events));
      const sketches: Sketch[] = [];
      await store.readRange(oneStream(STREAM), ({ users }) => void sketches.push(users.clickers));
      const byHour = Map.groupBy(events, ({ at }) => hourOf(at));
      expect(sketches).toHaveLength(3);
      for (const [i, ofHour] of [...byHour.values()].entries()) {
        expectSameRegisters(sketches[i]!, sketchOf(ofHour.map(({ user }) => user)));
      }
    });

    test("do not show what was retired, whose hours lie before the answer; they do show the hydrated", async ({
      store,
    }) => {
      await initializeAndRegister(store, "w1");
      const events = [click("a"), click("b", undefined, NOON + HOUR_MS)];
      await store.commit("w1", 1, batchOf(events));
      await store.trimJournal("w1", 1);
      await store.retire(NOON + HOUR_MS);
      const range = oneStream(STREAM);
      expect(await rangeOf(store, range)).toEqual({
        hours: shownOf(events.slice(1), range),
        freshFrom: NOON + HOUR_MS,
      });
      const cold = { clicks: 7, impressions: 2, users: clickers(["x", "y"]) };
      await store.hydrate(NOON_KEY, cold, await store.retirementMark());
      await store.hydrate({ stream: STREAM, hour: 0 }, undefined, await store.retirementMark());
      expect((await rangeOf(store, range)).hours).toEqual([
        { stream: STREAM, hour: 0, read: present(0, 0, 0), uniqueClickers: 0, uniqueViewers: 0 },
        { ...NOON_KEY, read: present(7, 2, 2), uniqueClickers: 2, uniqueViewers: 0 },
        ...shownOf(events.slice(1), range),
      ]);
    });

    testWithW1("distinguish clickers from viewers, with ids and without, of any number", async ({ store }) => {
      const numbers = [...Array(9_000).keys()];
      const events = [
        ...numbers.map((i) => impression(`u-${i}`, i % 5 === 0 ? `i-${i}` : undefined)),
        ...numbers.filter((i) => i % 3 === 0).map((i) => click(`u-${i}`, i % 2 === 0 ? `c-${i}` : undefined)),
        ...numbers.filter((i) => i % 9 === 0).map((i) => click(`other-${i}`)),
      ];
      await store.commit("w1", 1, batchOf(events));
      await expectUsers(store, usersOf(events));
      // What counts once by its id is of no kind the second time.
      await store.commit("w1", 2, batchOf([impression("nobody", "c-0"), click("nobody", "i-5")]));
      await expectUsers(store, usersOf(events));
      await store.commit("w1", 3, batchOf([click("u-1"), impression("other-9")]));
      await expectUsers(store, usersOf([...events, click("u-1"), impression("other-9")]));
      await expectCounted(store, [...events, click("u-1"), impression("other-9")]);
    });

    async function expectUsers(store: HotStore, expected: UserSketches): Promise<void> {
      const shown: UserSketches[] = [];
      await store.readRange(oneStream(STREAM), ({ users }) => {
        const copy = new UserSketches();
        copy.merge(users);
        shown.push(copy);
      });
      expect(shown).toHaveLength(1);
      expectSameUsers(shown[0]!, expected);
    }

    test("stay separate by kind once an hour was hydrated", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON + HOUR_MS);
      const old = [...clicksOf("old", 700), ...clicksOf("old", 2_000).map(({ user }) => impression(user))];
      const cold = { clicks: 700, impressions: 2_000, users: usersOf(old) };
      await store.hydrate(NOON_KEY, cold, await store.retirementMark());
      await expectUsers(store, usersOf(old));
      const events = [click("old-1999"), impression("new"), click("newer", "id-1")];
      await store.commit("w1", 1, batchOf(events));
      await expectUsers(store, usersOf([...old, ...events]));
    });

    testWithW1("show each hour once although hours are retired and put in place meanwhile", async ({ store }) => {
      const events = Array.from({ length: 4_500 }, (_, i) => click("u", undefined, NOON + (i % 2) * HOUR_MS, `s${i}`));
      await store.commit("w1", 1, batchOf(events));
      await store.trimJournal("w1", 1);
      const keys = new Set<string>();
      let churn: Promise<unknown> | undefined;
      const freshFrom = await store.readRange(branch("s"), ({ stream, hour }) => {
        expect(keys.has(hourKeyName(stream, hour))).toBe(false);
        keys.add(hourKeyName(stream, hour));
        churn ??= retireAll(store, NOON + DAY_MS).then(async () => {
          const mark = await store.retirementMark();
          await store.hydrate({ stream: "s0", hour: NOON }, undefined, mark);
        });
      });
      await churn;
      expect(keys.size).toBeGreaterThan(0);
      const absent = events.filter(({ stream, at }) => !keys.has(hourKeyName(stream, hourOf(at))));
      expect(absent.filter(({ at }) => hourOf(at) >= Number(freshFrom))).toEqual([]);
    });

    test("are not read before the data set is initialized, nor once it no longer is", async ({
      harness,
      store: before,
    }) => {
      expect(await before.readRange(branch(""), () => {})).toBe("uninitialized");
      await initializeAndRegister(before, "w1");
      await before.commit("w1", 1, batchOf([click("a")]));
      const store = await harness.uninitialize();
      expect(await store.readRange(branch(""), () => {})).toBe("uninitialized");
    });

    testWithW1("any range over any streams shows what a model does", async ({ store }) => {
      const events: Event[] = [];
      const name = fc.stringMatching(/^[a.A_0-]{1,4}$/);
      const some = fc.array(fc.tuple(name, fc.integer({ min: -5, max: 5 }), fc.nat(9)), { maxLength: 20 });
      const bounds = fc.tuple(fc.integer({ min: -6, max: 6 }), fc.integer({ min: -6, max: 6 }));
      const prefix = fc.stringMatching(/^[a.A_0-]{0,2}$/);
      let seq = 0;
      await fc.assert(
        fc.asyncProperty(some, bounds, prefix, fc.boolean(), async (added, [from, to], text, isPrefix) => {
          const batch = added.map(([stream, hour, user]) =>
            click(`u${user}`, undefined, NOON + hour * HOUR_MS, stream),
          );
          events.push(...batch);
          if (batch.length > 0) await store.commit("w1", ++seq, batchOf(batch));
          const [first, end] = [from, to].map((hours) => NOON + hours * HOUR_MS);
          const range = { from: first!, to: end!, streams: { text, isPrefix } };
          expect((await rangeOf(store, range)).hours).toEqual(shownOf(events, range));
        }),
        { numRuns: 200 },
      );
    });
  });
}
