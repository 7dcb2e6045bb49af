/**
 * The data of one Redis and one MySQL divided into three shards: counting, reading and repairing give the same results
 * as with one, and each shard works without the others.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Event, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { shardOf } from "../../src/domain/shard-of.ts";
import { Steps } from "../../src/domain/time-steps.ts";
import { TimeZone } from "../../src/domain/time-zone.ts";
import { SeriesTally } from "../../src/pipeline/read/series-tally.ts";
import {
  answerOf,
  type ClusterSite,
  click,
  clicks,
  clusterMode,
  expectReads,
  hourAt,
  type Instance,
  type Interceptor,
  impression,
  NOON,
  onMethod,
  STREAM,
  unavailable,
} from "../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SHARDS = 3;
const NEVER_MS = 60_000;

const flushesFail = onMethod("cold.flush", async () => {
  throw unavailable("cold");
});

/** All that this instance asks of one shard's hot store fails. */
function shardAway(shard: number): Interceptor {
  return async (call) => {
    if (call.store === "hot" && call.shard === shard) throw unavailable("hot");
    return await call.proceed();
  };
}

/** Events with ids, some of every shard, by users who are in all of them. */
function named(count: number, at = NOON, prefix = "id"): Event[] {
  return Array.from({ length: count }, (_, i) => {
    const kind = i % 3 === 0 ? click : impression;
    return kind(`user-${i % 7}`, at, STREAM, `${prefix}-${i}`);
  });
}

function ofShard(events: readonly Event[], shard: number): Event[] {
  return events.filter(({ stream, id }) => shardOf(stream, id!, SHARDS) === shard);
}

describe("the shard of an id", () => {
  test("is always the same, and depends on the stream", () => {
    const ids = Array.from({ length: 3_000 }, (_, i) => `id-${i}`);
    for (const shards of [1, 2, 3, 64]) {
      const counts = new Array<number>(shards).fill(0);
      for (const id of ids) counts[shardOf(STREAM, id, shards)]! += 1;
      // Each has its share: within half of it.
      for (const count of counts) expect(count).toBeGreaterThan(ids.length / shards / 2);
    }
    const [here, there] = [STREAM, "site-2"].map((stream) => ids.map((id) => shardOf(stream, id, SHARDS)));
    expect(here).not.toEqual(there);
  });

  test("never changes: ids are remembered where they were", () => {
    const found = ["a", "b", "c", "d", "e", "f", "g", "ü"].map((id) => shardOf("default", id, 6));
    expect(found).toEqual([1, 1, 5, 3, 5, 1, 3, 0]);
  });
});

const mode = clusterMode(SHARDS);

describeWithServers("shards", mode.needs, () => {
  let site: ClusterSite;

  beforeAll(() => mode.prepare());
  afterAll(() => mode.end());

  beforeEach(async () => {
    site = (await mode.open()) as ClusterSite;
  });

  afterEach(() => site.close());

  /** One after the other, so that the later has a later name. */
  async function startNext(...args: Parameters<ClusterSite["start"]>): Promise<Instance> {
    site.clock.advance(1);
    return await site.start(...args);
  }

  /** How many events each shard has stored. */
  async function storedByShard(): Promise<number[]> {
    const query = "SELECT shard, CAST(SUM(clicks + impressions) AS UNSIGNED) AS events FROM hourly GROUP BY shard";
    const rows = await site.runSql<{ shard: number; events: number }>(query);
    const found = new Map(rows.map(({ shard, events }) => [shard, Number(events)]));
    return Array.from({ length: SHARDS }, (_, shard) => found.get(shard) ?? 0);
  }

  /** One that is in each shard. */
  async function retireHour(instance: Instance): Promise<void> {
    site.clock.advance(20 * HOUR_MS);
    let retired = 0;
    await waitFor("the hour to be retired", async () => {
      retired += await instance.pipeline.retire();
      return retired === SHARDS;
    });
  }

  async function readDay(instance: Instance) {
    const day = NOON - (NOON % (24 * HOUR_MS));
    const steps = new Steps({
      from: day,
      to: day + 24 * HOUR_MS,
      step: "total",
      zone: TimeZone.named("UTC")!,
    });
    const range = { from: day, to: day + 24 * HOUR_MS, streams: { text: STREAM, isPrefix: false } };
    const { tally, isDegraded } = await instance.pipeline.ranges.read(range, () => new SeriesTally(steps));
    return { ...tally.total(), isDegraded };
  }

  test("an id counts once, whichever instance gets it", async () => {
    const [a, b] = [await startNext(), await startNext()];
    const events = named(60);
    await a.take(...events);
    await b.take(...events);
    await a.take(...events);
    const ledgers = [a, b].map(({ pipeline: { ledger } }) => [ledger.accepted, ledger.duplicates]);
    expect(ledgers).toEqual([
      [60, 60],
      [0, 60],
    ]);
    await expectReads(a, events);
    await expectReads(b, events);
    await site.expectStored(events);
    const expected = [0, 1, 2].map((shard) => ofShard(events, shard).length);
    expect(await storedByShard()).toEqual(expected);
  });

  test("events without an id stay together, and each instance has another shard for them", async () => {
    const instances = [await startNext(), await startNext(), await startNext()];
    const taken: Event[] = [];
    for (const [i, instance] of instances.entries()) {
      const events = clicks(`of-${i}`, 10 * (i + 1));
      await instance.take(...events);
      taken.push(...events);
    }
    for (const instance of instances) await expectReads(instance, taken);
    await site.expectStored(taken);
    expect(await storedByShard()).toEqual([10, 20, 30]);
  });

  test("a user who is in several shards is one, in hours and in ranges, flushed or not", async () => {
    const a = await site.start({ flushIntervalMs: NEVER_MS });
    const events = [...named(50), ...named(50, NOON + HOUR_MS, "later")];
    await a.take(...events);
    const { isDegraded, ...expected } = answerOf(events);
    await expectReads(a, events);
    expect(await readDay(a)).toMatchObject({ ...expected, isDegraded });
    await a.stop();
    const b = await site.start();
    await expectReads(b, events);
    expect(await readDay(b)).toMatchObject({ ...expected, isDegraded });
    site.clock.advance(20 * HOUR_MS);
    // Both hours, in each of the shards.
    expect(await b.pipeline.retire()).toBe(2 * SHARDS);
    await expectReads(b, events);
    expect(await readDay(b)).toMatchObject({ ...expected, isDegraded });
    await site.expectStored(events);
  });

  test("an hour may be in one shard and absent in the others: its parts are counted once", async () => {
    const a = await site.start();
    const events = named(40);
    await a.take(...events);
    await a.drained();
    await retireHour(a);
    const [late] = ofShard(named(40, NOON, "late"), 1);
    await a.take(late!);
    const states = await Promise.all(
      a.stores.hotShards.map(async (hot) => ((await hot.read([hourAt(NOON)])) as { status: string }[])[0]!.status),
    );
    expect(states).toEqual(["absent", "present", "absent"]);
    const all = [...events, late!];
    await expectReads(a, all);
    expect(await readDay(a)).toMatchObject(answerOf(all));
    await site.expectStored(all);
  });

  test("a hot hour holds its shard's part alone: what others have is not fetched", async () => {
    const a = await site.start();
    const events = named(40);
    await a.take(...events);
    await a.drained();
    await retireHour(a);
    const late = named(40, NOON, "late");
    await a.take(...late);
    for (const [shard, hot] of a.stores.hotShards.entries()) {
      const { uniqueUsers: _, isDegraded: __, ...counts } = answerOf(ofShard([...events, ...late], shard));
      expect(await hot.read([hourAt(NOON)])).toMatchObject([{ status: "present", counts }]);
    }
    await expectReads(a, [...events, ...late]);
    await site.expectStored([...events, ...late]);
  });

  describe("many events at once", () => {
    test("are divided, and reported together", async () => {
      const a = await site.start();
      const first = named(30);
      expect(await a.pipeline.submitAll(first)).toEqual({
        accepted: 30,
        duplicates: 0,
        refused: [],
        unknown: [],
      });
      const second = [...named(60), ...clicks("u", 10), ...named(5)];
      expect(await a.pipeline.submitAll(second)).toEqual({
        accepted: 40,
        duplicates: 35,
        refused: [],
        unknown: [],
      });
      expect(await a.pipeline.submitAll([])).toEqual({
        accepted: 0,
        duplicates: 0,
        refused: [],
        unknown: [],
      });
      await site.expectStored([...named(60), ...clicks("u", 10)]);
    });

    test("an unavailable shard refuses its part, which is named by its positions", async () => {
      const a = await site.start();
      await a.take(...named(5, NOON, "before"));
      a.guard.intercept = shardAway(2);
      await waitFor("the shard to be refused", () => a.pipeline.shardStates[2]!.refusal !== undefined);
      const events = named(50);
      const none = await a.pipeline.submitAll(events, true);
      expect([none.accepted, none.refused.flatMap(({ positions }) => positions)]).toEqual([0, [...events.keys()]]);
      const outcome = await a.pipeline.submitAll(events);
      const lost = ofShard(events, 2);
      const positions = lost.map((event) => events.indexOf(event));
      expect(outcome).toEqual({
        accepted: 50 - lost.length,
        duplicates: 0,
        refused: [{ refusal: { reason: "hot_store_away", retryAfterS: 1 }, positions }],
        unknown: [],
      });
      a.guard.intercept = undefined;
      await a.takeInTheEnd(...lost);
      await site.expectStored([...named(5, NOON, "before"), ...events]);
    });
  });

  describe("one unavailable shard", () => {
    test("events without an id go to another one, and only the ids of that one are refused", async () => {
      const a = await site.start();
      const home = a.pipeline.shardStates.findIndex(({ writer }) => writer === a.pipeline.writer);
      a.guard.intercept = shardAway(home);
      await waitFor("the shard to be refused", () => a.pipeline.shardStates[home]!.refusal !== undefined);
      expect(a.pipeline.unreadiness).toBeUndefined();
      await a.take(...clicks("u", 20));
      const events = named(40);
      const refused = ofShard(events, home);
      await a.take(...events.filter((event) => !refused.includes(event)));
      for (const outcome of await a.submit(...refused)) expect(outcome?.reason).toBe("hot_store_away");
      a.guard.intercept = undefined;
      await a.takeInTheEnd(...refused);
      await site.expectStored([...clicks("u", 20), ...events]);
    });

    test("with all of them unavailable it is not ready", async () => {
      const a = await site.start();
      a.guard.intercept = async (call) => {
        if (call.store === "hot") throw unavailable("hot");
        return await call.proceed();
      };
      await waitFor("it to be not ready", () => a.pipeline.unreadiness === "hot_store_away");
      expect((await a.submit(click("u")))[0]?.reason).toBe("hot_store_away");
      a.guard.intercept = undefined;
      await a.takeInTheEnd(click("u"));
      await site.expectStored([click("u")]);
    });

    test("its part is read from the cold store, and the answer says so", async () => {
      const a = await site.start({ flushIntervalMs: NEVER_MS });
      const flushed = named(40);
      await a.take(...flushed);
      await a.stop();
      const b = await site.start({ flushIntervalMs: NEVER_MS });
      const unflushed = named(40, NOON, "more");
      await b.take(...unflushed);
      await expectReads(b, [...flushed, ...unflushed]);
      b.guard.intercept = shardAway(1);
      const seen = [...flushed, ...unflushed.filter((event) => !ofShard(unflushed, 1).includes(event))];
      expect(await b.read(hourAt(NOON))).toEqual(answerOf(seen, true));
      expect(await readDay(b)).toMatchObject(answerOf(seen, true));
      b.guard.intercept = undefined;
      await b.stop();
      await site.expectStored([...flushed, ...unflushed]);
    });
  });

  test("the journals of all shards of an instance that was killed are adopted", async () => {
    const a = await startNext({ leaseMs: 100 });
    a.guard.intercept = flushesFail;
    const taken = [...named(60), ...clicks("u", 10)];
    await a.take(...taken);
    expect((await site.journals()).length).toBe(SHARDS);
    site.kill(a);
    const b = await startNext({ leaseMs: 100 });
    const own = b.pipeline.shardStates.map(({ writer }) => writer!).sort();
    await waitFor("the journals to be adopted", async () => Bun.deepEquals(await site.journals(), own));
    expect(b.pipeline.ledger.adopted).toBe(70);
    await expectReads(b, taken);
    await site.expectStored(taken);
  });

  test("a shard that loses its data is initialized again, and the others are not affected", async () => {
    const a = await site.start();
    const events = named(40);
    await a.take(...events);
    await a.drained();
    await site.redis("DEL", ...((await site.redis("KEYS", "hg:{1}:*")) as string[]));
    await waitFor("the loss to be noticed", () => a.log.has("took a new one"));
    const more = named(40, NOON, "more");
    await a.takeInTheEnd(...more);
    await a.serves(hourAt(NOON));
    await expectReads(a, [...events, ...more]);
    await site.expectStored([...events, ...more]);
  });

  test("the bounds of ring and journal are those of all shards together", async () => {
    const a = await site.start({ ringCapacityEvents: 12, journalMaxEvents: 30, flushIntervalMs: NEVER_MS });
    const events = named(30);
    for (const event of events) await a.take(event);
    expect(a.pipeline.pending.events).toBe(30);
    expect(a.pipeline.pending.ring).toBeLessThanOrEqual(12);
    for (const event of [...named(6, NOON, "more"), click("u")])
      expect((await a.submit(event))[0]?.reason).toBe("journal_full");
    const { ledger } = a.pipeline;
    expect(ledger.accepted).toBe(ledger.persisted + a.pipeline.pending.events + ledger.handedOver + ledger.lost);
    const stores = await a.pipeline.storesLedger();
    expect({ ...stores, writers: stores.writers.length }).toEqual({
      ...{ writers: SHARDS, accepted: 30, persisted: 0, pending: 30, deadLetters: 0 },
    });
    await a.stop();
    await site.expectStored(events);
  });

  test("reads that come at once are one question to each shard", async () => {
    const a = await site.start();
    await a.take(...named(30));
    const questions: number[] = [];
    a.guard.intercept = onMethod("hot.readRange", (call) => {
      questions.push(call.shard);
      return call.proceed();
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => a.read(hourAt(NOON))));
    for (const answer of answers) expect(answer).toEqual(answerOf(named(30)));
    expect(questions.sort()).toEqual([0, 1, 2]);
  });

  test("every acknowledged event is in every later read", async () => {
    const a = await site.start();
    const taken: Event[] = [];
    // Somebody who asks all the time, so that each read meets another one under way.
    let isOver = false;
    const asking = (async () => {
      while (!isOver) await a.read(hourAt(NOON));
    })();
    for (const event of named(100)) {
      await a.take(event);
      taken.push(event);
      expect(await a.read(hourAt(NOON))).toEqual(answerOf(taken));
    }
    isOver = true;
    await asking;
    await site.expectStored(taken);
  });

  describe("the number of shards", () => {
    test("is fixed by the first instance", async () => {
      const a = await site.start();
      const { cold } = a.stores;
      expect(await cold.fixShardCount(5)).toBe(SHARDS);
      await a.take(...named(10));
      await a.stop();
      const right = await readDay(await site.start());
      for (const shards of [1, 2]) {
        const other = await site.withShards(shards).start();
        expect(await other.submit(click("u"))).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
        expect(other.pipeline.unreadiness).toBe("hot_store_away");
        // What it can't tell it does not take for empty: all is read from the cold store.
        expect(await other.read(hourAt(NOON))).toEqual({ ...answerOf(named(10)), isDegraded: true });
        expect(await readDay(other)).toEqual({ ...right, isDegraded: true });
      }
      await site.expectStored(named(10));
    });

    test("is not fixed by commands that only read", async () => {
      const a = await site.start();
      expect(await a.stores.cold.shardCount()).toBe(SHARDS);
      await site.runSql("DELETE FROM shards");
      expect(await a.stores.cold.shardCount()).toBeUndefined();
      expect(await site.runSql("SELECT * FROM shards")).toEqual([]);
    });
  });

  test("the parts of an hour are verified, rebuilt and erased separately", async () => {
    const a = await site.start();
    const events = named(60);
    await a.take(...events);
    await a.drained();
    const { cold } = a.stores;
    const key = hourAt(NOON);
    await site.runSql("UPDATE hourly SET clicks = clicks + 5 WHERE shard = 1 LIMIT 1");
    const parts = await Promise.all([0, 1, 2].map((shard) => cold.audit(key, shard)));
    expect(parts.map(({ rows }) => rows!.clicks + rows!.impressions)).toEqual(
      [0, 1, 2].map((shard) => ofShard(events, shard).length),
    );
    expect(parts.map(({ rows, aggregate }) => aggregate!.clicks - rows!.clicks)).toEqual([0, 5, 0]);
    expect(await cold.rebuild(key, 1)).toBe(true);
    await site.expectStored(events);
    const selection = { user: "user-3", stream: undefined };
    const ofUser = events.filter(({ user }) => user === "user-3");
    const erased = await cold.eraseUserRows(selection, hourOf(NOON));
    expect(erased.clicks + erased.impressions).toBe(ofUser.length);
    for (const shard of [0, 1, 2]) {
      const { aggregate, rows, erased: gone } = await cold.audit(key, shard);
      expect(gone.clicks + gone.impressions).toBe(ofShard(ofUser, shard).length);
      expect(aggregate!.clicks).toBe(rows!.clicks + gone.clicks);
      expect(aggregate!.impressions).toBe(rows!.impressions + gone.impressions);
    }
    const ranges = await cold.erasedRows({
      hours: [hourOf(NOON)],
      streams: { text: STREAM, isPrefix: false },
    });
    expect(ranges.reduce((sum, { clicks: c, impressions: i }) => sum + c + i, 0)).toBe(ofUser.length);
  });
});
