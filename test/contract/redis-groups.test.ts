/**
 * The hot store on Redis servers that replace each other: a cluster, and a master under Sentinels. Whatever moves, each
 * call is answered correctly, or refused without effect; and data missing from a promoted replica is noticed before
 * anything is read from it.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Batch, type Event, HOUR_MS, type HourKey } from "../../src/domain/event.ts";
import { type HotStore, HotUnavailableError, type HourRead } from "../../src/store/hot.ts";
import { RedisAccessStore } from "../../src/store/redis/access-store.ts";
import { RedisHotStore, type RedisHotStoreOptions } from "../../src/store/redis/hot-store.ts";
import { batchOf as hashedBatchOf } from "../harness/pipeline/batches.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { freePort } from "../harness/servers/ports.ts";
import { type RedisCluster, startRedisCluster } from "../harness/servers/redis/cluster.ts";
import { askRedis, infoOf, isMaster, type RedisGroup } from "../harness/servers/redis/group.ts";
import { startRedisSentinels } from "../harness/servers/redis/sentinels.ts";
import { describeWithServers, type RedisServer } from "../harness/servers/servers.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const HOURS = [NOON, NOON + HOUR_MS, NOON + 2 * HOUR_MS, NOON + 3 * HOUR_MS] as const;
const STREAM = "site-1";
const META_KEY = "hg:{0}:meta";
const LONG_LEASE_MS = 600_000;
const COMMAND_TIMEOUT_MS = 1_000;
const ALL = Number.POSITIVE_INFINITY;
const EVERY_HOUR = { from: 0, to: NOON + 100 * HOUR_MS, streams: { text: STREAM, isPrefix: false } };
const WAIT = { timeoutMs: 90_000 };

function keyOf(hour: number): HourKey {
  return { stream: STREAM, hour };
}

function click(id: string | undefined, hour = NOON): Event {
  return { stream: STREAM, at: hour, kind: "click", user: id ?? "somebody", id };
}

function batchOf(...events: readonly Event[]): Batch {
  return hashedBatchOf(events);
}

/** Like clicks(), with one more user who has an impression. */
function clicksAndView(count: number, clickers: number): HourRead {
  return { status: "present", counts: { clicks: count, impressions: 1, uniqueUsers: clickers + 1 } };
}

function clicks(count: number, uniqueUsers = count): HourRead {
  return { status: "present", counts: { clicks: count, impressions: 0, uniqueUsers } };
}

const COMMITTED = { status: "committed", duplicates: [] } as const;

/** Undefined if the call was refused, which proves only that nothing was done. */
async function answered<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof HotUnavailableError)) throw error;
    expect(error.message).toMatch(/TRYAGAIN|ASK|MOVED|non local key|not connected|CLUSTERDOWN/);
    expect(error.mayHaveApplied).toBe(false);
    return undefined;
  }
}

/** Stores on one group, which is emptied before each test. */
function storesOn(group: () => RedisGroup) {
  const stores: HotStore[] = [];
  beforeEach(async () => {
    await group().settle();
    for (const server of group().servers) if (await isMaster(server)) await askRedis(server, "FLUSHALL");
  });
  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()));
  });
  const create = (settings: Partial<RedisHotStoreOptions> = {}) => {
    const defaults = { leaseMs: LONG_LEASE_MS, commandTimeoutMs: COMMAND_TIMEOUT_MS };
    const store = new RedisHotStore({ url: group().url, ...defaults, ...settings });
    stores.push(store);
    return store;
  };
  const open = async (settings: Partial<RedisHotStoreOptions> = {}) => {
    const store = create(settings);
    expect(await store.open()).toEqual([]);
    return store;
  };
  const begin = async (settings: Partial<RedisHotStoreOptions> = {}) => {
    const store = await open(settings);
    expect(await store.initialize(NOON)).toBe(true);
    expect(await store.register("w1")).toBe(true);
    return store;
  };
  return { create, open, begin };
}

/** Its replicas get nothing from it any more, until the answered function is called. */
async function cutReplicas(group: RedisGroup, master: RedisServer): Promise<() => Promise<void>> {
  const replicas = await group.replicasOf(master);
  const setLogin = async (user: string, password: string) => {
    for (const replica of replicas) {
      await askRedis(replica, "CONFIG", "SET", "masteruser", user, "masterauth", password);
    }
  };
  await setLogin("nobody", "wrong");
  await askRedis(master, "CLIENT", "KILL", "TYPE", "replica");
  for (const replica of replicas) {
    await waitFor("the replica to be cut off", async () => {
      return (await infoOf(replica, "replication", "master_link_status")) === "down";
    });
  }
  return () => setLogin("", "");
}

const GROUPS: Readonly<Record<string, () => Promise<RedisGroup>>> = {
  "a cluster": startRedisCluster,
  Sentinels: startRedisSentinels,
};

for (const [name, start] of Object.entries(GROUPS)) {
  describeWithServers(`hot store: ${name}`, ["redis"], () => {
    let group: RedisGroup;
    const { create, open, begin } = storesOn(() => group);

    beforeAll(async () => {
      group = await start();
    });
    afterAll(() => group?.stop());

    test("is found, with a hidden password, and when some of the named servers are down", async () => {
      const user = ["ACL", "SETUSER", "hourglass", "on", ">open-sesame", "~*", "&*", "+@all"];
      for (const server of group.servers) await askRedis(server, ...user);
      const gone = await freePort();
      const url = group.url.replace("//", `//hourglass:open-sesame@127.0.0.1:${gone},`);
      const store = await open({ url });
      expect(store.description).toBe(group.url.replace("//", `//127.0.0.1:${gone},`));
      expect(await store.initialization()).toBeUndefined();
      const wrong = create({ url: url.replace("sesame", "barley") });
      const refused = await wrong.open().catch(String);
      expect(refused).toContain("WRONGPASS");
      expect(`${refused} ${wrong.description}`).not.toContain("barley");
    });

    test("warns of replicas that keep no append-only file", async () => {
      const [replica] = await group.replicasOf(await group.masterOf(META_KEY));
      await askRedis(replica!, "CONFIG", "SET", "appendonly", "no");
      try {
        const warnings = await create().open();
        expect(warnings).toHaveLength(1);
        expect(warnings[0]).toContain(`The replica 127.0.0.1:${replica!.port} keeps no append-only file`);
      } finally {
        await askRedis(replica!, "CONFIG", "SET", "appendonly", "yes");
      }
    });

    test("warns strictly of masters and replicas that do not sync before they acknowledge", async () => {
      const strictly = { isDurabilityStrict: true };
      const warnings = await create(strictly).open();
      const replicas = await group.replicasOf(await group.masterOf(META_KEY));
      const nodes = ["Redis", ...replicas.map(({ port }) => `The replica 127.0.0.1:${port}`)];
      expect(warnings.map((warning) => warning.split(" may lose its last second")[0]!).sort()).toEqual(nodes.sort());
      const setSync = async (value: string) => {
        for (const server of group.servers) await askRedis(server, "CONFIG", "SET", "appendfsync", value);
      };
      await setSync("always");
      try {
        await open(strictly);
      } finally {
        await setSync("everysec");
      }
    });

    test("continues on the replica that was promoted, with all its data", async () => {
      const store = await begin();
      expect(await store.commit("w1", 1, batchOf(click("a"), click("b")))).toEqual(COMMITTED);
      await group.failOver(META_KEY);
      await group.settle();
      const read = await waitFor("an answer", () => answered(store.read([keyOf(NOON)])), WAIT);
      expect(read).toEqual([clicks(2)]);
      expect(await store.commit("w1", 2, batchOf(click("a"), click("c")))).toEqual({
        status: "committed",
        duplicates: [0],
      });
      expect(await store.read([keyOf(NOON)])).toEqual([clicks(3)]);
    });

    test("notices what a promoted replica lacks before anything is read from it", async () => {
      const store = await begin();
      expect(await store.commit("w1", 1, batchOf(click("a")))).toEqual(COMMITTED);
      await group.settle();
      const master = await group.masterOf(META_KEY);
      const mend = await cutReplicas(group, master);
      expect(await store.commit("w1", 2, batchOf(click("b")))).toEqual(COMMITTED);
      await master.kill();
      const read = await waitFor("an answer", () => answered(store.read([keyOf(NOON)])), WAIT);
      expect(read).toBe("uninitialized");
      expect(await store.abandon("w1")).toMatchObject({ lastSeq: 1 });
      await mend();
      await group.restart(master);
    });

    test("with REDIS_WAIT_REPLICAS a batch that no replica has is not acknowledged", async () => {
      const store = await begin({ waitReplicas: 1 });
      // A replica that has just been connected to may take longer than the command's timeout to catch up.
      const stored = (seq: number, batch: Batch) =>
        waitFor(
          "a replica that has it",
          () =>
            store.commit("w1", seq, batch).catch((error: unknown) => {
              if (!(error instanceof HotUnavailableError)) throw error;
            }),
          WAIT,
        );
      expect(await stored(1, batchOf(click("a")))).toEqual(COMMITTED);
      const mend = await cutReplicas(group, await group.masterOf(META_KEY));
      const batch = batchOf(click("b"));
      const refused = await store.commit("w1", 2, batch).catch((error: unknown) => error);
      expect(String(refused)).toContain("0 of 1 replicas had it");
      expect(refused).toMatchObject({ mayHaveApplied: true });
      await mend();
      await group.settle();
      expect(await stored(2, batch)).toEqual(COMMITTED);
      expect(await store.read([keyOf(NOON)])).toEqual([clicks(2, 2)]);
    });

    test("holds limits of access, too", async () => {
      const options = { url: group.url, commandTimeoutMs: COMMAND_TIMEOUT_MS, identity: async () => "own" };
      const access = new RedisAccessStore(options);
      try {
        const spending = [
          { name: "one", ms: 600_000 },
          { name: "two", ms: 900_000 },
        ];
        await access.spend(spending);
        await group.settle();
        await group.failOver(META_KEY);
        await group.settle();
        const spent = () => access.spend(spending);
        const [one, two] = await waitFor("an answer", () => answered(spent()), WAIT);
        // Some of what was spent before is paid for by now.
        expect(one).toBeGreaterThan(700_000);
        expect(two).toBeGreaterThan(1_000_000);
      } finally {
        await access.close();
      }
    });
  });
}

describeWithServers("hot store: Sentinels, named wrongly", ["redis"], () => {
  test("is reported", async () => {
    const group = await startRedisSentinels();
    const url = group.url.replace(/[^/]*$/, "nobody");
    const store = new RedisHotStore({ url, leaseMs: LONG_LEASE_MS, commandTimeoutMs: COMMAND_TIMEOUT_MS });
    try {
      const refused = await store.open().catch(String);
      expect(refused).toContain("no Sentinel names a master");
      expect(refused).toContain("knows no master 'nobody'");
    } finally {
      await store.close();
      await group.stop();
    }
  });
});

describeWithServers("hot store: nodes of a cluster", ["redis"], () => {
  let cluster: RedisCluster;
  const { create, open, begin } = storesOn(() => cluster);

  beforeAll(async () => {
    cluster = await startRedisCluster();
  });
  afterAll(() => cluster?.stop());

  test("any one of them suffices to find the data set, and the others once it is down", async () => {
    const first = await begin();
    await first.commit("w1", 1, batchOf(click("a")));
    for (const server of cluster.servers) {
      const store = await open({ url: server.url });
      expect(await store.read([keyOf(NOON)])).toEqual([clicks(1)]);
    }
    const master = await cluster.masterOf(META_KEY);
    await cluster.settle();
    const byMaster = await open({ url: master.url });
    await master.kill();
    try {
      const read = await waitFor("an answer", () => answered(byMaster.read([keyOf(NOON)])), WAIT);
      expect(read).toEqual([clicks(1)]);
    } finally {
      await cluster.restart(master);
    }
  });

  test("one that is reached by a socket is refused, with what to do", async () => {
    const refused = await create({ url: cluster.servers[0]!.socketUrl }).open().catch(String);
    expect(refused).toContain("is a node of a cluster: set REDIS_URL to its nodes");
  });

  describe("a slot that is moved key by key", () => {
    /** So that a script which goes from one hour to the next finds the earlier ones, and ends at this. */
    const hourFirst = (hour: number) => (keys: readonly string[]) => {
      const first = keys.filter((key) => key.includes(`:c:${hour}:`));
      return [...first, ...keys.filter((key) => !first.includes(key))];
    };
    const random = new Random(seedFor("slot"));
    const orders: Readonly<Record<string, (keys: readonly string[]) => readonly string[]>> = {
      "the later of two flushed hours first": hourFirst(HOURS[1]),
      "the later of two hours of a batch first": hourFirst(HOURS[3]),
      "in any order": (keys) => random.shuffled(keys),
      "in any other order": (keys) => random.shuffled(keys),
    };

    for (const [name, order] of Object.entries(orders)) {
      test(`each call meanwhile is right, or refused with nothing done: ${name}`, async () => {
        const a = await begin();
        const b = await open();
        await b.register("w2");
        const run = new MovedSlot(a, b);
        await run.prepare();
        const keys = await cluster.moveSlot(META_KEY, { order, onStep: (moved) => run.step(moved) });
        expect(keys).toBeGreaterThan(15);
        await waitFor("both to have found the slot", () => a.isReady && b.isReady && run.isReached(), WAIT);
        await run.finish();
        console.log(`${name}: ${keys} keys, ${run.refused} calls refused, ${run.done} done`);
        expect(run.refused).toBeGreaterThan(0);
      });
    }
  });
});

/**
 * Two writers, and what they know. Noon and the hour after it are flushed, so that they may be retired; the hours after
 * these are not.
 */
class MovedSlot {
  refused = 0;
  done = 0;
  readonly #a: HotStore;
  readonly #b: HotStore;
  /** The next batch of the second writer. */
  #seq = 3;

  constructor(a: HotStore, b: HotStore) {
    this.#a = a;
    this.#b = b;
  }

  async prepare(): Promise<void> {
    const [first, second, third, fourth] = HOURS;
    await this.#a.commit("w1", 1, batchOf(click("a1", first), click("a2", first), click("a3", second)));
    // So that each hour has all the keys that it may have.
    const views = HOURS.map((at) => ({
      ...click(undefined, at),
      user: "viewer",
      kind: "impression" as const,
    }));
    await this.#b.commit("w2", 1, batchOf(click("b1", second), ...views));
    await this.#a.trimJournal("w1", 1);
    await this.#b.trimJournal("w2", 1);
    const unflushed = [click("a4", third), click("a5", third), click(undefined, third), click("a6", fourth)];
    await this.#a.commit("w1", 2, batchOf(...unflushed));
    expect(await this.#b.commit("w2", 2, batchOf(click("a5", third)))).toMatchObject({ duplicates: [0] });
  }

  async step(moved: number): Promise<void> {
    await this.#look();
    // While all keys are there everything would be done at once.
    if (moved > 0) await this.#change();
    await this.#look();
  }

  async isReached(): Promise<boolean> {
    const ages = [this.#a, this.#b].map((store) => answered(store.initialization()));
    return (await Promise.all(ages)).every((age) => age !== undefined);
  }

  async finish(): Promise<void> {
    await this.#look();
    for (let count = 1; count > 0; ) count = await this.#a.retire(HOURS[2]);
    await this.#change();
    expect(this.#seq).toBeGreaterThan(3);
    expect(await this.#a.read(HOURS.map(keyOf))).toEqual([
      { status: "absent" },
      { status: "absent" },
      this.#third,
      this.#fourth,
    ]);
    const idsOf = async (store: HotStore, writer: string) => {
      const batches = await store.readJournal(writer, 0, ALL);
      return batches.flatMap(({ groups }) => groups.flatMap(({ ids }) => ids ?? []));
    };
    expect(await idsOf(this.#a, "w1")).toEqual(["a4", "a5", null, "a6"]);
    expect(await idsOf(this.#b, "w2")).toEqual(Array.from({ length: this.#seq - 3 }, (_, i) => `new-${i + 3}`));
    const again = batchOf(click("a4", HOURS[2]), click("a7", HOURS[2]));
    expect(await this.#b.commit("w2", this.#seq, again)).toMatchObject({ duplicates: [0] });
  }

  /** Three clicks, and those that came after them. */
  get #third(): HourRead {
    const count = 3 + (this.#seq - 3);
    return clicksAndView(count, count);
  }

  get #fourth(): HourRead {
    return clicksAndView(1, 1);
  }

  async #change(): Promise<void> {
    await this.#retire();
    const committed = await this.#tell(this.#b.commit("w2", this.#seq, batchOf(click(`new-${this.#seq}`, HOURS[2]))));
    if (committed === undefined) return;
    expect(committed).toEqual(COMMITTED);
    this.#seq += 1;
  }

  async #retire(): Promise<void> {
    const count = await this.#tell(this.#a.retire(HOURS[2]));
    if (count !== undefined) expect(count).toBeLessThanOrEqual(2);
  }

  async #look(): Promise<void> {
    const reads = await this.#tell(this.#a.read(HOURS.map(keyOf)));
    if (reads !== undefined) this.#expectRead(reads);
    const hours: HourRead[] = [];
    const shown = await this.#tell(
      this.#b.readRange(EVERY_HOUR, ({ clicks: count, users }) => {
        hours.push(clicksAndView(count, users.count() - 1));
      }),
    );
    if (shown !== undefined) expect(hours.slice(-2)).toEqual([this.#third, this.#fourth]);
    const owners = await this.#tell(this.#b.journalOwners());
    if (owners !== undefined) expect(owners.map(({ writer }) => writer).sort()).toEqual(["w1", "w2"]);
  }

  #expectRead(reads: readonly HourRead[] | "uninitialized"): void {
    if (reads === "uninitialized") throw new Error("the data set is not known any more");
    const [first, second, third, fourth] = reads;
    expect([clicksAndView(2, 2), { status: "absent" }]).toContainEqual(first!);
    expect([clicksAndView(2, 2), { status: "absent" }]).toContainEqual(second!);
    expect([third, fourth]).toEqual([this.#third, this.#fourth]);
  }

  async #tell<T>(asked: Promise<T>): Promise<T | undefined> {
    const answer = await answered(asked);
    if (answer === undefined) this.refused += 1;
    else this.done += 1;
    return answer;
  }
}
