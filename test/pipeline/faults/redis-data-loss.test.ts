/** A Redis that comes back without what it had acknowledged. */
import { describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient, RESP_TYPES } from "redis";
import { RedisHotStore } from "../../../src/store/redis/hot-store.ts";
import { batchOf } from "../../harness/pipeline/batches.ts";
import {
  answerOf,
  click,
  clicks,
  coldStoreAway,
  expectReads,
  hourAt,
  type Instance,
  NOON,
  onMethod,
  STREAM,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import {
  describeFaults,
  flushesFail,
  Load,
  msOf,
  named,
  namedClicks,
  PATIENCE_MS,
  SHORT_LEASE_MS,
  Watch,
} from "./faults-setup.ts";

const isOfOther = (fields: object) => JSON.stringify(fields).includes("do not belong together");

describeFaults((cluster) => {
  describe("a Redis that forgets", () => {
    test("emptied under load: the ring is committed again, and no read is short and silent about it", async () => {
      const a = await cluster.site.start({ flushIntervalMs: 50 });
      const load = new Load("u", a);
      const watch = new Watch(a, load);
      for (let round = 0; round < 5; round++) {
        await load.more(100);
        await cluster.site.flushRedis();
      }
      await load.more(100);
      const taken = await load.end();
      await a.serves(hourAt(NOON));
      await watch.end();
      expect(watch.wrong).toEqual([]);
      expect(watch.complete).toBeGreaterThan(0);
      await expectReads(a, taken);
      await a.drained();
      await cluster.site.expectStored(taken);
      expect(a.pipeline.ledger.lost).toBe(0);
      expect(a.log.has("lost its writer")).toBe(true);
    });

    test("emptied with a full ring: every batch in it is committed again, each event once", async () => {
      const a = await cluster.site.start();
      await a.take(...clicks("flushed", 5));
      await a.drained();
      a.guard.intercept = flushesFail;
      for (let i = 0; i < 20; i++) await a.take(...clicks(`batch-${i}`, 3), named(`x-${i}`));
      await cluster.site.flushRedis();
      const degraded = await a.read(hourAt(NOON));
      expect(degraded).toEqual(answerOf(clicks("flushed", 5), true));
      // What comes while the ring is committed again may be refused, if that takes long.
      await a.takeInTheEnd(named("after"));
      await a.serves(hourAt(NOON));
      const { ledger } = a.pipeline;
      expect(ledger.pending).toBe(81);
      const taken = [...clicks("flushed", 5), named("after")];
      for (let i = 0; i < 20; i++) taken.push(...clicks(`batch-${i}`, 3), named(`x-${i}`));
      await expectReads(a, taken);
      a.guard.intercept = undefined;
      await a.drained();
      await cluster.site.expectStored(taken);
      await cluster.expectKnown(a, [named("after"), named("x-0")]);
    });

    test("emptied when the ring had spilled: what only the journal held is lost, and reported", async () => {
      const a = await cluster.site.start({ ringCapacityEvents: 10 });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("in the ring", 10));
      await a.take(...clicks("spilled", 7));
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await a.serves(hourAt(NOON));
      a.guard.intercept = undefined;
      await a.drained();
      expect(a.pipeline.ledger.lost).toBe(7);
      expect(a.log.entries.filter(({ level }) => level === "error")).toHaveLength(1);
      await cluster.site.expectStored([...clicks("in the ring", 10), named("after")]);
      await expectReads(a, [...clicks("in the ring", 10), named("after")]);
    });

    test("a flush in flight when it is emptied is not missing from an hour that was considered empty", async () => {
      const a = await cluster.site.start();
      const hasBegun = Promise.withResolvers<void>();
      const hasEnded = Promise.withResolvers<void>();
      let isInitializing = false;
      a.guard.intercept = async (call) => {
        if (call.method === "flush") {
          hasBegun.resolve();
          // It ends between the question for the newest hour and its answer, or before, if that waits for it.
          await waitFor("the initialization", () => isInitializing, { timeoutMs: 500 }).catch(() => {});
          return await call.proceed().finally(() => hasEnded.resolve());
        }
        const answer = await call.proceed();
        if (call.method !== "newestHour") return answer;
        isInitializing = true;
        await hasEnded.promise;
        return answer;
      };
      await a.take(click("under way"));
      await hasBegun.promise;
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await a.serves(hourAt(NOON));
      await expectReads(a, [click("under way"), named("after")]);
      await cluster.site.expectStored([click("under way"), named("after")]);
    });

    test("emptied after a flush whose answer was lost: what is stored is not committed again", async () => {
      const a = await cluster.site.start();
      const { writer } = a.pipeline;
      const isStored = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("cold.flush", async (call) => {
        const answer = await call.proceed();
        isStored.resolve();
        if (call.args[0] === writer) throw unavailable("cold");
        return answer;
      });
      await a.take(...clicks("u", 10));
      await isStored.promise;
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await a.serves(hourAt(NOON));
      await a.drained();
      await expectReads(a, [...clicks("u", 10), named("after")]);
      await cluster.site.expectStored([...clicks("u", 10), named("after")]);
    });

    test("emptied while the cold store is down: refused in time, and all is there when that is back", async () => {
      const a = await cluster.site.start();
      await a.take(...clicks("flushed", 5));
      await a.drained();
      a.guard.intercept = coldStoreAway;
      await a.take(...clicks("in the ring", 5));
      await cluster.site.flushRedis();
      const outcomes = a.submit(...clicks("refused", 3));
      expect(await msOf(outcomes)).toBeLessThan(PATIENCE_MS);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(3).fill("cold_store_away"));
      expect((await a.submit(click("refused too")))[0]?.reason).toBe("cold_store_away");
      await expect(a.read(hourAt(NOON))).rejects.toThrow();
      a.guard.intercept = undefined;
      await cluster.takesEvents(a);
      await a.serves(hourAt(NOON));
      await expectReads(a, [...clicks("flushed", 5), ...clicks("in the ring", 5)]);
      await cluster.site.expectStored([...clicks("flushed", 5), ...clicks("in the ring", 5)]);
    });

    test("emptied after a writer was given up: what was left to the adopters of its journal is there", async () => {
      const a = await cluster.site.start();
      a.guard.intercept = coldStoreAway;
      await a.take(...clicks("left", 3));
      // Another instance has noticed a loss, and cannot set up the data set.
      await cluster.site.redis("DEL", "hg:{0}:meta");
      await waitFor("the writer to be given up", () => a.pipeline.ledger.handedOver === 3);
      await cluster.site.flushRedis();
      a.guard.intercept = undefined;
      await waitFor("it to be taken back", () => a.pipeline.ledger.handedOver === 0);
      await a.drained();
      await a.serves(hourAt(NOON));
      await expectReads(a, clicks("left", 3));
      await cluster.site.expectStored(clicks("left", 3));
      expect(a.log.has("the journal of a former writer was lost")).toBe(true);
    });

    test("emptied after a batch in doubt was found in the journal of a writer given up: it is there", async () => {
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const fenced = Promise.withResolvers<void>();
      b.guard.intercept = async (call) => {
        const answer = await coldStoreAway(call);
        if (call.method === "fence") fenced.resolve();
        return answer;
      };
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS, outcomeTimeoutMs: 120_000 });
      a.guard.intercept = coldStoreAway;
      await a.take(...clicks("left", 3));
      proxy.dropAnswers();
      const outcome = a.submit(click("in doubt"));
      await waitFor("it to be in doubt", () => a.pipeline.refusal !== undefined);
      proxy.refuse();
      proxy.cutAll();
      await fenced.promise;
      proxy.onDownstream = undefined;
      await proxy.accept();
      expect(await outcome).toEqual([undefined]);
      await cluster.site.flushRedis();
      a.guard.intercept = b.guard.intercept = undefined;
      await waitFor("it to be taken back", () => a.pipeline.ledger.handedOver === 0);
      await a.drained();
      await a.serves(hourAt(NOON));
      await expectReads(a, [...clicks("left", 3), click("in doubt")]);
      await cluster.site.expectStored([...clicks("left", 3), click("in doubt")]);
    });

    test("emptied after a writer was given up: what only its journal had is said to be lost", async () => {
      const a = await cluster.site.start({ ringCapacityEvents: 3 });
      a.guard.intercept = coldStoreAway;
      await a.take(...clicks("in memory", 3));
      for (const event of clicks("beyond it", 5)) await a.take(event);
      await cluster.site.redis("DEL", "hg:{0}:meta");
      await waitFor("the writer to be given up", () => a.pipeline.ledger.handedOver === 8);
      await cluster.site.flushRedis();
      a.guard.intercept = undefined;
      await waitFor("the loss to be noticed", () => a.pipeline.ledger.lost > 0);
      await a.drained();
      const { lost, handedOver, accepted, persisted } = a.pipeline.ledger;
      expect({ lost, handedOver, accepted, persisted }).toEqual({ lost: 5, handedOver: 0, accepted: 8, persisted: 3 });
      await a.serves(hourAt(NOON));
      await expectReads(a, clicks("in memory", 3));
      await cluster.site.expectStored(clicks("in memory", 3));
      expect(a.log.has("the hot store lost batches that only its journal held")).toBe(true);
    });

    test("set up anew at another master meanwhile: an instance that stores nothing notices it, too", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await a.take(...clicks("u", 3));
      await a.drained();
      const { cold } = a.stores;
      const epoch = await cold.epoch();
      expect(await cold.beginEpoch(epoch)).toBe(true);
      await waitFor("it to set up its own anew", async () => (await cold.epoch()) > epoch + 1);
      await a.serves(hourAt(NOON));
      await expectReads(a, clicks("u", 3));
    });

    test("emptied while the cold store is slow: refused in time, and accepted when it is done", async () => {
      const a = await cluster.site.start();
      await a.take(...clicks("u", 5));
      await a.drained();
      const isSlow = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("cold.newestHour", async (call) => {
        await isSlow.promise;
        return await call.proceed();
      });
      await cluster.site.flushRedis();
      const outcomes = a.submit(...clicks("refused", 3));
      expect(await msOf(outcomes)).toBeLessThan(PATIENCE_MS);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(3).fill("hot_store_away"));
      expect((await a.submit(click("refused too")))[0]?.reason).toBe("hot_store_away");
      isSlow.resolve();
      await cluster.takesEvents(a);
      await a.take(click("later"));
      await expectReads(a, [...clicks("u", 5), click("later")]);
      await cluster.site.expectStored([...clicks("u", 5), click("later")]);
    });

    test("the lease of the lost writer is left alone: it would be a sign of loss to the new data set", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await a.take(click("u"));
      await a.drained();
      const until = performance.now() + 2 * SHORT_LEASE_MS;
      a.guard.intercept = onMethod("hot.register", async (call) => {
        await waitFor("several renewals to be due", () => performance.now() > until);
        return await call.proceed();
      });
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await expectReads(a, [click("u"), named("after")]);
      expect(a.log.entries.filter(({ message }) => message === "set up the hot store")).toHaveLength(2);
    });

    test("emptied again while it is set up: it still knows to which database it belongs", async () => {
      const a = await cluster.site.start();
      let emptied = 0;
      a.guard.intercept = onMethod("hot.initialize", async (call) => {
        if (emptied++ === 0) await cluster.site.flushRedis();
        return await call.proceed();
      });
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("u"));
      expect(emptied).toBeGreaterThan(0);
      expect(await a.stores.hot.dataSet()).toEqual(await a.stores.cold.dataSet());
    });

    test("taken by another database, and emptied then: events are accepted again", async () => {
      const a = await cluster.site.start();
      const other = { identity: "another database", userKey: new Uint8Array(16) };
      const taken = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("hot.dataSet", async (call) => {
        await taken.promise;
        return await call.proceed();
      });
      await cluster.site.flushRedis();
      await a.stores.hot.dataSet(other);
      taken.resolve();
      await waitFor("it to be noticed", () => a.log.entries.some(({ fields }) => isOfOther(fields)));
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("u"));
      expect(await a.stores.hot.dataSet()).toEqual(await a.stores.cold.dataSet());
    });

    test("taken over by a server without the last trim: it is told again how much is flushed", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const client = await createClient({ url: cluster.servers.redis.url }).connect();
      try {
        await a.take(...clicks("u", 5));
        const stored = () => a.stores.hot.storedEvents();
        await waitFor("the trim", async () => (await stored()) === 5);
        await client.hDel(`hg:{0}:w:${a.pipeline.writer}`, "stored");
        expect(await stored()).toBe(0);
        await client.sendCommand(["CLIENT", "KILL", "TYPE", "normal"]);
        await waitFor("another trim", async () => (await stored()) === 5);
      } finally {
        client.destroy();
      }
    });

    test("replaced by one of another database: that is left alone, and nothing is lost", async () => {
      const { redis } = cluster.servers;
      const client = await createClient({ url: redis.url }).connect();
      const admin = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
      const contents = async () => {
        const keys = (await admin.keys("*")).map(String).sort();
        return await Promise.all(keys.map(async (key) => [key, (await admin.dump(key)) as unknown as Buffer] as const));
      };
      try {
        await fillWithOther(redis.url);
        const others = await contents();
        await admin.flushAll();
        const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
        await a.take(click("before"), named("id"));
        const replacing = admin.multi().flushAll();
        for (const [key, dump] of others) replacing.restore(key, 0, dump);
        await replacing.exec();
        await admin.sendCommand(["CLIENT", "KILL", "TYPE", "normal"]);
        await waitFor("an event to be refused for that", async () => {
          return (await a.pipeline.submit(click("refused")))?.reason === "other_database";
        });
        expect(await contents()).toEqual(others);
        await admin.flushAll();
        await a.takeInTheEnd(named("id"), click("after"));
        await cluster.site.expectStored([click("before"), named("id"), click("after")]);
      } finally {
        admin.destroy();
      }
    });

    /** In the same epoch, with a writer that has ended, and has a journal. */
    async function fillWithOther(url: string): Promise<void> {
      const other = new RedisHotStore({ url, leaseMs: 1, commandTimeoutMs: 10_000 });
      try {
        await other.open();
        await other.dataSet({ identity: "another database", userKey: new Uint8Array(16) });
        await other.initialize(0, 1);
        await other.register("ended", 1);
        await other.commit("ended", 1, batchOf([click("ann")]));
      } finally {
        await other.close();
      }
    }

    test("a stop right after it was emptied loses nothing", async () => {
      const a = await cluster.site.start();
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 10));
      await cluster.site.flushRedis();
      const outcomes = a.submit(...clicks("v", 10));
      a.guard.intercept = undefined;
      await a.stop();
      const taken = (await outcomes)[0] === undefined ? clicks("v", 10) : [];
      await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await cluster.site.expectStored([...clicks("u", 10), ...taken]);
    });

    test("two instances, emptied under load: each finds its own again", async () => {
      const [a, b] = await Promise.all([
        cluster.site.start({ leaseMs: 1_000 }),
        cluster.site.start({ leaseMs: 1_000 }),
      ]);
      const load = new Load("u", a, b);
      for (let round = 0; round < 3; round++) {
        await load.more(150);
        await cluster.site.flushRedis();
      }
      await load.more(150);
      const taken = await load.end();
      await Promise.all([a.drained(), b.drained()]);
      await cluster.site.expectStored(taken);
      for (const instance of [a, b]) {
        await instance.serves(hourAt(NOON));
        await expectReads(instance, taken);
      }
    });

    /** Two instances: the second has flushed "first", and what the first took, "late", can't be flushed. */
    async function lateFlush(): Promise<[Instance, Instance]> {
      const start = () => cluster.site.start({ leaseMs: 1_000 });
      const [a, b] = await Promise.all([start(), start()]);
      await b.take(click("first"));
      await b.drained();
      a.guard.intercept = flushesFail;
      await a.take(click("late"));
      return [a, b];
    }

    test("two instances, one of them idle: what it flushes late is in no hour that the other made", async () => {
      const [a, b] = await lateFlush();
      await cluster.site.flushRedis();
      // It notices, makes a new data set, and an hour in that, without the other's event.
      await b.takeInTheEnd(named("new"));
      a.guard.intercept = undefined;
      await a.drained();
      await cluster.site.expectStored([click("first"), click("late"), named("new")]);
      for (const instance of [a, b]) {
        await waitFor("the hour to be whole", async () => (await instance.read(hourAt(NOON))).clicks === 3);
        await instance.serves(hourAt(NOON));
        await expectReads(instance, [click("first"), click("late"), named("new")]);
      }
    });

    test("two instances, one killed right after a late flush: no hour lacks what is stored", async () => {
      const [a, b] = await lateFlush();
      const [mayFlush, hasFlushed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      a.guard.intercept = async (call) => {
        // It does not look at Redis any more.
        if (call.store === "hot") return await new Promise(() => {});
        if (call.method !== "flush") return await call.proceed();
        await mayFlush.promise;
        return await call.proceed().finally(() => hasFlushed.resolve());
      };
      await cluster.site.flushRedis();
      await b.takeInTheEnd(named("new"));
      mayFlush.resolve();
      await hasFlushed.promise;
      cluster.site.kill(a);
      await b.drained();
      await cluster.site.expectStored([click("first"), named("new")]);
      await expectReads(b, [click("first"), named("new")]);
    });

    /** Nothing is restored before the gate opens; answers a promise for when that would have begun. */
    function holdRestoration(a: Instance, gate: Promise<void>): Promise<void> {
      const hasBegun = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("hot.restoreIds", async (call) => {
        if ((call.args[2] as readonly unknown[]).length > 0) {
          hasBegun.resolve();
          await gate;
        }
        return await call.proceed();
      });
      return hasBegun.promise;
    }

    test("emptied: stored ids are duplicates; events without an id are accepted before ids are restored", async () => {
      const a = await cluster.site.start();
      const before = [...namedClicks("before", 20), ...clicks("no id", 5)];
      await a.take(...before);
      await a.drained();
      const gate = Promise.withResolvers<void>();
      const hasBegun = holdRestoration(a, gate.promise);
      await cluster.site.flushRedis();
      await a.takeInTheEnd(click("meanwhile"));
      await hasBegun;
      const refusal = { reason: "restoring_ids", retryAfterS: 5 } as const;
      expect(await a.submit(named("before-3"), named("new"))).toEqual([refusal, refusal]);
      const bulk = [named("before-0"), click("in a bulk"), named("new")];
      const outcome = await a.pipeline.submitAll(bulk);
      expect(outcome).toEqual({ accepted: 1, duplicates: 0, refused: [{ refusal, positions: [0, 2] }], unknown: [] });
      const allOrNone = await a.pipeline.submitAll([click("not without the other"), named("new")], true);
      expect(allOrNone.refused).toEqual([{ refusal, positions: [0, 1] }]);
      expect(a.pipeline.refusal).toBeUndefined();
      expect(a.pipeline.ledger.refused.restoring_ids).toBe(6);
      gate.resolve();
      await a.takeInTheEnd(named("new"));
      await cluster.expectKnown(a, namedClicks("before", 20));
      expect(a.log.has("restoring ids")).toBe(true);
      expect(a.log.has("all ids are known again")).toBe(true);
      await cluster.site.expectStored([...before, click("meanwhile"), click("in a bulk"), named("new")]);
    });

    test("emptied while a batch with ids waits: it is refused, and none of it counts", async () => {
      const a = await cluster.site.start();
      await a.take(...namedClicks("before", 3));
      await a.drained();
      const gate = Promise.withResolvers<void>();
      void holdRestoration(a, gate.promise);
      const { intercept } = a.guard;
      a.guard.intercept = async (call) => {
        // Not this notices that Redis is empty, but the commit.
        if (call.method === "renewLease") await gate.promise;
        return await intercept!(call);
      };
      await cluster.site.flushRedis();
      const outcomes = await a.submit(named("before-0"), click("beside it"));
      // On a busy machine it may take longer than events wait until that is known.
      for (const outcome of outcomes) expect(["restoring_ids", "hot_store_away"]).toContain(outcome?.reason as string);
      gate.resolve();
      await a.takeInTheEnd(named("new"));
      await cluster.site.expectStored([...namedClicks("before", 3), named("new")]);
    });

    test("emptied: of two instances one restores ids, and if it ends half way, the other", async () => {
      const [a, b] = await Promise.all([cluster.site.start(), cluster.site.start()]);
      await a.take(...namedClicks("of a", 20));
      await b.take(...namedClicks("of b", 20));
      await Promise.all([a.drained(), b.drained()]);
      const never = new Promise<void>(() => {});
      const begun = [holdRestoration(a, never), holdRestoration(b, never)];
      await cluster.site.flushRedis();
      const first = await Promise.race(begun.map((hasBegun, i) => hasBegun.then(() => i)));
      const [frozen, other] = first === 0 ? [a, b] : [b, a];
      other.guard.intercept = undefined;
      cluster.site.kill(frozen);
      await other.takeInTheEnd(named("new"));
      await cluster.expectKnown(other, [...namedClicks("of a", 20), ...namedClicks("of b", 20)]);
      await cluster.site.expectStored([...namedClicks("of a", 20), ...namedClicks("of b", 20), named("new")]);
    });

    test("emptied: ids are restored again over another connection, behind which some may be missing", async () => {
      const a = await cluster.site.start();
      const before = namedClicks("before", 3);
      await a.take(...before);
      await a.drained();
      const { hot } = a.stores;
      let isFirst = true;
      a.guard.intercept = onMethod("hot.restoreIds", async (call) => {
        const answer = await call.proceed();
        if ((call.args[2] as readonly unknown[]).length === 0 || !isFirst) return answer;
        isFirst = false;
        const { connections } = hot;
        await cluster.site.redis("DEL", `hg:{0}:id:${STREAM}:before-1`);
        await cluster.site.redis("CLIENT", "KILL", "TYPE", "normal");
        await waitFor("another connection", () => hot.connections > connections);
        return answer;
      });
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("new"));
      expect(isFirst).toBe(false);
      await cluster.expectKnown(a, before);
      await cluster.site.expectStored([...before, named("new")]);
    });

    test("another Redis than the last time is noticed, and so is the former when it comes back", async () => {
      const copy = mkdtempSync(join(tmpdir(), "hourglass-former-"));
      try {
        const a = await cluster.site.start();
        await a.take(click("in the former"), named("id"));
        await a.stop();
        expect(a.log.has("the hot store is empty")).toBe(false);
        cpSync(cluster.servers.redis.dataDir, copy, { recursive: true });
        await cluster.site.flushRedis();
        const b = await cluster.site.start();
        await b.takeInTheEnd(named("id"), click("in another"));
        expect(b.log.has("the hot store is empty")).toBe(true);
        await b.stop();
        await setBack(copy);
        const c = await cluster.site.start();
        await c.takeInTheEnd(named("id"));
        expect(c.log.has("the hot store holds an earlier state of this data")).toBe(true);
        const stored = [click("in the former"), named("id"), click("in another")];
        await expectReads(c, stored);
        await cluster.site.expectStored(stored);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    });

    /** Stops it, puts back the files as they were when `copy` was made, and starts it. */
    async function setBack(copy: string): Promise<void> {
      await cluster.servers.redis.kill();
      rmSync(cluster.servers.redis.dataDir, { recursive: true });
      cpSync(copy, cluster.servers.redis.dataDir, { recursive: true });
      await cluster.servers.redis.start();
    }

    test("set back to an older state: no hour is read that lacks later events", async () => {
      const copy = mkdtempSync(join(tmpdir(), "hourglass-older-"));
      try {
        const a = await cluster.site.start({ flushIntervalMs: 50 });
        const load = new Load("u", a);
        await load.more(200);
        cpSync(cluster.servers.redis.dataDir, copy, { recursive: true });
        await load.more(200);
        const watch = new Watch(a, load);
        await setBack(copy);
        await load.more(200);
        const taken = await load.end();
        await a.serves(hourAt(NOON));
        await watch.end();
        expect(watch.wrong).toEqual([]);
        await expectReads(a, taken);
        await cluster.site.expectStored(taken);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    });

    test("set back to before a writer came that has ended since: its events are read all the same", async () => {
      const copy = mkdtempSync(join(tmpdir(), "hourglass-older-"));
      try {
        const a = await cluster.site.start();
        await a.take(click("before"));
        await a.drained();
        cpSync(cluster.servers.redis.dataDir, copy, { recursive: true });
        const b = await cluster.site.start();
        await b.take(click("of another"), named("id"));
        await b.drained();
        await b.stop();
        await setBack(copy);
        await waitFor("the hour to be whole", async () => {
          const { clicks: found, isDegraded } = await a.read(hourAt(NOON));
          return found === 3 && !isDegraded;
        });
        await a.takeInTheEnd(named("id"));
        const stored = [click("before"), click("of another"), named("id")];
        await expectReads(a, stored);
        await cluster.site.expectStored(stored);
        expect(a.log.has("does not know writers")).toBe(true);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    });

    test("set back, with the cold store behind: what neither has is committed again", async () => {
      const copy = mkdtempSync(join(tmpdir(), "hourglass-older-"));
      try {
        const a = await cluster.site.start({ leaseMs: 1_000 });
        const b = await cluster.site.start({ leaseMs: 1_000 });
        a.guard.intercept = flushesFail;
        b.guard.intercept = flushesFail;
        await a.take(...namedClicks("older", 10));
        await b.take(...clicks("of the other", 10));
        cpSync(cluster.servers.redis.dataDir, copy, { recursive: true });
        await a.take(...namedClicks("newer", 10));
        await b.take(...clicks("of the other, newer", 10));
        await setBack(copy);
        const taken = [...namedClicks("older", 10), ...namedClicks("newer", 10)];
        taken.push(...clicks("of the other", 10), ...clicks("of the other, newer", 10));
        a.guard.intercept = undefined;
        b.guard.intercept = undefined;
        await cluster.site.expectStored(taken);
        for (const instance of [a, b]) {
          await waitFor("the hour to be whole", async () => (await instance.read(hourAt(NOON))).clicks === 40);
          await instance.serves(hourAt(NOON));
          await expectReads(instance, taken);
        }
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    });
  });
});
