/** A Redis that has lost batches, restarts, or is down. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HOUR_MS } from "../../../../src/domain/event.ts";
import { type HotStore, HotUnavailableError } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { type RedisServer, startRedis } from "../../../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import {
  ABSENT,
  click,
  committed,
  eventsOf,
  expectCounted,
  expectJournal,
  impression,
  initializeAndRegister,
  mixedEvents,
  NOON,
  NOON_KEY,
  present,
  rejectionOf,
  removeAdopted,
  STREAM,
  usersOf,
} from "../setup.ts";
import {
  atPort,
  describeHotRedis,
  everyCall,
  firstAnswer,
  type RedisHarness,
  reconnect,
  writerKey,
} from "./redis-setup.ts";

describeHotRedis((redis) => {
  describe("lost batches", () => {
    let harness: RedisHarness;
    let store: HotStore;
    let proxy: TcpProxy;

    beforeEach(async () => {
      harness = await redis.open();
      proxy = await startProxy(redis.server.port);
      store = await harness.openWith({ url: atPort(redis.server.url, proxy.port) });
      await initializeAndRegister(store, "w1");
      for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batchOf([click(`u-${seq}`)]));
    });

    afterEach(async () => {
      await harness.end();
      await proxy.close();
    });

    /** Nothing is answered from it or written to it until its journals are flushed and it is initialized again. */
    async function expectUninitialized(): Promise<void> {
      expect(await store.initialization()).toBeUndefined();
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      expect(await store.register("w9")).toBe(false);
      for (const { writer } of await store.journalOwners()) await removeAdopted(store, writer);
      await initializeAndRegister(store, "w9", NOON + HOUR_MS);
      expect(await store.read([NOON_KEY])).toEqual([ABSENT]);
    }

    const lose = (seqs: number) => redis.admin.hIncrBy(writerKey("w1"), "last", -seqs);

    test("are noticed by the next commit", async () => {
      await lose(1);
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "uninitialized" });
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "uninitialized" });
      expect(await store.renewLease("w1", 3)).toBe("lost");
      await expectUninitialized();
    });

    test("are noticed when the lease is renewed", async () => {
      expect(await store.renewLease("w1", 3)).toBe("held");
      await lose(1);
      expect(await store.renewLease("w1", 2)).toBe("held");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.commit("w1", 3, batchOf([click("v")]))).toEqual({ status: "uninitialized" });
      await expectUninitialized();
    });

    test("are noticed on a new connection, before anything is read over it", async () => {
      await lose(1);
      expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 3)]);
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("uninitialized");
      await expectUninitialized();
    });

    test("of ids that had been restored are noticed as well, by whoever was told that they are known", async () => {
      await store.initialization();
      expect(await store.renewLease("w1", 3)).toBe("held");
      await redis.admin.hSet("hg:{0}:meta", "ids", "0");
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("uninitialized");
      await expectUninitialized();
    });

    test("a connection that is merely cut is not taken for a loss", async () => {
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toEqual([present(3, 0, 3)]);
      expect(await store.renewLease("w1", 3)).toBe("held");
      expect(await store.commit("w1", 4, batchOf([click("u-4")]))).toEqual(committed());
    });

    test("are noticed by the writer that sent them although it was fenced meanwhile", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      await expectUninitialized();
    });

    test("are noticed by a commit of a writer that was fenced meanwhile", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "fenced" });
      await expectUninitialized();
    });

    test("a fenced writer that lost nothing reports no loss", async () => {
      await store.abandon("w1");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "fenced" });
      await removeAdopted(store, "w1", 3);
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "fenced" });
      expect(await store.initialization()).toBeDefined();
    });

    /** Leaves the state of before the writer came: initialized, with hours. */
    const forgetWriter = () =>
      Promise.all([redis.admin.del(writerKey("w1")), redis.admin.sRem("hg:{0}:writers", "w1")]);

    test("with the writer itself: noticed by a commit, a renewal", async () => {
      const calls: (() => Promise<unknown>)[] = [
        () => store.commit("w1", 4, batchOf([click("v")])),
        () => store.renewLease("w1", 3),
      ];
      for (const call of calls) {
        await redis.admin.flushAll();
        await initializeAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u")]));
        await forgetWriter();
        await call();
        await expectUninitialized();
      }
    });

    test("with the writer itself: noticed on a new connection, before anything is read", async () => {
      await forgetWriter();
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("uninitialized");
      await expectUninitialized();
    });

    test("with a writer that had committed nothing: noticed on a new connection", async () => {
      await store.abandon("w1");
      await removeAdopted(store, "w1", 3);
      await store.register("w2");
      await Promise.all([redis.admin.del(writerKey("w2")), redis.admin.sRem("hg:{0}:writers", "w2")]);
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("uninitialized");
      await expectUninitialized();
    });

    test("all, and set up anew by another process: nothing is read before the next writer", async () => {
      const other = await harness.openWith({ url: redis.server.url });
      await redis.admin.flushAll();
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("uninitialized");
      await initializeAndRegister(other, "w2", NOON);
      await other.commit("w2", 1, batchOf([click("another")]));
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      const range = { from: NOON, to: NOON + HOUR_MS, streams: { text: STREAM, isPrefix: false } };
      expect(await store.readRange(range, () => {})).toBe("uninitialized");
      expect(await store.register("w3")).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
    });

    test("that the cold store has are noticed when the journal is removed", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.fence("w1")).toBe(true);
      await store.removeJournal("w1", 3);
      expect(await store.journalOwners()).toEqual([]);
      await expectUninitialized();
    });

    test("everything lost: nothing is known, nothing is empty", async () => {
      await redis.admin.flushAll();
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect((await store.commit("w1", 4, batchOf([click("v")]))).status).toMatch(/^(uninitialized|unknown)$/);
      expect(await store.abandon("w1")).toBeUndefined();
      await expectUninitialized();
    });

    test("once the data set is initialized again its hours hold what comes then, whole", async () => {
      await lose(1);
      expect(await store.commit("w1", 4, batchOf([click("u-1")]))).toEqual({ status: "uninitialized" });
      await removeAdopted(store, "w1", 3);
      await initializeAndRegister(store, "w2");
      // Users of the lost hour: were they taken for known, they would be missing now.
      const again = [1, 2, 3].map((i) => click(`u-${i}`));
      expect(await store.commit("w2", 1, batchOf(again))).toEqual(committed());
      await expectCounted(store, again);
    });
  });

  describe("keys that something else has deleted", () => {
    let harness: RedisHarness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await redis.open();
      store = await harness.open();
      await initializeAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a"), impression("b")]));
    });

    afterEach(() => harness.end());

    const place = `${NOON}:${STREAM}`;
    const noon = { from: NOON, to: NOON + HOUR_MS, streams: { text: STREAM, isPrefix: false } };
    const CALLS: Readonly<Record<string, () => Promise<unknown>>> = {
      "a read": () => store.read([NOON_KEY]),
      "a read of a range": () => store.readRange(noon, () => {}),
      "a commit": () => store.commit("w1", 2, batchOf([click("c"), impression("d")])),
    };
    for (const [what, keys] of Object.entries({
      counts: [`c:${place}`],
      viewers: [`u:${place}`],
      clickers: [`k:${place}`],
      "all keys of the hour": [`c:${place}`, `u:${place}`, `k:${place}`],
    })) {
      for (const [by, call] of Object.entries(CALLS)) {
        test(`${what}: noticed by ${by}`, async () => {
          await redis.admin.del(keys.map((key) => `hg:{0}:${key}`));
          await call().catch((error) => expect(error).toBeInstanceOf(HotUnavailableError));
          expect(await store.initialization()).toBeUndefined();
        });
      }
    }

    for (const keys of [[`c:${place}`], [`c:${place}`, `u:${place}`, `k:${place}`]]) {
      test(`${keys.length} of the keys of an hour that is loaded again: noticed then`, async () => {
        await redis.admin.del(keys.map((key) => `hg:{0}:${key}`));
        await redis.admin.hSet("hg:{0}:meta", "freshFrom", NOON + HOUR_MS);
        const mark = await store.retirementMark();
        expect(await rejectionOf(store.hydrate(NOON_KEY, undefined, mark))).toBeInstanceOf(HotUnavailableError);
        expect(await store.initialization()).toBeUndefined();
      });
    }

    test("counts: the hour is not retired as one that is flushed", async () => {
      await redis.admin.del(`hg:{0}:c:${place}`);
      expect(await rejectionOf(store.retire(NOON + HOUR_MS))).toBeInstanceOf(HotUnavailableError);
      expect(await store.initialization()).toBeUndefined();
    });

    for (const key of ["hours", "writers", "j:w1"]) {
      test(`${key}: noticed when the lease is renewed, even if there is a new one by then`, async () => {
        expect(await store.renewLease("w1", 1)).toBe("held");
        await redis.admin.del(`hg:{0}:${key}`);
        await store.register("w2");
        await store.commit("w1", 2, batchOf([click("c", undefined, NOON + HOUR_MS)]));
        expect(await store.renewLease("w1", 2)).toBe("lost");
        expect(await store.initialization()).toBeUndefined();
      });
    }

    test("hours: a range is not read without them", async () => {
      await redis.admin.del("hg:{0}:hours");
      expect(await store.readRange(noon, () => {})).toBe("uninitialized");
    });

    test("none: an hour whose users are all erased is loaded and read", async () => {
      await redis.admin.hSet("hg:{0}:meta", "freshFrom", NOON + 2 * HOUR_MS);
      const key = { stream: STREAM, hour: NOON + HOUR_MS };
      const cold = { clicks: 2, impressions: 1, users: usersOf([]) };
      expect(await store.hydrate(key, cold, await store.retirementMark())).toBe(true);
      expect(await store.read([key])).toEqual([present(2, 1, 0)]);
      const visited: unknown[] = [];
      await store.readRange({ ...noon, from: key.hour, to: key.hour + HOUR_MS }, (hour) => visited.push(hour));
      expect(visited).toEqual([{ ...key, ...cold }]);
    });
  });

  /** A server of their own, as the fsync of every batch makes its files the same as its memory. */
  describe("restarts", () => {
    let durable: RedisServer;
    let harness: RedisHarness;
    let store: HotStore;
    let snapshot: string;

    beforeEach(async () => {
      durable = await startRedis({ args: ["--appendfsync", "always"] });
      harness = redis.harnessOn(durable.url);
      store = await harness.open();
      snapshot = mkdtempSync(join(tmpdir(), "hourglass-snapshot-"));
    });

    afterEach(async () => {
      await harness.end();
      await durable.stop();
      rmSync(snapshot, { recursive: true, force: true });
    });

    const takeSnapshot = () => cpSync(durable.dataDir, snapshot, { recursive: true });

    /** Simulates a lagging replica, or a disk that had not received everything. */
    async function comeBackAsAtSnapshot(): Promise<void> {
      await durable.kill();
      rmSync(durable.dataDir, { recursive: true });
      cpSync(snapshot, durable.dataDir, { recursive: true });
      await durable.start();
    }

    test("a Redis that is killed and restarted has everything; the store reconnects", async () => {
      await initializeAndRegister(store, "w1", NOON);
      const events = [...mixedEvents("a", 100), click("x", "id-1")];
      const ordered = eventsOf(batchOf(events)).map(({ register: _, ...event }) => event);
      await store.commit("w1", 1, batchOf(events));
      await durable.kill();
      await waitFor("the end of the connection", () => !store.isReady);
      const error = await rejectionOf(store.commit("w1", 2, batchOf([click("y")])));
      expect(error.mayHaveApplied).toBe(false);
      expect(error.message).toContain("not connected, last error:");
      await durable.start();
      await waitFor("the connection", () => store.isReady);
      await expectCounted(store, events);
      await expectJournal(store, "w1", { 1: ordered });
      const keys = [{ stream: STREAM, hour: NOON - HOUR_MS }];
      expect(await store.read(keys)).toEqual([ABSENT]);
      expect(await store.renewLease("w1", 1)).toBe("held");
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
      expect(await store.commit("w1", 2, batchOf([click("x", "id-1"), click("y")]))).toEqual(committed(0));
      await expectCounted(store, [...events, click("y")]);
    });

    test("a Redis that comes back without acknowledged batches answers nothing that is stale", async () => {
      await initializeAndRegister(store, "w1");
      const other = await harness.open();
      await other.register("w2");
      await store.commit("w1", 1, batchOf([click("a")]));
      await other.commit("w2", 1, batchOf([click("b")]));
      takeSnapshot();
      await store.commit("w1", 2, batchOf([click("c")]));
      await comeBackAsAtSnapshot();
      expect(await firstAnswer(store)).toBe("uninitialized");
      expect(await store.renewLease("w1", 2)).toBe("lost");
      expect(await store.commit("w1", 3, batchOf([click("d")]))).toEqual({ status: "uninitialized" });
      expect(await waitFor("the other's", () => other.renewLease("w2", 1))).toBe("lost");
      await expectJournal(store, "w1", { 1: [click("a")] });
      await removeAdopted(store, "w1", 1);
      expect(await store.initialize(NOON + HOUR_MS)).toBe(false);
      await removeAdopted(store, "w2", 1);
      await initializeAndRegister(store, "w3", NOON + HOUR_MS);
      expect(await other.register("w4")).toBe(true);
      expect(await other.read([NOON_KEY])).toEqual([ABSENT]);
    });

    test("so does one that comes back as it was before the writer came", async () => {
      await initializeAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a")]));
      takeSnapshot();
      const young = await harness.open();
      await young.register("w2");
      await young.commit("w2", 1, batchOf([click("b")]));
      await store.close();
      await comeBackAsAtSnapshot();
      expect(await firstAnswer(young)).toBe("uninitialized");
    });

    test("a Redis that is down: each call fails immediately until it is back", async () => {
      await initializeAndRegister(store, "w1");
      await durable.kill();
      await waitFor("the end of the connection", () => !store.isReady);
      const startMs = performance.now();
      for (let round = 0; round < 50; round++) {
        for (const call of everyCall(store, 1)) expect((await rejectionOf(call())).mayHaveApplied).toBe(false);
      }
      expect(performance.now() - startMs).toBeLessThan(15_000);
      const error = await rejectionOf(harness.store().open());
      expect(error.message).toContain("ECONNREFUSED");
    });
  });
});
