/** A batch that was applied and is taken back. */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { HOUR_MS, type HourKey } from "../../../../src/domain/event.ts";
import type { HotStore, HotUnavailableError } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import {
  ALL,
  bearAndRegister,
  click,
  committed,
  eventsOf,
  expectJournal,
  impression,
  NOON,
  NOON_KEY,
  STREAM,
  USERS_OF_ANY_BYTES,
  usersOf,
} from "../setup.ts";
import { describeHotRedis, type RedisHarness } from "./redis-setup.ts";

setDefaultTimeout(60_000);

describeHotRedis((redis) => {
  describe("void of a batch that was applied", () => {
    let harness: RedisHarness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await redis.open();
      store = await harness.open();
      await bearAndRegister(store, "w1");
      await bearAndRegister(store, "w2");
    });

    afterEach(async () => {
      await harness.end();
    });

    const before = [click("before", "id-0"), impression("before")];

    test("takes back its counts, ids and journal entry; the next batch follows", async () => {
      await store.commit("w1", 1, batchOf(before));
      const events = [
        click("a", "id-1"),
        impression("b", "id-2", NOON + HOUR_MS),
        impression("c"),
        click("d", undefined, NOON, "site-2"),
        ...USERS_OF_ANY_BYTES.map((user) => impression(user, user)),
      ];
      await store.commit("w1", 2, batchOf(events));
      const result = await store.voidBatch("w1", 2);
      expect(result).toEqual({ status: "reverted", duplicates: [...events.keys()] });
      const keys = [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }, { stream: "site-2", hour: NOON }];
      const counts = (await readHours(store, keys)).map(({ clicks, impressions }) => [clicks, impressions]);
      expect(counts).toEqual([
        [1, 1],
        [0, 0],
        [0, 0],
      ]);
      await expectJournal(store, "w1", { 1: before });
      expect(await store.commit("w1", 2, batchOf(events))).toEqual(committed());
      expect(await store.commit("w2", 1, batchOf(events))).toEqual(committed());
      expect(await store.commit("w1", 3, batchOf([click("z", "id-0")]))).toEqual(committed(0));
      await expectJournal(store, "w2", {
        1: eventsOf(batchOf(events)).map(({ register: _, ...event }) => event),
      });
      expect((await readHours(store, keys))[1]).toEqual({ clicks: 0, impressions: 1, uniqueUsers: 1 });
    });

    test("takes no user away from another's events, of either kind", async () => {
      const shared = [click("both"), impression("both"), impression("seen"), click("clicked")];
      await store.commit("w2", 1, batchOf(shared));
      await store.commit("w1", 1, batchOf([...shared, click("seen"), impression("clicked")]));
      expect((await store.voidBatch("w1", 1)).status).toBe("reverted");
      const [hour] = await readHours(store, [NOON_KEY]);
      expect(hour).toEqual({ clicks: 2, impressions: 2, uniqueUsers: 3 });
      // Sketches cannot forget: who saw is still among the clickers, as the batch said.
      await redis.expectUsersAt(NOON_KEY, usersOf([...shared, click("seen"), impression("clicked")]));
      await store.trimJournal("w1", 1);
      await store.trimJournal("w2", 1);
      expect(await store.retire(NOON + HOUR_MS)).toBe(1);
      const cold = { clicks: 2, impressions: 2, users: usersOf(shared) };
      await store.hydrate(NOON_KEY, cold, await store.retirementMark());
      await redis.expectUsersAt(NOON_KEY, usersOf(shared));
    });

    async function readHours(from: HotStore, keys: readonly HourKey[]) {
      const reads = await from.read(keys);
      if (reads === "unborn") throw new Error("the data set is not born");
      return reads.map((read) => {
        if (read.status !== "present") throw new Error(`an hour is ${read.status}`);
        return read.counts;
      });
    }

    test("leaves alone what had been duplicates of others", async () => {
      await store.commit("w1", 1, batchOf(before));
      await store.commit("w1", 2, batchOf([click("x", "id-0"), impression("b", "id-1")]));
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "reverted", duplicates: [0, 1] });
      expect(await store.commit("w2", 1, batchOf([click("x", "id-0"), click("y", "id-1")]))).toEqual(
        committed(0),
      );
      const [hour] = await readHours(store, [NOON_KEY]);
      expect([hour!.clicks, hour!.impressions]).toEqual([2, 1]);
    });

    test("an id that came twice in the batch itself is taken back too: nobody was told of it", async () => {
      await store.commit("w1", 1, batchOf([click("a", "id-1"), click("b", "id-1"), impression("c")]));
      expect(await store.voidBatch("w1", 1)).toEqual({ status: "reverted", duplicates: [0, 1, 2] });
      expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
      expect(await store.commit("w2", 1, batchOf([click("d", "id-1")]))).toEqual(committed());
      const [hour] = await readHours(store, [NOON_KEY]);
      expect([hour!.clicks, hour!.impressions]).toEqual([1, 0]);
    });

    const kept = impression("b", "id-2", NOON + HOUR_MS);
    const events = [click("a", "id-1"), click("c"), kept, click("d", "id-3", NOON + HOUR_MS)];

    /** Ordinal 2 of w1's batch 2 comes again through w2, which is told that it counts. */
    async function commitAndMeetAgain(): Promise<void> {
      await store.commit("w1", 1, batchOf(before));
      expect(await store.commit("w1", 2, batchOf(events))).toEqual(committed());
      expect(await store.commit("w2", 1, batchOf([click("x", "id-2"), click("y")]))).toEqual(committed(0));
    }

    async function expectOnlyMetAgain(): Promise<void> {
      await expectJournal(store, "w1", { 1: before, 2: [kept] });
      await expectJournal(store, "w2", { 1: [click("y")] });
      const [noon, later] = await readHours(store, [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }]);
      expect([noon!.clicks, noon!.impressions]).toEqual([2, 1]);
      expect([later!.clicks, later!.impressions]).toEqual([0, 1]);
    }

    test("an event whose id came again meanwhile is kept, and is in the journal", async () => {
      await commitAndMeetAgain();
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "reverted", duplicates: [0, 1, 3] });
      await expectOnlyMetAgain();
      expect(await redis.streamIdsOf("w1")).toEqual(["1-0", "2-1"]);
      expect((await store.readJournal("w1", 1, ALL)).map(({ seq }) => seq)).toEqual([2]);
      expect(await store.readJournal("w1", 2, ALL)).toEqual([]);
      expect(await store.commit("w2", 2, batchOf([click("e", "id-2"), click("f", "id-1")]))).toEqual(
        committed(0),
      );
      expect(await store.commit("w1", 3, batchOf([click("g", "id-3")]))).toEqual(committed());
      await store.trimJournal("w1", 2);
      await expectJournal(store, "w1", { 3: [click("g", "id-3")] });
    });

    test("a batch of which every event came again meanwhile is kept whole", async () => {
      const batch = batchOf([click("a", "all-1"), click("b", "all-2")]);
      const before = await store.read([NOON_KEY]);
      expect(await store.commit("w1", 1, batch)).toEqual(committed());
      const counted = await store.read([NOON_KEY]);
      expect(counted).not.toEqual(before);
      expect(await store.commit("w2", 1, batch)).toEqual(committed(0, 1));
      expect(await store.voidBatch("w1", 1)).toEqual({ status: "reverted", duplicates: [] });
      expect(await store.read([NOON_KEY])).toEqual(counted);
      await expectJournal(store, "w1", { 1: [click("a", "all-1"), click("b", "all-2")] });
    });

    test("asked for again, since the answer was lost, it answers what was kept as before", async () => {
      await commitAndMeetAgain();
      const first = await store.voidBatch("w1", 2);
      expect(await store.voidBatch("w1", 2)).toEqual(first);
      await expectOnlyMetAgain();
      await store.commit("w2", 2, batchOf([click("x", "id-2"), click("x", "id-1")]));
      expect(await store.voidBatch("w1", 2)).toEqual(first);
      await expectJournal(store, "w1", { 1: before, 2: [kept] });
    });

    test("asked for again when nothing was kept, it takes nothing more", async () => {
      await store.commit("w1", 1, batchOf(before));
      await store.commit("w1", 2, batchOf([click("a", "id-1"), click("b")]));
      await store.voidBatch("w1", 2);
      await store.commit("w2", 1, batchOf([click("c", "id-1")]));
      const again = await store.voidBatch("w1", 2);
      if (again.status !== "voided") expect(again).toEqual({ status: "reverted", duplicates: [0, 1] });
      await expectJournal(store, "w1", { 1: before });
      const [hour] = await readHours(store, [NOON_KEY]);
      expect([hour!.clicks, hour!.impressions]).toEqual([2, 1]);
      expect(await store.commit("w2", 2, batchOf([click("c", "id-1")]))).toEqual(committed(0));
    });

    test("is refused once the writer is fenced: its adopter has the batch", async () => {
      await commitAndMeetAgain();
      await store.abandon("w1");
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "fenced", lastSeq: 2 });
      expect(await store.voidBatch("w1", 3)).toEqual({ status: "fenced", lastSeq: 2 });
      const ordered = eventsOf(batchOf(events)).map(({ register: _, ...event }) => event);
      await expectJournal(store, "w1", { 1: before, 2: ordered });
    });

    test("is done whole or not at all on a Redis that is full", async () => {
      await store.commit("w1", 1, batchOf(before));
      const batches = [[click("a", "id-1"), click("b")], [click("c")]].map(batchOf);
      for (const [i, batch] of batches.entries()) {
        const seq = i + 2;
        await store.commit("w1", seq, batch);
        const present = await store.read([NOON_KEY]);
        await redis.admin.configSet("maxmemory", "1");
        const refusal = await store.voidBatch("w1", seq).then(
          () => undefined,
          (error: unknown) => error as HotUnavailableError,
        );
        await redis.admin.configSet("maxmemory", "0");
        if (refusal !== undefined) {
          expect(refusal.message).toContain("OOM");
          expect(refusal.mayHaveApplied).toBe(false);
          expect(await store.read([NOON_KEY])).toEqual(present);
        }
        await store.voidBatch("w1", seq);
        const [hour] = await readHours(store, [NOON_KEY]);
        expect([hour!.clicks, hour!.impressions]).toEqual([1, 1]);
      }
      await expectJournal(store, "w1", { 1: before });
      expect(await store.commit("w2", 1, batchOf([click("c", "id-1")]))).toEqual(committed());
    });
  });
});
