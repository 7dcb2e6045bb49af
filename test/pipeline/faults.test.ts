/**
 * What a network, a Redis and a MySQL can do to the pipeline: connections cut at a chosen place, answers that
 * never come, servers killed, frozen, emptied or set back, instances that are frozen and wake.
 *
 * Invariant checked after each of them: every event that was taken is one row and one count, and no other is;
 * an hour that is not told to be incomplete holds every event that had been taken when it was asked for.
 */
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Event, HOUR_MS } from "../../src/domain/event.ts";
import { Ledger } from "../../src/domain/ledger.ts";
import type { Outcome } from "../../src/pipeline/commit/open-batch.ts";
import { adoptJournals } from "../../src/pipeline/upkeep/journal-adoption.ts";
import { HotUnavailableError } from "../../src/store/hot.ts";
import {
  answerOf,
  ClusterServers,
  type ClusterSite,
  click,
  clicks,
  coldStoreAway,
  endKilled,
  expectReads,
  hourAt,
  type Instance,
  type Interceptor,
  NOON,
  onMethod,
  RecordedLog,
  STREAM,
  unavailable,
} from "../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../harness/servers/tcp-proxy.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SETUP_TIMEOUT_MS = 120_000;
const SLOW_TEST_MS = 60_000;
/** A refusal is to be out within a second; this machine may be busy with other things. */
const PATIENCE_MS = 4_000;
const SHORT_LEASE_MS = 300;
/** A user whose commit is found on the wire by this name. */
const MARK = "the-marked-user";

setDefaultTimeout(SLOW_TEST_MS);

const flushesFail = onMethod("cold.flush", async () => {
  throw unavailable("cold");
});

function named(id: string, user = `user of ${id}`, at = NOON): Event {
  return click(user, at, STREAM, id);
}

function namedClicks(name: string, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => named(`${name}-${i}`));
}

async function msOf(work: Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work;
  return performance.now() - startMs;
}

/** Clients that send each event under an id until it is taken, and go on until they are stopped. */
class Load {
  readonly taken: Event[] = [];
  readonly #clients: Promise<void>[];
  #isOver = false;

  constructor(name: string, ...instances: readonly Instance[]) {
    this.#clients = instances.flatMap((instance, n) =>
      [0, 1, 2].map((client) => this.#run(instance, `${name}-${n}-${client}`)),
    );
  }

  async #run(instance: Instance, name: string): Promise<void> {
    for (let i = 0; !this.#isOver; i++) {
      const event = named(`${name}-${i}`);
      await instance.takeInTheEnd(event);
      this.taken.push(event);
    }
  }

  /** Answers once this many more events have been taken. */
  async more(count: number): Promise<void> {
    const goal = this.taken.length + count;
    await waitFor(`${count} more events to be taken`, () => this.taken.length >= goal, { timeoutMs: 30_000 });
  }

  async end(): Promise<Event[]> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    return this.taken;
  }
}

/** Reads an hour again and again; an answer that lacks an event, and does not say so, is kept. */
class Watch {
  readonly wrong: string[] = [];
  degraded = 0;
  complete = 0;
  #isOver = false;
  readonly #reading: Promise<void>;

  constructor(instance: Instance, load: Load) {
    this.#reading = this.#run(instance, load);
  }

  async #run(instance: Instance, load: Load): Promise<void> {
    while (!this.#isOver) {
      const least = load.taken.length;
      const answer = await instance.read(hourAt(NOON)).catch(() => undefined);
      if (answer === undefined || answer.isDegraded) this.degraded += 1;
      else this.complete += 1;
      if (answer?.isDegraded === false && answer.clicks < least)
        this.wrong.push(`${answer.clicks} of ${least}`);
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#reading;
  }
}

describeWithServers("pipeline: faults", ["redis", "mariadb"], () => {
  const servers = new ClusterServers();
  const proxies: TcpProxy[] = [];
  let site: ClusterSite;

  beforeAll(() => servers.start(), SETUP_TIMEOUT_MS);
  afterAll(async () => {
    await endKilled();
    await servers.stop();
  }, SETUP_TIMEOUT_MS);

  beforeEach(async () => {
    site = await servers.openSite();
  });

  afterEach(async () => {
    await servers.heal();
    for (const proxy of proxies.splice(0)) await proxy.close();
    await site.close();
  }, SETUP_TIMEOUT_MS);

  async function proxyTo(port: number): Promise<TcpProxy> {
    const proxy = await startProxy(port);
    proxies.push(proxy);
    return proxy;
  }

  async function behindRedisProxy(): Promise<TcpProxy> {
    const proxy = await proxyTo(servers.redis.port);
    site.reach({ redisPort: proxy.port });
    return proxy;
  }

  async function behindMysqlProxy(): Promise<TcpProxy> {
    const proxy = await proxyTo(servers.mariaDb.port);
    site.reach({ mysqlPort: proxy.port });
    return proxy;
  }

  async function takesEvents(a: Instance): Promise<void> {
    await waitFor("events to be taken again", () => a.pipeline.refusal === undefined, { timeoutMs: 30_000 });
  }

  /** Each of these is known: sent again, it is answered as stored and counts no second time. */
  async function expectKnown(a: Instance, events: readonly Event[]): Promise<void> {
    const before = a.pipeline.ledger.duplicates;
    await a.take(...events);
    expect(a.pipeline.ledger.duplicates - before).toBe(events.length);
  }

  describe("the connection to Redis", () => {
    test("cut before a commit reached it: the commit is sent again, and counts once", async () => {
      const proxy = await behindRedisProxy();
      const a = await site.start();
      let cuts = 0;
      proxy.onUpstream = (chunk, connection) => {
        if (cuts > 0 || !chunk.includes(MARK)) return true;
        cuts += 1;
        connection.cut();
        return false;
      };
      await a.takeInTheEnd(named("x", MARK));
      expect(cuts).toBe(1);
      await expectReads(a, [named("x", MARK)]);
      await expectKnown(a, [named("x", MARK)]);
      await site.expectStored([named("x", MARK)]);
    });

    /** Lets the marked commit through, and does something else than letting its answer through, once. */
    function loseAnswer(proxy: TcpProxy, loss: "cut" | "drop"): { losses: number } {
      const seen = { losses: 0, isMarked: false };
      proxy.onUpstream = (chunk) => {
        seen.isMarked ||= seen.losses === 0 && chunk.includes(MARK);
        return true;
      };
      proxy.onDownstream = (_, connection) => {
        if (!seen.isMarked) return true;
        seen.isMarked = false;
        seen.losses += 1;
        if (loss === "cut") connection.cut();
        return false;
      };
      return seen;
    }

    for (const loss of ["cut", "drop"] as const) {
      test(`its answer to a commit lost (${loss}): asked again under the same seq, counted once`, async () => {
        const proxy = await behindRedisProxy();
        const a = await site.start();
        // On a busy machine the second attempt may come too late, and the events are refused: once more then.
        const taken: Event[] = [];
        let isTaken = false;
        for (let round = 0; round < 5 && !isTaken; round++) {
          const seen = loseAnswer(proxy, loss);
          const seqsBefore = await seqs();
          const events = [named(`x-${round}`, MARK), click(`${MARK} too`)];
          const outcomes = await a.submit(...events);
          expect(seen.losses).toBe(1);
          isTaken = outcomes[0] === undefined;
          await takesEvents(a);
          if (!isTaken) continue;
          taken.push(...events);
          await a.drained();
          expect(await seqs()).toBe(seqsBefore + 1);
        }
        expect(isTaken).toBe(true);
        await expectReads(a, taken);
        await site.expectStored(taken);
      });
    }

    async function seqs(): Promise<number> {
      return (await site.watermarks()).reduce((sum, { seq }) => sum + seq, 0);
    }

    test("no answers at all: refused in time, and what had been applied is taken back", async () => {
      const proxy = await behindRedisProxy();
      const a = await site.start();
      await a.take(click("before"));
      proxy.dropAnswers();
      const refused = [...namedClicks("x", 3), ...clicks("plain", 3)];
      const outcomes = a.submit(...refused);
      expect(await msOf(outcomes)).toBeLessThan(PATIENCE_MS);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(6).fill("hot_store_away"));
      // At once, as it is known by now.
      expect(await a.submit(click("w"))).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await takesEvents(a);
      const { clicks: counted } = await a.read(hourAt(NOON));
      expect(counted).toBe(1);
      expect(a.log.has("took back refused events")).toBe(true);
      await a.take(...refused);
      expect(a.pipeline.ledger.duplicates).toBe(0);
      await site.expectStored([click("before"), ...refused]);
      expect((await a.read(hourAt(NOON))).clicks).toBe(7);
    });

    test("what was refused here and was answered as stored elsewhere meanwhile counts", async () => {
      const b = await site.start();
      const proxy = await behindRedisProxy();
      const a = await site.start();
      proxy.dropAnswers();
      const outcomes = await a.submit(named("x"), named("y"), named("z"));
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual(Array(3).fill("hot_store_away"));
      await expectKnown(b, [named("y")]);
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await takesEvents(a);
      await site.expectStored([named("y")]);
      expect((await b.read(hourAt(NOON))).clicks).toBe(1);
      await b.take(named("x"), named("y"), named("z"));
      await site.expectStored([named("x"), named("y"), named("z")]);
      await expectReads(a, [named("x"), named("y"), named("z")]);
    });

    test("cut at every commit for a while, under load", async () => {
      const proxy = await behindRedisProxy();
      const a = await site.start();
      const load = new Load("u", a);
      let chunks = 0;
      proxy.onUpstream = (_, connection) => {
        chunks += 1;
        if (chunks % 40 !== 0) return true;
        connection.cut();
        return false;
      };
      proxy.onDownstream = (_, connection) => {
        chunks += 1;
        if (chunks % 33 !== 0) return true;
        connection.cut();
        return false;
      };
      await load.more(500);
      proxy.onUpstream = undefined;
      proxy.onDownstream = undefined;
      const taken = await load.end();
      await a.drained();
      await site.expectStored(taken);
      expect((await a.read(hourAt(NOON))).clicks).toBe(taken.length);
    });

    test("one connection an instance is left after many were lost", async () => {
      const proxy = await behindRedisProxy();
      const a = await site.start();
      for (let round = 0; round < 5; round++) {
        await site.flushRedis();
        proxy.cutAll();
        await a.takeInTheEnd(click(`u-${round}`));
      }
      await waitFor("one connection", () => proxy.connectionCount === 1);
      await a.stop();
      await waitFor("no connection", () => proxy.connectionCount === 0);
    });
  });

  describe("Redis", () => {
    test("frozen for longer than a commit may take: refused in time, never counted, ids free again", async () => {
      const a = await site.start();
      const taken = [click("before")];
      await a.take(...taken);
      for (let round = 0; round < 3; round++) {
        const refused = [...namedClicks(`x-${round}`, 3), ...clicks(`plain-${round}`, 3)];
        servers.redis.pause();
        const outcomes = a.submit(...refused);
        const waitMs = await msOf(outcomes);
        const late = a.submit(click("late"));
        expect(await msOf(late)).toBeLessThan(PATIENCE_MS);
        servers.redis.resume();
        expect(waitMs).toBeLessThan(PATIENCE_MS);
        for (const outcome of [...(await outcomes), ...(await late)]) {
          expect(outcome).toEqual({ reason: "hot_store_away", retryAfterS: 1 });
        }
        await takesEvents(a);
        expect((await a.read(hourAt(NOON))).clicks).toBe(taken.length);
        await a.take(...refused);
        taken.push(...refused);
      }
      expect(a.pipeline.ledger.duplicates).toBe(0);
      await site.expectStored(taken);
      expect((await a.read(hourAt(NOON))).clicks).toBe(taken.length);
    });

    test("frozen: reads fall back to the cold store, say so, and are whole again afterwards", async () => {
      const a = await site.start();
      await a.take(...clicks("u", 5));
      await a.drained();
      servers.redis.pause();
      const reading = a.read(hourAt(NOON));
      expect(await msOf(reading)).toBeLessThan(PATIENCE_MS);
      expect(await reading).toEqual(answerOf(clicks("u", 5), true));
      servers.redis.resume();
      await a.serves(hourAt(NOON));
      await expectReads(a, clicks("u", 5));
    });

    for (const fsync of ["everysec", "always"]) {
      test(`killed and started again under load (appendfsync ${fsync})`, async () => {
        await site.redis("CONFIG", "SET", "appendfsync", fsync);
        const a = await site.start();
        const load = new Load("u", a);
        const watch = new Watch(a, load);
        for (let round = 0; round < 3; round++) {
          await load.more(100);
          await servers.redis.kill();
          expect(await msOf(a.submit(click("while it is away")))).toBeLessThan(PATIENCE_MS);
          await servers.redis.start();
        }
        await load.more(100);
        const taken = await load.end();
        await watch.end();
        expect(watch.wrong).toEqual([]);
        await expectReads(a, taken);
        await site.expectStored(taken);
        expect(await site.journals()).toEqual([a.pipeline.writer!]);
      });
    }

    test("away at the stop: ends in time, and the next instance finds everything", async () => {
      const a = await site.start({ leaseMs: SHORT_LEASE_MS });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 10));
      servers.redis.pause();
      expect((await a.submit(click("refused")))[0]?.reason).toBe("hot_store_away");
      await a.stop();
      expect(a.log.has("the writer's end could not be noted")).toBe(true);
      servers.redis.resume();
      await site.start({ leaseMs: SHORT_LEASE_MS });
      await waitFor("the rows", async () => (await site.cold.countEvents()) >= 10);
      // The refused one was in doubt when its process ended: nobody was left to take it back.
      const rows = await site.cold.events();
      expect(rows.filter(({ user }) => user !== "refused")).toHaveLength(10);
    });
  });

  describe("a Redis that forgets", () => {
    test("emptied under load: the ring is committed again, and no read is short and silent about it", async () => {
      const a = await site.start({ flushIntervalMs: 50 });
      const load = new Load("u", a);
      const watch = new Watch(a, load);
      for (let round = 0; round < 5; round++) {
        await load.more(100);
        await site.flushRedis();
      }
      await load.more(100);
      const taken = await load.end();
      await a.serves(hourAt(NOON));
      await watch.end();
      expect(watch.wrong).toEqual([]);
      expect(watch.complete).toBeGreaterThan(0);
      await expectReads(a, taken);
      await a.drained();
      await site.expectStored(taken);
      expect(a.pipeline.ledger.lost).toBe(0);
      expect(a.log.has("lost its writer")).toBe(true);
    });

    test("emptied with a full ring: every batch in it is committed again, each event once", async () => {
      const a = await site.start();
      await a.take(...clicks("flushed", 5));
      await a.drained();
      a.guard.intercept = flushesFail;
      for (let i = 0; i < 20; i++) await a.take(...clicks(`batch-${i}`, 3), named(`x-${i}`));
      await site.flushRedis();
      const degraded = await a.read(hourAt(NOON));
      expect(degraded).toEqual(answerOf(clicks("flushed", 5), true));
      await a.take(named("after"));
      await a.serves(hourAt(NOON));
      const { ledger } = a.pipeline;
      expect(ledger.pending).toBe(81);
      const taken = [...clicks("flushed", 5), named("after")];
      for (let i = 0; i < 20; i++) taken.push(...clicks(`batch-${i}`, 3), named(`x-${i}`));
      await expectReads(a, taken);
      a.guard.intercept = undefined;
      await a.drained();
      await site.expectStored(taken);
      await expectKnown(a, [named("after"), named("x-0")]);
    });

    test("emptied when the ring had spilled: what only the journal held is lost, and told of", async () => {
      const a = await site.start({ ringCapacityEvents: 10 });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("in the ring", 10));
      await a.take(...clicks("spilled", 7));
      await site.flushRedis();
      await a.take(click("after"));
      await a.serves(hourAt(NOON));
      a.guard.intercept = undefined;
      await a.drained();
      expect(a.pipeline.ledger.lost).toBe(7);
      expect(a.log.entries.filter(({ level }) => level === "error")).toHaveLength(1);
      await site.expectStored([...clicks("in the ring", 10), click("after")]);
      await expectReads(a, [...clicks("in the ring", 10), click("after")]);
    });

    test("a flush under way when it is emptied is not missing from an hour that was taken for empty", async () => {
      const a = await site.start();
      const hasBegun = Promise.withResolvers<void>();
      const hasEnded = Promise.withResolvers<void>();
      let isBirthUnderWay = false;
      a.guard.intercept = async (call) => {
        if (call.method === "flush") {
          hasBegun.resolve();
          // It ends between the question for the newest hour and its answer, or before, if that waits for it.
          await waitFor("the birth", () => isBirthUnderWay, { timeoutMs: 500 }).catch(() => {});
          return await call.proceed().finally(() => hasEnded.resolve());
        }
        const answer = await call.proceed();
        if (call.method !== "newestHour") return answer;
        isBirthUnderWay = true;
        await hasEnded.promise;
        return answer;
      };
      await a.take(click("under way"));
      await hasBegun.promise;
      await site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await a.serves(hourAt(NOON));
      await expectReads(a, [click("under way"), named("after")]);
      await site.expectStored([click("under way"), named("after")]);
    });

    test("emptied after a flush whose answer was lost: what is stored is not committed again", async () => {
      const a = await site.start();
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
      await site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await a.serves(hourAt(NOON));
      await a.drained();
      await expectReads(a, [...clicks("u", 10), named("after")]);
      await site.expectStored([...clicks("u", 10), named("after")]);
    });

    test("emptied while the cold store is away: refused in time, and all is there when that is back", async () => {
      const a = await site.start();
      await a.take(...clicks("flushed", 5));
      await a.drained();
      a.guard.intercept = coldStoreAway;
      await a.take(...clicks("in the ring", 5));
      await site.flushRedis();
      const outcomes = a.submit(...clicks("refused", 3));
      expect(await msOf(outcomes)).toBeLessThan(PATIENCE_MS);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(3).fill("cold_store_away"));
      expect((await a.submit(click("refused too")))[0]?.reason).toBe("cold_store_away");
      await expect(a.read(hourAt(NOON))).rejects.toThrow();
      a.guard.intercept = undefined;
      await takesEvents(a);
      await a.serves(hourAt(NOON));
      await expectReads(a, [...clicks("flushed", 5), ...clicks("in the ring", 5)]);
      await site.expectStored([...clicks("flushed", 5), ...clicks("in the ring", 5)]);
    });

    test("emptied while the cold store is slow: refused in time, and taken when it is done", async () => {
      const a = await site.start();
      await a.take(...clicks("u", 5));
      await a.drained();
      const isSlow = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("cold.newestHour", async (call) => {
        await isSlow.promise;
        return await call.proceed();
      });
      await site.flushRedis();
      const outcomes = a.submit(...clicks("refused", 3));
      expect(await msOf(outcomes)).toBeLessThan(PATIENCE_MS);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(3).fill("hot_store_away"));
      expect((await a.submit(click("refused too")))[0]?.reason).toBe("hot_store_away");
      isSlow.resolve();
      await takesEvents(a);
      await a.take(click("later"));
      await expectReads(a, [...clicks("u", 5), click("later")]);
      await site.expectStored([...clicks("u", 5), click("later")]);
    });

    test("the lease of the lost writer is left alone: it would be a sign of loss to the new data set", async () => {
      const a = await site.start({ leaseMs: SHORT_LEASE_MS });
      await a.take(click("u"));
      await a.drained();
      const until = performance.now() + 2 * SHORT_LEASE_MS;
      a.guard.intercept = onMethod("hot.register", async (call) => {
        await waitFor("several renewals to be due", () => performance.now() > until);
        return await call.proceed();
      });
      await site.flushRedis();
      await a.takeInTheEnd(named("after"));
      await expectReads(a, [click("u"), named("after")]);
      expect(a.log.entries.filter(({ message }) => message === "set up the hot store")).toHaveLength(2);
    });

    test("a stop right after it was emptied loses nothing", async () => {
      const a = await site.start();
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 10));
      await site.flushRedis();
      const outcomes = a.submit(...clicks("v", 10));
      a.guard.intercept = undefined;
      await a.stop();
      const taken = (await outcomes)[0] === undefined ? clicks("v", 10) : [];
      await site.start({ leaseMs: SHORT_LEASE_MS });
      await site.expectStored([...clicks("u", 10), ...taken]);
    });

    test("two instances, emptied under load: each finds its own again", async () => {
      const [a, b] = await Promise.all([site.start({ leaseMs: 1_000 }), site.start({ leaseMs: 1_000 })]);
      const load = new Load("u", a, b);
      for (let round = 0; round < 3; round++) {
        await load.more(150);
        await site.flushRedis();
      }
      await load.more(150);
      const taken = await load.end();
      await Promise.all([a.drained(), b.drained()]);
      await site.expectStored(taken);
      for (const instance of [a, b]) {
        await instance.serves(hourAt(NOON));
        await expectReads(instance, taken);
      }
    });

    test("two instances, one of them idle: what it flushes late is in no hour that the other made", async () => {
      const [a, b] = await Promise.all([site.start({ leaseMs: 1_000 }), site.start({ leaseMs: 1_000 })]);
      await b.take(click("first"));
      await b.drained();
      a.guard.intercept = flushesFail;
      await a.take(click("late"));
      await site.flushRedis();
      // It notices, makes a new data set, and an hour in that, without the other's event.
      await b.takeInTheEnd(named("new"));
      a.guard.intercept = undefined;
      await a.drained();
      await site.expectStored([click("first"), click("late"), named("new")]);
      for (const instance of [a, b]) {
        await waitFor("the hour to be whole", async () => (await instance.read(hourAt(NOON))).clicks === 3);
        await instance.serves(hourAt(NOON));
        await expectReads(instance, [click("first"), click("late"), named("new")]);
      }
    });

    /** Stops it, puts back the files as they were when `copy` was made, and starts it. */
    async function setBack(copy: string): Promise<void> {
      await servers.redis.kill();
      rmSync(servers.redis.dataDir, { recursive: true });
      cpSync(copy, servers.redis.dataDir, { recursive: true });
      await servers.redis.start();
    }

    test("set back to an older state: no hour is read that lacks what was taken since", async () => {
      const copy = mkdtempSync(join(tmpdir(), "hourglass-older-"));
      try {
        const a = await site.start({ flushIntervalMs: 50 });
        const load = new Load("u", a);
        await load.more(200);
        cpSync(servers.redis.dataDir, copy, { recursive: true });
        await load.more(200);
        const watch = new Watch(a, load);
        await setBack(copy);
        await load.more(200);
        const taken = await load.end();
        await a.serves(hourAt(NOON));
        await watch.end();
        expect(watch.wrong).toEqual([]);
        await expectReads(a, taken);
        await site.expectStored(taken);
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    });

    test("set back, with the cold store behind: what neither has is committed again", async () => {
      const copy = mkdtempSync(join(tmpdir(), "hourglass-older-"));
      try {
        const a = await site.start({ leaseMs: 1_000 });
        const b = await site.start({ leaseMs: 1_000 });
        a.guard.intercept = flushesFail;
        b.guard.intercept = flushesFail;
        await a.take(...namedClicks("older", 10));
        await b.take(...clicks("of the other", 10));
        cpSync(servers.redis.dataDir, copy, { recursive: true });
        await a.take(...namedClicks("newer", 10));
        await b.take(...clicks("of the other, newer", 10));
        await setBack(copy);
        const taken = [...namedClicks("older", 10), ...namedClicks("newer", 10)];
        taken.push(...clicks("of the other", 10), ...clicks("of the other, newer", 10));
        a.guard.intercept = undefined;
        b.guard.intercept = undefined;
        await site.expectStored(taken);
        for (const instance of [a, b]) {
          await waitFor(
            "the hour to be whole",
            async () => (await instance.read(hourAt(NOON))).clicks === 40,
          );
          await instance.serves(hourAt(NOON));
          await expectReads(instance, taken);
        }
      } finally {
        rmSync(copy, { recursive: true, force: true });
      }
    });
  });

  describe("MySQL", () => {
    /** Goes on taking and reading events during a fault of the cold store, and checks all of it afterwards. */
    async function takenDuring(a: Instance, fault: () => unknown, cure: () => unknown): Promise<void> {
      const taken = clicks("before", 10);
      await a.take(...taken);
      await a.drained();
      await fault();
      for (const event of clicks("during", 50)) {
        await a.take(event);
        taken.push(event);
        await expectReads(a, taken);
      }
      await waitFor("a flush to fail", () => a.pipeline.flushError, { timeoutMs: 30_000 });
      await a.take(click("after the failure"));
      taken.push(click("after the failure"));
      expect(a.pipeline.refusal).toBeUndefined();
      await cure();
      await a.drained();
      await expectReads(a, taken);
      await site.expectStored(taken);
      await waitFor("the failure to be over", () => a.pipeline.flushError === undefined);
    }

    test("killed and started again", async () => {
      const a = await site.start();
      await takenDuring(
        a,
        () => servers.mariaDb.kill(),
        () => servers.mariaDb.start(),
      );
    });

    test("frozen", async () => {
      const a = await site.start();
      await takenDuring(
        a,
        () => servers.mariaDb.pause(),
        () => servers.mariaDb.resume(),
      );
    });

    test("read-only", async () => {
      await site.runSql("CREATE USER IF NOT EXISTS app@'%'");
      await site.runSql("GRANT ALL ON `test\\_%`.* TO app@'%'");
      site.reach({ mysqlUser: "app" });
      const a = await site.start();
      await takenDuring(
        a,
        () => site.runSql("SET GLOBAL read_only = 1"),
        () => site.runSql("SET GLOBAL read_only = 0"),
      );
    });

    test("its port closed, and every connection cut", async () => {
      const proxy = await behindMysqlProxy();
      const a = await site.start();
      const cutOff = () => {
        proxy.refuse();
        proxy.cutAll();
      };
      await takenDuring(a, cutOff, () => proxy.accept());
    });

    /** A packet: 3 bytes of length, 1 of sequence, 1 of command (3: a query), then the statement. */
    const isCommit = (chunk: Buffer) => chunk[4] === 3 && chunk.toString("latin1", 5) === "COMMIT";

    for (const loss of ["cut", "drop"] as const) {
      test(`its answers to COMMIT lost (${loss}), several times running: stored once`, async () => {
        const proxy = await behindMysqlProxy();
        const a = await site.start();
        let losses = 0;
        let isCommitting = false;
        proxy.onUpstream = (chunk) => {
          isCommitting ||= losses < 3 && isCommit(chunk);
          return true;
        };
        proxy.onDownstream = (_, connection) => {
          if (!isCommitting) return true;
          isCommitting = false;
          losses += 1;
          if (loss === "cut") connection.cut();
          return false;
        };
        const taken: Event[] = [];
        for (let round = 0; round < 5; round++) {
          await a.take(...clicks(`round-${round}`, 10));
          taken.push(...clicks(`round-${round}`, 10));
          await waitFor("the flush", async () => (await site.cold.countEvents()) >= taken.length);
        }
        await a.drained();
        expect(losses).toBe(3);
        await site.expectStored(taken);
        expect(a.pipeline.ledger.persisted).toBe(50);
      });
    }

    test("away at the turn of the hour, and for hours after", async () => {
      const a = await site.start({ hotHours: 2 });
      const taken = clicks("before", 5);
      await a.take(...taken);
      await a.drained();
      await servers.mariaDb.kill();
      for (let hour = 1; hour <= 4; hour++) {
        site.clock.advance(HOUR_MS);
        await a.pipeline.retire();
        const events = clicks(`hour-${hour}`, 10, site.clock.ms);
        await a.take(...events);
        taken.push(...events);
        await expectReads(a, events);
      }
      await servers.mariaDb.start();
      await a.drained();
      await site.expectStored(taken);
      await expectReads(a, taken);
    });

    test("frozen: a late event for an hour that has to be fetched holds up nobody", async () => {
      const a = await site.start({ hotHours: 1 });
      await a.take(click("old"));
      await a.drained();
      site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      servers.mariaDb.pause();
      const order: string[] = [];
      const late = a.submit(click("late")).finally(() => order.push("late"));
      for (const event of clicks("now", 20, site.clock.ms)) {
        await a.take(event);
        order.push("now");
      }
      expect((await late).map((outcome) => outcome?.reason)).toEqual(["cold_store_away"]);
      expect(order).toEqual([...Array(20).fill("now"), "late"]);
      servers.mariaDb.resume();
      await a.takeInTheEnd(named("late"));
      await a.drained();
      await expectReads(a, [click("old"), named("late")]);
      await site.expectStored([click("old"), named("late"), ...clicks("now", 20, site.clock.ms)]);
    });

    test("away at the start: events are taken as soon as it is there", async () => {
      await servers.mariaDb.kill();
      const a = await site.start();
      expect((await a.submit(click("u")))[0]?.reason).toBe("cold_store_away");
      await servers.mariaDb.start();
      await takesEvents(a);
      await a.take(click("u"));
      await site.expectStored([click("u")]);
    });

    test("away at the start, with a data set that was born before: events are taken at once", async () => {
      const first = await site.start();
      await first.take(click("before"));
      await first.stop();
      await servers.mariaDb.kill();
      const a = await site.start();
      await a.take(click("during"));
      await expectReads(a, [click("before"), click("during")]);
      await servers.mariaDb.start();
      await site.expectStored([click("before"), click("during")]);
    });
  });

  describe("an instance that is frozen and wakes", () => {
    test("its journal is adopted; it is fenced, goes on under a new writer, and nothing doubles", async () => {
      const a = await site.start({ leaseMs: SHORT_LEASE_MS });
      a.guard.intercept = flushesFail;
      const taken = clicks("before", 20);
      await a.take(...taken);
      const { writer } = a.pipeline;
      a.guard.freeze();
      const b = await site.start({ leaseMs: SHORT_LEASE_MS });
      await site.expectStored(taken);
      await b.take(click("meanwhile"));
      a.guard.intercept = undefined;
      a.guard.thaw();
      await a.takeInTheEnd(named("after"));
      taken.push(click("meanwhile"), named("after"));
      expect(a.pipeline.writer).not.toBe(writer!);
      await Promise.all([a.drained(), b.drained()]);
      await site.expectStored(taken);
      await expectReads(a, taken);
      await expectReads(b, taken);
      const { accepted, persisted, handedOver, lost } = a.pipeline.ledger;
      expect({ accepted, both: persisted + handedOver, lost }).toEqual({ accepted: 21, both: 21, lost: 0 });
    });

    /** Frozen with a commit under way, adopted meanwhile, and woken. Answers what became of the commit. */
    async function wakenWithCommit(a: Instance, b: Instance, commit: Interceptor): Promise<Outcome[]> {
      const reached = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("hot.commit", (call) => {
        reached.resolve();
        return commit(call);
      });
      const outcomes = a.submit(named("x"), click("plain"));
      await reached.promise;
      const { writer } = a.pipeline;
      a.guard.freeze();
      b.guard.thaw();
      await waitFor("its journal to be adopted", async () => !(await site.journals()).includes(writer!));
      a.guard.intercept = undefined;
      a.guard.thaw();
      return await outcomes;
    }

    /** One that is to be frozen, and one that adopts its journal, but not before it is thawed. */
    async function freezable(): Promise<{ a: Instance; b: Instance }> {
      const b = await site.start({ leaseMs: SHORT_LEASE_MS });
      const a = await site.start({ leaseMs: SHORT_LEASE_MS });
      await a.take(click("before"));
      await a.drained();
      b.guard.freeze();
      return { a, b };
    }

    test("frozen before its commit arrived: that is fenced, and sent under the new writer", async () => {
      const { a, b } = await freezable();
      const isAdopted = Promise.withResolvers<void>();
      const outcomes = wakenWithCommit(a, b, async (call) => {
        await isAdopted.promise;
        return await call.proceed();
      });
      const { writer } = a.pipeline;
      await waitFor("its journal to be adopted", async () => !(await site.journals()).includes(writer!));
      isAdopted.resolve();
      expect(await outcomes).toEqual([undefined, undefined]);
      expect(a.pipeline.writer).not.toBe(writer!);
      await site.expectStored([click("before"), named("x"), click("plain")]);
      await expectReads(b, [click("before"), named("x"), click("plain")]);
      expect(a.pipeline.ledger.accepted).toBe(3);
    });

    test("frozen before the answer to its commit arrived: stored once", async () => {
      const { a, b } = await freezable();
      expect(await wakenWithCommit(a, b, (call) => call.proceed())).toEqual([undefined, undefined]);
      await a.takeInTheEnd(named("after"));
      await a.drained();
      await site.expectStored([click("before"), named("x"), click("plain"), named("after")]);
      await expectReads(b, [click("before"), named("x"), click("plain"), named("after")]);
      const { accepted, persisted, handedOver } = a.pipeline.ledger;
      expect([accepted, persisted + handedOver]).toEqual([4, 4]);
    });

    test("frozen, and the answer to its commit lost: refused too late to take it back, and in the books", async () => {
      const { a, b } = await freezable();
      const isLate = performance.now() + 2_000;
      const outcomes = await wakenWithCommit(a, b, async (call) => {
        await call.proceed();
        await waitFor("the deadline of the commit to pass", () => performance.now() > isLate);
        throw new HotUnavailableError("the answer was lost", true);
      });
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual(["hot_store_away", "hot_store_away"]);
      await takesEvents(a);
      expect(a.log.has("could not be taken back")).toBe(true);
      await expectKnown(a, [named("x")]);
      await site.expectStored([click("before"), named("x"), click("plain")]);
      await expectReads(b, [click("before"), named("x"), click("plain")]);
      const { accepted, persisted, handedOver } = a.pipeline.ledger;
      expect([accepted, persisted, handedOver]).toEqual([3, 1, 2]);
    });

    test("frozen in the middle of a flush: what the adopter stored is not stored again", async () => {
      const a = await site.start({ leaseMs: SHORT_LEASE_MS });
      const reached = Promise.withResolvers<void>();
      const go = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("cold.flush", async (call) => {
        reached.resolve();
        await go.promise;
        return await call.proceed();
      });
      await a.take(...clicks("u", 10));
      await reached.promise;
      a.guard.freeze();
      const b = await site.start({ leaseMs: SHORT_LEASE_MS });
      await site.expectStored(clicks("u", 10));
      go.resolve();
      a.guard.intercept = undefined;
      a.guard.thaw();
      await a.takeInTheEnd(named("after"));
      await a.drained();
      await site.expectStored([...clicks("u", 10), named("after")]);
      await expectReads(b, [...clicks("u", 10), named("after")]);
    });

    test("frozen again and again under load, by turns", async () => {
      const settings = { leaseMs: SHORT_LEASE_MS };
      const instances = await Promise.all([site.start(settings), site.start(settings)]);
      const load = new Load("u", ...instances);
      for (let round = 0; round < 6; round++) {
        const frozen = instances[round % 2]!;
        const other = instances[(round + 1) % 2]!;
        await load.more(50);
        const writer = frozen.pipeline.writer!;
        frozen.guard.freeze();
        await waitFor("its journal to be adopted", async () => !(await site.journals()).includes(writer), {
          timeoutMs: 20_000,
        });
        frozen.guard.thaw();
        await waitFor("it to go on under another name", () => frozen.pipeline.writer !== writer);
        expect(other.log.entries.filter(({ level }) => level === "error")).toEqual([]);
      }
      const taken = await load.end();
      await Promise.all(instances.map((instance) => instance.drained()));
      await site.expectStored(taken);
      for (const instance of instances) await expectReads(instance, taken);
    });
  });

  describe("adoption", () => {
    /** An instance that was killed with a backlog of this many batches of three events. */
    async function deadWithBacklog(name: string, batchCount: number): Promise<Event[]> {
      const a = await site.start({ leaseMs: 100 });
      a.guard.intercept = flushesFail;
      const taken: Event[] = [];
      for (let i = 0; i < batchCount; i++) {
        await a.take(...clicks(`${name}-${i}`, 3));
        taken.push(...clicks(`${name}-${i}`, 3));
      }
      site.kill(a);
      return taken;
    }

    test("by two at once, and both in small steps: each event once", async () => {
      const taken: Event[] = [];
      const adopters = [site.create(), site.create()];
      const ledger = new Ledger();
      await Promise.all(adopters.map(({ stores }) => Promise.all([stores.hot.open(), stores.cold.open()])));
      for (let round = 0; round < 4; round++) {
        taken.push(...(await deadWithBacklog(`round-${round}`, 20)));
        const adopt = ({ stores }: Instance) =>
          adoptJournals({ ...stores, log: new RecordedLog(), ledger, flushMaxEvents: 4 });
        await waitFor("the lease to run out", async () => {
          await Promise.all(adopters.map(adopt));
          return (await site.journals()).length === 0;
        });
        await site.expectStored(taken);
        expect(ledger.adopted).toBe(taken.length);
      }
    });

    test("one that was begun and not ended is ended by the next", async () => {
      const taken = await deadWithBacklog("u", 20);
      const b = await site.start({ leaseMs: 100, flushMaxEvents: 6 });
      let flushes = 0;
      const failsLater: Interceptor = async (call) => {
        if (call.method === "flush") flushes += 1;
        if (flushes === 4) throw unavailable(call.store);
        return await call.proceed();
      };
      b.guard.intercept = failsLater;
      await waitFor("the fourth flush", () => flushes >= 4);
      site.kill(b);
      const c = await site.start({ leaseMs: 100 });
      await site.expectStored(taken);
      await expectReads(c, taken);
      await waitFor("one journal to be left", async () => (await site.journals()).length === 1);
    });

    test("of many writers that died one after the other, with hours that go on", async () => {
      const taken: Event[] = [];
      for (let i = 0; i < 5; i++) taken.push(...(await deadWithBacklog(`dead-${i}`, 3)));
      const a = await site.start({ leaseMs: 100 });
      await expectReads(a, taken);
      await a.take(click("later"));
      taken.push(click("later"));
      await site.expectStored(taken);
      await expectReads(a, taken);
      site.clock.advance(24 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      await expectReads(a, taken);
    });
  });
});
