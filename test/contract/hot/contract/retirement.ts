/** How hours leave the store, and return from the cold one. */
import { describe, expect } from "bun:test";
import { HOUR_MS } from "../../../../src/domain/event.ts";
import { Sketch, UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import type { CommitResult } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import {
  ABSENT,
  ALL,
  click,
  clickers,
  clicksOf,
  committed,
  EMPTY,
  expectEvents,
  type Harness,
  impression,
  initializeAndRegister,
  NOON,
  NOON_KEY,
  present,
  removeAdopted,
  retireAll,
  STREAM,
  sketchOf,
  testWithStore,
  testWithWriter,
} from "../setup.ts";

export function retirementContract(openHarness: () => Promise<Harness>): void {
  describe("retire and hydrate", () => {
    const test = testWithStore(openHarness);
    const testWithW1 = testWithWriter(openHarness);

    testWithW1("only hours that are flushed are retired, and they are absent then", async ({ store }) => {
      const later = NOON + HOUR_MS;
      await store.commit("w1", 1, batchOf([click("a")]));
      await store.commit("w1", 2, batchOf([click("b", undefined, NOON, "site-2")]));
      await store.commit("w1", 3, batchOf([click("c", undefined, later)]));
      expect(await store.retire(later)).toBe(0);
      await store.trimJournal("w1", 1);
      expect(await store.retire(NOON)).toBe(0);
      const mark = await store.retirementMark();
      expect(await store.retire(later)).toBe(1);
      expect(await store.retirementMark()).not.toBe(mark);
      const keys = [
        NOON_KEY,
        { stream: "site-2", hour: NOON },
        { stream: "site-3", hour: NOON },
        { stream: STREAM, hour: later },
        { stream: "site-2", hour: later },
      ];
      expect(await store.read(keys)).toEqual([ABSENT, present(1, 0, 1), ABSENT, present(1, 0, 1), EMPTY]);
      await store.trimJournal("w1", 2);
      expect(await store.retire(later)).toBe(1);
      expect(await store.read(keys.slice(0, 2))).toEqual([ABSENT, ABSENT]);
      const absent: CommitResult = { status: "absent", groups: [0] };
      expect(await store.commit("w1", 4, batchOf([click("d")]))).toEqual(absent);
    });

    testWithW1("an hour that was touched again is retired only once that is flushed too", async ({ store }) => {
      await store.commit("w1", 1, batchOf([click("a")]));
      await store.trimJournal("w1", 1);
      await store.commit("w1", 2, batchOf([click("b")]));
      expect(await store.retire(NOON + HOUR_MS)).toBe(0);
      await store.trimJournal("w1", 2);
      expect(await store.retire(NOON + HOUR_MS)).toBe(1);
    });

    testWithW1(
      "an hour that an earlier writer touched is retired only once its journal is flushed",
      async ({ store }) => {
        for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batchOf([click(`a-${seq}`)]));
        await store.commit("w1", 4, batchOf([click("a", undefined, NOON, "site-2")]));
        await store.abandon("w1");
        await store.register("w2");
        await store.commit("w2", 1, batchOf([click("b")]));
        await store.trimJournal("w2", 1);
        expect(await store.retire(NOON + HOUR_MS)).toBe(0);
        await store.trimJournal("w1", 4);
        await removeAdopted(store, "w1", 4);
        expect(await store.retire(NOON + HOUR_MS)).toBe(2);
        expect(await store.read([NOON_KEY])).toEqual([ABSENT]);
      },
    );

    testWithW1("one hour by name: absent from then on, but not before it is flushed", async ({ store }) => {
      await store.commit("w1", 1, batchOf([click("a"), click("b", undefined, NOON + HOUR_MS)]));
      expect(await store.retireHour(NOON_KEY)).toBe(false);
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      const mark = await store.retirementMark();
      await store.trimJournal("w1", 1);
      expect(await store.retireHour(NOON_KEY)).toBe(true);
      expect(await store.retirementMark()).not.toBe(mark);
      expect(await store.read([NOON_KEY])).toEqual([{ status: "absent" }]);
      expect(await store.read([{ stream: STREAM, hour: NOON + HOUR_MS }])).toEqual([present(1, 0, 1)]);
      expect((await store.commit("w1", 2, batchOf([click("c")]))).status).toBe("absent");
    });

    testWithW1("an hour that is not held, by name: it is no longer considered empty", async ({ store }) => {
      expect(await store.read([NOON_KEY])).toEqual([{ status: "empty" }]);
      expect(await store.retireHour(NOON_KEY)).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([{ status: "absent" }]);
    });

    testWithW1("many hours at once", async ({ store }) => {
      const events = Array.from({ length: 450 }, (_, i) => click("u", undefined, NOON, `stream-${i}`));
      await store.commit("w1", 1, batchOf(events));
      await store.trimJournal("w1", 1);
      expect(await retireAll(store, NOON + HOUR_MS)).toBe(450);
      const keys = events.map(({ stream }) => ({ stream, hour: NOON }));
      expect(await store.read(keys)).toEqual(Array(450).fill(ABSENT));
    });

    test("an hour that is hydrated is what the cold store had, and what comes after it", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON + HOUR_MS);
      const old = Array.from({ length: 200 }, (_, i) => `old-${i}`);
      const cold = { clicks: 1_000, impressions: 50, users: clickers(old) };
      expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([present(1_000, 50, sketchOf(old).count())]);
      const events = [...clicksOf("new", 3_000), impression("old-7"), impression("with-id", "id-1")];
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
      const users = [...old, ...events.map(({ user }) => user)];
      expect(await store.read([NOON_KEY])).toEqual([present(4_000, 52, sketchOf(users).count())]);
      expectEvents((await store.readJournal("w1", 0, ALL))[0]!, events);
    });

    test("an hour of 100,000 users, dense, still counts after it was hydrated", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON + HOUR_MS);
      const sketch = sketchOf(Array.from({ length: 100_000 }, (_, i) => `old-${i}`));
      const cold = { clicks: 100_000, impressions: 0, users: new UserSketches(new Sketch(), sketch) };
      expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
      await store.commit("w1", 1, batchOf(clicksOf("new", 5_000)));
      const union = sketchOf(clicksOf("new", 5_000).map(({ user }) => user));
      union.merge(sketch);
      expect(await store.read([NOON_KEY])).toEqual([present(105_000, 0, union.count())]);
    });

    test("an hour that the cold store does not know is hydrated as one without events", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON + HOUR_MS);
      expect(await store.hydrate(NOON_KEY, undefined, await store.retirementMark())).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([present(0, 0, 0)]);
      await store.commit("w1", 1, batchOf([impression("u")]));
      expect(await store.read([NOON_KEY])).toEqual([present(0, 1, 1)]);
    });

    testWithW1("an hour that is present is left as it is, also when the mark is stale", async ({ store }) => {
      await store.commit("w1", 1, batchOf([click("u"), click("v", undefined, NOON - HOUR_MS)]));
      const mark = await store.retirementMark();
      const cold = { clicks: 9, impressions: 9, users: clickers(["x", "y", "z"]) };
      expect(await store.hydrate(NOON_KEY, cold, mark)).toBe(true);
      await store.trimJournal("w1", 1);
      expect(await store.retire(NOON)).toBe(1);
      expect(await store.hydrate(NOON_KEY, cold, mark)).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
    });

    testWithW1("a mark from before a retirement is refused: what was read then may be stale", async ({ store }) => {
      await store.commit("w1", 1, batchOf([click("u")]));
      const staleMark = await store.retirementMark();
      await store.trimJournal("w1", 1);
      expect(await store.retire(NOON + HOUR_MS)).toBe(1);
      expect(await store.hydrate(NOON_KEY, undefined, staleMark)).toBe(false);
      expect(await store.read([NOON_KEY])).toEqual([ABSENT]);
      const cold = { clicks: 1, impressions: 0, users: clickers(["u"]) };
      expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
    });

    testWithW1("an hour can be retired and hydrated again and again", async ({ store }) => {
      const users: string[] = [];
      for (let seq = 1; seq <= 5; seq++) {
        const events = clicksOf(`round-${seq}`, 30);
        users.push(...events.map(({ user }) => user));
        expect(await store.commit("w1", seq, batchOf(events))).toEqual(committed());
        await store.trimJournal("w1", seq);
        expect(await store.retire(NOON + HOUR_MS)).toBe(1);
        const cold = { clicks: users.length, impressions: 0, users: clickers(users) };
        expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
      }
      expect(await store.read([NOON_KEY])).toEqual([present(150, 0, sketchOf(users).count())]);
    });
  });
}
