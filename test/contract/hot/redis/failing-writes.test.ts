/** A commit during which Redis refuses a write: it leaves nothing, or a stored batch. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { HOUR_MS } from "../../../../src/domain/event.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import {
  click,
  committed,
  expectJournal,
  impression,
  initializeAndRegister,
  NOON,
  NOON_KEY,
  present,
  rejectionOf,
} from "../setup.ts";
import { clickersKey, describeHotRedis, META_KEY, type RedisHarness, viewersKey } from "./redis-setup.ts";

const HOURS_KEY = "hg:{0}:hours";
const WRITERS_KEY = "hg:{0}:writers";
const RANGE = { from: NOON, to: NOON + 1, streams: { text: NOON_KEY.stream, isPrefix: false } };

describeHotRedis((redis) => {
  describe("a write that fails", () => {
    let harness: RedisHarness;
    let store: HotStore;
    const events = [click("u", "id-1"), impression("v"), impression("w", "id-2")];

    const setUser = (...rule: string[]) => redis.admin.sendCommand(["ACL", "SETUSER", "tried", ...rule]);

    beforeEach(async () => {
      harness = await redis.open();
      await setUser("reset", "on", ">tried", "~*", "&*", "+@all");
      const url = new URL(redis.server.url);
      [url.username, url.password] = ["tried", "tried"];
      store = await harness.openWith({ url: url.href });
      await initializeAndRegister(store, "w1");
    });

    afterEach(() => harness.end());

    for (const right of ["set", "hset", "xadd"]) {
      test(`before the journal has the batch leaves nothing of it (without the right to ${right})`, async () => {
        const [before, batch] = [[click("z", "id-0")], batchOf([...events, click("z", "id-0")])];
        await store.commit("w1", 1, batchOf(before));
        await setUser(`-${right}`);
        expect(await rejectionOf(store.commit("w1", 2, batch))).toMatchObject({ mayHaveApplied: false });
        expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
        await expectJournal(store, "w1", { 1: before });
        await setUser(`+${right}`);
        expect(await store.commit("w1", 2, batch)).toEqual(committed(3));
        expect(await store.read([NOON_KEY])).toEqual([present(2, 2, 4)]);
        await expectJournal(store, "w1", { 1: before, 2: events });
      });
    }

    for (const right of ["pfadd", "zadd"]) {
      test(`after that leaves it stored, and no hour that lacks it (without the right to ${right})`, async () => {
        await setUser(`-${right}`);
        expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
        expect(await store.read([NOON_KEY])).toBe("uninitialized");
        await expectJournal(store, "w1", { 1: events });
      });
    }

    test("for a sketch would fail after each commit: the data set is not set up", async () => {
      await setUser("-pfadd");
      await redis.admin.del(META_KEY);
      expect(await rejectionOf(store.initialize(NOON, 1))).toMatchObject({ mayHaveApplied: false });
      await setUser("+pfadd");
      await store.fence("w1");
      await store.removeJournal("w1", 0);
      expect(await store.initialize(NOON, 1)).toBe(true);
    });
  });

  describe("a sketch that something else has changed", () => {
    let harness: RedisHarness;
    let store: HotStore;
    const events = [click("u"), impression("v")];

    beforeEach(async () => {
      harness = await redis.open();
      store = await harness.open();
      await initializeAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf(events));
      await redis.admin.setRange(viewersKey(NOON_KEY), 0, "JUNK");
    });

    afterEach(() => harness.end());

    test("is found by a commit, whose batch is stored", async () => {
      const more = [impression("x")];
      expect(await store.commit("w1", 2, batchOf(more))).toEqual(committed());
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      await expectJournal(store, "w1", { 1: events, 2: more });
    });

    const READS = {
      "a read": () => store.read([NOON_KEY]),
      "a read of a range": () => store.readRange(RANGE, () => {}),
    };
    for (const [what, read] of Object.entries(READS)) {
      test(`is found by ${what}, after which the data set is set up anew`, async () => {
        expect(await rejectionOf(read() as Promise<unknown>)).toMatchObject({ mayHaveApplied: false });
        expect(await read()).toBe("uninitialized");
      });
    }

    test("also if it is no sketch at all", async () => {
      await redis.admin.del(clickersKey(NOON_KEY));
      await redis.admin.lPush(clickersKey(NOON_KEY), "x");
      await rejectionOf(store.read([NOON_KEY]));
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
    });
  });

  test("indexes that something else has changed name all that they had named again", async () => {
    const harness = await redis.open();
    try {
      const store = await harness.open();
      await initializeAndRegister(store, "w1");
      const streams = Array.from({ length: 30 }, (_, i) => `index-${i}`);
      const events = streams.flatMap((stream) => [NOON, NOON + HOUR_MS].map((at) => click("u", undefined, at, stream)));
      // More keys than are looked at in one go.
      const withIds = Array.from({ length: 3_000 }, (_, i) => click("u", `id-${i}`));
      await store.commit("w1", 1, batchOf([...events, ...withIds]));
      const hours = () => redis.admin.zRangeWithScores(HOURS_KEY, 0, -1);
      const before = await hours();
      expect(before).toHaveLength(events.length + 1);
      for (const key of [HOURS_KEY, WRITERS_KEY]) {
        await redis.admin.del(key);
        await redis.admin.set(key, "x");
      }
      expect((await rejectionOf(store.discard(0))).message).toContain("WRONGTYPE");
      expect(await hours()).toEqual(before);
      expect(await store.journalOwners()).toEqual([{ writer: "w1", adoptable: true, acceptedEvents: 3_060 }]);
      expect(await redis.admin.keys("hg:{0}:new-*")).toEqual([]);
    } finally {
      await harness.end();
    }
  });
});
