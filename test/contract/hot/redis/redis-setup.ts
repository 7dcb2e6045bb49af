/** A Redis for tests of the hot store, inspected from outside, and faults on the connection to it. */
import { afterAll, beforeAll, expect } from "bun:test";
import { createClient, RESP_TYPES } from "redis";
import type { HourKey } from "../../../../src/domain/event.ts";
import { Sketch, type UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import type { HotStore, HourRead } from "../../../../src/store/hot.ts";
import { RedisHotStore, type RedisHotStoreOptions } from "../../../../src/store/redis/hot-store.ts";
import { script } from "../../../../src/store/redis/link.ts";
import commitSource from "../../../../src/store/redis/scripts/commit.lua" with { type: "text" };
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { describeWithServers, type RedisServer, startRedis } from "../../../harness/servers/servers.ts";
import type { TcpProxy } from "../../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import { click, expectSameRegisters, type Harness, LONG_LEASE_MS, NOON, NOON_KEY, STREAM } from "../setup.ts";

export const countsKey = ({ stream, hour }: HourKey) => `hg:{0}:c:${hour}:${stream}`;
export const viewersKey = ({ stream, hour }: HourKey) => `hg:{0}:u:${hour}:${stream}`;
export const clickersKey = ({ stream, hour }: HourKey) => `hg:{0}:k:${hour}:${stream}`;
export const idKey = (id: string, stream = STREAM) => `hg:{0}:id:${stream}:${id}`;
export const writerKey = (writer: string) => `hg:{0}:w:${writer}`;
export const journalKey = (writer: string) => `hg:{0}:j:${writer}`;
export const META_KEY = "hg:{0}:meta";

const COMMIT = script("commit", commitSource);
/** Names by which a proxy distinguishes commands. */
export const COMMIT_SHA1 = COMMIT.sha1;

export type Admin = Awaited<ReturnType<typeof connectAdmin>>;

/** Looks into a server from outside the store; strings come as bytes. */
export async function connectAdmin(url: string) {
  const client = createClient({ url });
  // The server is killed under it.
  client.on("error", () => {});
  await client.connect();
  return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
}

export function atPort(url: string, port: number): string {
  const moved = new URL(url);
  moved.port = String(port);
  return moved.href;
}

/** The next connection that such a command is sent over is cut, once. */
export function cutBeforeArrival(proxy: TcpProxy, sha1: string): void {
  proxy.onUpstream = (chunk, connection) => {
    if (!chunk.includes(sha1)) return true;
    proxy.onUpstream = undefined;
    connection.cut();
    return false;
  };
}

export function cutBeforeAnswer(proxy: TcpProxy, sha1: string): void {
  proxy.onUpstream = (chunk) => {
    if (chunk.includes(sha1)) proxy.onDownstream = cutOnce;
    return true;
  };
  const cutOnce: TcpProxy["onDownstream"] = (_, connection) => {
    proxy.onUpstream = undefined;
    proxy.onDownstream = undefined;
    connection.cut();
    return false;
  };
}

export const CUTS = { "before it arrives": cutBeforeArrival, "before its answer": cutBeforeAnswer };

export interface RedisHarness extends Harness {
  /** An unopened store with other settings than open()'s, closed by end(). */
  store(settings?: Partial<RedisHotStoreOptions>): HotStore;
  openWith(settings: Partial<RedisHotStoreOptions>): Promise<HotStore>;
}

/** The Redis of one file of tests. */
export class HotRedis {
  server!: RedisServer;
  admin!: Admin;

  async start(): Promise<void> {
    this.server = await startRedis();
    this.admin = await connectAdmin(this.server.url);
  }

  async stop(): Promise<void> {
    this.admin?.destroy();
    await this.server?.stop();
  }

  harnessOn(url: string): RedisHarness {
    const { admin } = this;
    const stores: HotStore[] = [];
    let last: HotStore | undefined;
    const storeWith = (settings: Partial<RedisHotStoreOptions> = {}) => {
      const store = new RedisHotStore({ url, leaseMs: LONG_LEASE_MS, commandTimeoutMs: 10_000, ...settings });
      stores.push(store);
      last = store;
      return store;
    };
    const openWith = async (settings: Partial<RedisHotStoreOptions>) => {
      const store = storeWith(settings);
      expect(await store.open()).toEqual([]);
      return store;
    };
    return {
      store: storeWith,
      openWith,
      open: () => openWith({}),
      async uninitialize() {
        await admin.del(META_KEY);
        return last!;
      },
      async end() {
        await Promise.all(stores.map((store) => store.close()));
      },
    };
  }

  async open(): Promise<RedisHarness> {
    await this.admin.flushAll();
    // Else the first of them would be refused, and sent again in full: not what a fault is meant to hit.
    await this.admin.scriptLoad(COMMIT.source);
    return this.harnessOn(this.server.url);
  }

  async sketchAt(key: string): Promise<Sketch> {
    const bytes = await this.admin.get(key);
    return bytes === null ? new Sketch() : Sketch.decode(bytes as Buffer);
  }

  async expectUsersAt(key: HourKey, { viewers, clickers }: UserSketches): Promise<void> {
    expectSameRegisters(await this.sketchAt(viewersKey(key)), viewers);
    expectSameRegisters(await this.sketchAt(clickersKey(key)), clickers);
  }

  async streamIdsOf(writer: string): Promise<string[]> {
    const entries = await this.admin.xRange(journalKey(writer), "-", "+");
    return (entries ?? []).map((entry) => String(entry?.id));
  }
}

export function describeHotRedis(body: (redis: HotRedis) => void): void {
  describeWithServers("hot store: Redis", ["redis"], () => {
    const redis = new HotRedis();
    beforeAll(() => redis.start());
    afterAll(() => redis.stop());
    body(redis);
  });
}

/** Cut, and allowed to connect again only once that was noticed. */
export async function reconnect(which: HotStore, proxy: TcpProxy): Promise<void> {
  proxy.refuse();
  proxy.cutAll();
  await waitFor("the cut to be noticed", () => !which.isReady);
  await proxy.accept();
}

export async function firstAnswer(from: HotStore): Promise<readonly HourRead[] | "uninitialized"> {
  const { read } = await waitFor("an answer", async () => ({ read: await from.read([NOON_KEY]) }));
  return read;
}

export function everyCall(of: HotStore, seq: number): (() => Promise<unknown>)[] {
  return [
    () => of.commit("w1", seq, batchOf([click("u")])),
    () => of.read([NOON_KEY]),
    () => of.initialization(),
    () => of.initialize(NOON),
    () => of.register("w9"),
    () => of.renewLease("w1", seq - 1),
    () => of.abandon("w8"),
    () => of.retirementMark(),
    () => of.hydrate(NOON_KEY, undefined, 0),
    () => of.retire(0),
    () => of.readJournal("w1", 0, 10),
    () => of.trimJournal("w1", 0),
    () => of.journalOwners(),
    () => of.fence("w8"),
    () => of.removeJournal("w8", 0),
  ];
}
