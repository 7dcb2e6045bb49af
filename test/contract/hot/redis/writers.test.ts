/** Several writers on one Redis, and its content. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { DAY_MS, encodeBatch, HOUR_MS } from "../../../../src/domain/event.ts";
import { Sketch, UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { TEST_USERS } from "../../../harness/pipeline/test-users.ts";
import { startRedis } from "../../../harness/servers/servers.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import {
  ABSENT,
  ALL,
  click,
  clickers,
  clicksOf,
  committed,
  DENSE_SIZE_BYTES,
  eventsOf,
  expectCounted,
  expectJournal,
  impression,
  initializeAndRegister,
  LONG_LEASE_MS,
  NOON,
  NOON_KEY,
  present,
  rejectionOf,
  SHORT_LEASE_MS,
  usersOf,
} from "../setup.ts";
import {
  clickersKey,
  describeHotRedis,
  idKey,
  journalKey,
  META_KEY,
  type RedisHarness,
  viewersKey,
  writerKey,
} from "./redis-setup.ts";

describeHotRedis((redis) => {
  describe("several writers", () => {
    let harness: RedisHarness;
    let a: HotStore;
    let b: HotStore;

    beforeEach(async () => {
      harness = await redis.open();
      [a, b] = [await harness.open(), await harness.open()];
      await initializeAndRegister(a, "a");
      await initializeAndRegister(b, "b");
    });

    afterEach(async () => {
      await harness.end();
    });

    test("count into the same hours, and see each other's ids", async () => {
      const shared = clicksOf("shared", 100);
      const [mine, theirs] = [clicksOf("a", 100), clicksOf("b", 100)];
      await Promise.all([
        a.commit("a", 1, batchOf([...shared, ...mine])),
        b.commit("b", 1, batchOf([...shared, ...theirs])),
      ]);
      await expectCounted(a, [...shared, ...shared, ...mine, ...theirs]);
      await redis.expectUsersAt(NOON_KEY, usersOf([...shared, ...mine, ...theirs]));
      expect(await a.commit("a", 2, batchOf([click("x", "id-1")]))).toEqual(committed());
      expect(await b.commit("b", 2, batchOf([click("y"), click("x", "id-1")]))).toEqual(committed(1));
    });

    test("large batches of a journal are read a few at a time", async () => {
      for (let seq = 1; seq <= 30; seq++) await a.commit("a", seq, batchOf(clicksOf(`b${seq}-`, 1_000)));
      const outputBytes = async () => {
        const info = String(await redis.admin.info("stats"));
        return Number(/^total_net_output_bytes:(\d+)/m.exec(info)?.[1]);
      };
      const before = await outputBytes();
      const [batch, ...others] = await a.readJournal("a", 0, 1_000);
      expect({ events: batch?.eventCount, others }).toEqual({ events: 1_000, others: [] });
      expect((await outputBytes()) - before).toBeLessThan(5 * encodeBatch(batch!).length);
    });

    test("an hour waits for all that touched it before it is retired", async () => {
      await a.commit("a", 1, batchOf([click("u")]));
      await b.commit("b", 1, batchOf([click("v")]));
      await a.trimJournal("a", 1);
      expect(await a.retire(NOON + HOUR_MS)).toBe(0);
      await b.trimJournal("b", 1);
      expect(await a.retire(NOON + HOUR_MS)).toBe(1);
      expect(await b.read([NOON_KEY])).toEqual([ABSENT]);
    });

    test("a writer whose lease has run out is adopted, and commits nothing when it wakes", async () => {
      const frozen = await harness.openWith({ leaseMs: SHORT_LEASE_MS });
      await frozen.register("frozen");
      const batch = batchOf([click("u")]);
      await frozen.commit("frozen", 1, batch);
      await frozen.commit("frozen", 2, batch);
      expect(await a.fence("b")).toBe(false);
      const owners = await waitFor("the lease to run out", async () => {
        const adoptable = (await a.journalOwners()).filter((owner) => owner.adoptable);
        return adoptable.length > 0 && adoptable;
      });
      expect(owners).toEqual([{ writer: "frozen", adoptable: true, acceptedEvents: 2 }]);
      expect(await a.fence("frozen")).toBe(true);
      expect(await frozen.commit("frozen", 3, batch)).toEqual({ status: "fenced" });
      expect(await frozen.commit("frozen", 2, batch)).toEqual({ status: "fenced" });
      expect(await frozen.renewLease("frozen", 2)).toBe("lost");
      await expectJournal(a, "frozen", { 1: [click("u")], 2: [click("u")] });
      await a.trimJournal("frozen", 2);
      await a.removeJournal("frozen", 2);
      expect(await frozen.renewLease("frozen", 2)).toBe("lost");
      expect(await frozen.commit("frozen", 3, batch)).toEqual({ status: "fenced" });
      expect(await redis.admin.pTTL(writerKey("frozen"))).toBeGreaterThan(6 * DAY_MS);
      expect(await a.read([NOON_KEY])).toEqual([present(2, 0, 1)]);
    });

    test("a lease that has run out can be prolonged, until somebody adopts", async () => {
      const slow = await harness.openWith({ leaseMs: SHORT_LEASE_MS });
      await slow.register("slow");
      const isAdoptable = async () => (await a.journalOwners()).some(({ adoptable }) => adoptable);
      await waitFor("the lease to run out", isAdoptable);
      const patient = harness.store({ leaseMs: LONG_LEASE_MS });
      await patient.open();
      expect(await patient.renewLease("slow", 0)).toBe("held");
      expect(await isAdoptable()).toBe(false);
      expect(await a.fence("slow")).toBe(false);
    });

    test("a live writer's journal is not removed", async () => {
      await a.commit("a", 1, batchOf([click("u")]));
      await b.removeJournal("a", 1);
      await expectJournal(b, "a", { 1: [click("u")] });
      expect(await a.renewLease("a", 1)).toBe("held");
    });

    test("two stores that retire and hydrate the same hour see each other's changes", async () => {
      await a.commit("a", 1, batchOf([click("u")]));
      const mark = await b.retirementMark();
      await a.trimJournal("a", 1);
      await a.retire(NOON + HOUR_MS);
      expect(await b.hydrate(NOON_KEY, undefined, mark)).toBe(false);
      expect(await b.commit("b", 1, batchOf([click("v")]))).toEqual({ status: "absent", groups: [0] });
      const cold = { clicks: 1, impressions: 0, users: clickers(["u"]) };
      const fresh = await b.retirementMark();
      const hydrations = await Promise.all([a, b].map((store) => store.hydrate(NOON_KEY, cold, fresh)));
      expect(hydrations).toEqual([true, true]);
      expect(await a.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
    });
  });

  describe("beside the contract", () => {
    let harness: RedisHarness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await redis.open();
      store = await harness.open();
    });

    afterEach(async () => {
      await harness.end();
    });

    test("ids are remembered for 24 hours after their first commit, however often they are repeated", async () => {
      await initializeAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("u", "id-1")]));
      await redis.admin.pExpire(idKey("id-1"), 1_000_000);
      await store.commit("w1", 2, batchOf([click("u", "id-1"), click("v", "id-2")]));
      expect(await redis.admin.pTTL(idKey("id-1"))).toBeWithin(1, 1_000_001);
      expect(await redis.admin.pTTL(idKey("id-2"))).toBeWithin(DAY_MS - 600_000, DAY_MS + 1);
      await redis.admin.del(idKey("id-2"));
      expect(await store.commit("w1", 3, batchOf([click("v", "id-2")]))).toEqual(committed());
    });

    test("nothing is hydrated before the initialization, nor across it", async () => {
      const refused = await rejectionOf(store.retirementMark());
      expect(refused.mayHaveApplied).toBe(false);
      await rejectionOf(store.hydrate(NOON_KEY, undefined, 0));
      await store.initialize(NOON + HOUR_MS);
      const staleMark = await store.retirementMark();
      await redis.admin.del(META_KEY);
      await rejectionOf(store.hydrate(NOON_KEY, undefined, staleMark));
      await store.initialize(NOON + HOUR_MS);
      expect(await store.hydrate(NOON_KEY, undefined, staleMark)).toBe(false);
    });

    test("a sketch that was hydrated and added to is the union, register by register", async () => {
      await initializeAndRegister(store, "w1", NOON + HOUR_MS);
      const old = Array.from({ length: 700 }, (_, i) => `old-${i}`);
      const cold = { clicks: 700, impressions: 0, users: clickers(old) };
      await store.hydrate(NOON_KEY, cold, await store.retirementMark());
      await redis.expectUsersAt(NOON_KEY, clickers(old));
      for (const [i, count] of [1, 10, 400, 9_000].entries()) {
        const events = clicksOf(`new-${i}`, count);
        await store.commit("w1", i + 1, batchOf(events));
        for (const { user } of events) cold.users.add(TEST_USERS.registerOf(user), true);
        await redis.expectUsersAt(NOON_KEY, cold.users);
      }
      expect(await redis.admin.strLen(clickersKey(NOON_KEY))).toBe(DENSE_SIZE_BYTES);
    });

    test("says where it is, without the password", async () => {
      await redis.admin.sendCommand(["ACL", "SETUSER", "hourglass", "on", ">open-sesame", "~*", "&*", "+@all"]);
      const url = (password: string) => redis.server.url.replace("//", `//hourglass:${password}@`);
      const right = harness.store({ url: url("open-sesame") });
      expect(await right.open()).toEqual([]);
      expect(right.description).toBe(`redis://127.0.0.1:${redis.server.port}`);
      const wrong = harness.store({ url: url("open-barley") });
      for (const ask of [() => wrong.open(), () => wrong.initialization()]) {
        const error = await rejectionOf(ask());
        expect(error.mayHaveApplied).toBe(false);
        expect(error.message).toContain("WRONGPASS");
        expect(`${Bun.inspect(error)} ${JSON.stringify(error.cause)}`).not.toContain("barley");
      }
      expect(wrong.isReady).toBe(false);
      expect(wrong.description).not.toContain("barley");
    });

    test("is reached by a socket of this machine, too", async () => {
      const near = harness.store({ url: redis.server.socketUrl });
      expect(await near.open()).toEqual([]);
      expect(near.description).toBe(redis.server.socketUrl);
      await initializeAndRegister(near, "w1");
      expect(await near.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      expect(await store.read([NOON_KEY])).toEqual(await near.read([NOON_KEY]));
    });

    test("warns of a Redis that keeps no append-only file, and of one that evicts", async () => {
      const careless = await startRedis({
        args: ["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"],
      });
      try {
        const warnings = await harness.store({ url: careless.url }).open();
        expect(warnings).toHaveLength(2);
        expect(warnings[0]).toContain("Set 'appendonly yes'");
        expect(warnings[1]).toContain("'allkeys-lru'. Set 'maxmemory-policy noeviction'");
      } finally {
        await careless.stop();
      }
    });

    test("warns of a Redis that leaves syncing to its host; strictly, of any that does not sync first", async () => {
      const unsynced = await startRedis({ args: ["--appendfsync", "no"] });
      try {
        const warnings = await harness.store({ url: unsynced.url }).open();
        expect(warnings).toEqual([expect.stringContaining("its appendfsync is 'no'")]);
      } finally {
        await unsynced.stop();
      }
      const strict = await harness.store({ isDurabilityStrict: true }).open();
      expect(strict).toEqual([expect.stringContaining("its appendfsync is 'everysec'. Set 'appendfsync always'")]);
    });

    test("scripts that the server has forgotten are sent again", async () => {
      await initializeAndRegister(store, "w1");
      await redis.admin.scriptFlush();
      expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      await redis.admin.scriptFlush();
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      await redis.admin.scriptFlush();
      for (const seq of [2, 3]) {
        expect(await store.commit("w1", seq, batchOf([click("u", `id-${seq}`)]))).toEqual(committed());
      }
      expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 1)]);
    });

    test("a full Redis refuses, having changed nothing, and works again when there is room", async () => {
      await initializeAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a", "id-1"), click("b")]));
      await redis.admin.configSet("maxmemory", "1");
      try {
        const batch = batchOf([click("c", "id-2"), click("d")]);
        const plain = clicksOf("plain", 50, NOON, "site-2");
        const error = await rejectionOf(store.commit("w1", 2, batch));
        expect(error.message).toContain("OOM");
        expect(error.mayHaveApplied).toBe(false);
        expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
        expect(await redis.admin.exists(idKey("id-2"))).toBe(0);
        await rejectionOf(store.commit("w1", 2, batchOf(plain)));
        // What makes room is not refused.
        await store.trimJournal("w1", 1);
        expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
        expect(await store.retire(NOON + HOUR_MS)).toBe(1);
        await redis.admin.configSet("maxmemory", "0");
        await store.hydrate(NOON_KEY, undefined, await store.retirementMark());
        await store.hydrate({ stream: "site-2", hour: NOON }, undefined, await store.retirementMark());
        expect(await store.commit("w1", 2, batch)).toEqual(committed());
        expect(await store.commit("w1", 3, batchOf(plain))).toEqual(committed());
        await expectCounted(store, [...eventsOf(batch), ...plain]);
      } finally {
        await redis.admin.configSet("maxmemory", "0");
      }
    });

    test("a day of the default stream, both sketches dense, takes at most a megabyte", async () => {
      await initializeAndRegister(store, "w1", NOON + DAY_MS);
      const stream = "default";
      const million = sketchOfUsers(1_000_000);
      const hours = Array.from({ length: 24 }, (_, i) => NOON + i * HOUR_MS);
      for (const hour of hours) {
        const users = new UserSketches(million, million);
        const cold = { clicks: 1_000_000, impressions: 10_000_000, users };
        await store.hydrate({ stream, hour }, cold, await store.retirementMark());
      }
      // Some users more, so that it is Redis' own encoding of a sketch that is measured, not ours.
      for (const [i, hour] of hours.entries()) {
        const more = clicksOf("more", 2_000, hour, stream);
        const events = [...more, ...more.map(({ user }) => impression(user, undefined, hour, stream))];
        expect(await store.commit("w1", i + 1, batchOf(events))).toEqual(committed());
      }
      const reads = await store.read(hours.map((hour) => ({ stream, hour })));
      expect(reads).toEqual(Array(24).fill(reads === "uninitialized" ? reads : reads[0]));
      for (const keyOf of [viewersKey, clickersKey]) {
        const lengths = await Promise.all(hours.map((hour) => redis.admin.strLen(keyOf({ stream, hour }))));
        expect(lengths).toEqual(Array(24).fill(DENSE_SIZE_BYTES));
      }
      const takenBytes = await memoryUsageBytes();
      console.log(`24 hours of 1 M users each, dense: ${takenBytes} bytes of Redis, journal apart`);
      expect(takenBytes).toBeLessThanOrEqual(1_048_576);
    });

    function sketchOfUsers(count: number): Sketch {
      const sketch = new Sketch();
      for (let i = 0; i < count; i++) sketch.add(TEST_USERS.registerOf(`user-${i}`));
      return sketch;
    }

    async function memoryUsageBytes(): Promise<number> {
      let sumBytes = 0;
      for (const key of (await redis.admin.keys("hg:*")).map(String)) {
        if (key.startsWith(journalKey(""))) continue;
        sumBytes += Number(await redis.admin.sendCommand(["MEMORY", "USAGE", key, "SAMPLES", "0"]));
      }
      return sumBytes;
    }
  });
});
