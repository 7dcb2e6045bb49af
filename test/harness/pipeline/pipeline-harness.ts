/**
 * Pipelines on real stores with a clock that the test controls, and a view into the cold store from outside.
 *
 * An instance's calls to its stores pass a guard: a test can hold one up, make it fail, freeze all of them, or cut them
 * off for good, which is what a kill -9 is to the stores.
 */

import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnection } from "mysql2/promise";
import { createClient } from "redis";
import { type Event, type HourKey, hourKeyName, hourOf } from "../../../src/domain/event.ts";
import type { Outcome } from "../../../src/domain/refusal-reasons.ts";
import { Sketch } from "../../../src/domain/unique-users/sketch.ts";
import { Pipeline, type PipelineSettings } from "../../../src/pipeline/pipeline.ts";
import type { HourAnswer } from "../../../src/pipeline/read/hour-reader.ts";
import { type Clock as RuntimeClock, systemClock, withDeadline } from "../../../src/runtime/clock.ts";
import type { Log } from "../../../src/runtime/log.ts";
import { Metrics } from "../../../src/runtime/metrics.ts";
import { type ColdStore, ColdUnavailableError } from "../../../src/store/cold.ts";
import { embeddedColdStore } from "../../../src/store/embedded/cold-store.ts";
import { EmbeddedHotStore } from "../../../src/store/embedded/hot-store.ts";
import { type HotStore, HotUnavailableError } from "../../../src/store/hot.ts";
import { mysqlColdStore } from "../../../src/store/mysql/cold-store.ts";
import type { StoreSettings } from "../../../src/store/open.ts";
import { RedisHotStore } from "../../../src/store/redis/hot-store.ts";
import type { ServerKind } from "../servers/binaries.ts";
import type { ServerProcess } from "../servers/server-process.ts";
import { type MariaDbServer, type RedisServer, startMariaDb, startRedis } from "../servers/servers.ts";
import { type ColdView, expectHoursToBeReplay, mariaDbView, type StoredEvent, sqliteView } from "../service/stored.ts";
import { waitFor } from "../service/wait-for.ts";
import { presetInFolder, TEST_USERS } from "./test-users.ts";

export const NOON = Date.UTC(2026, 0, 31, 12);
export const STREAM = "site-1";

export function click(user: string, at = NOON, stream = STREAM, id?: string): Event {
  return { stream, at, kind: "click", user, id };
}

export function impression(user: string, at = NOON, stream = STREAM, id?: string): Event {
  return { stream, at, kind: "impression", user, id };
}

export function clicks(name: string, count: number, at = NOON): Event[] {
  return Array.from({ length: count }, (_, i) => click(`${name}-${i}`, at));
}

export function hourAt(at: number, stream = STREAM): HourKey {
  return { stream, hour: hourOf(at) };
}

/** The time of day stands still until it is moved; durations and timers are real. */
export class Clock implements RuntimeClock {
  readonly #system = systemClock();
  /** How many times longer all deadlines are: for a test that none may end, however busy the machine is. */
  slowedBy = 1;
  readonly monotonicMs = () => this.#system.monotonicMs() / this.slowedBy;
  readonly after = (ms: number, act: () => void) => this.#system.after(ms * this.slowedBy, act);
  readonly every = this.#system.every;
  readonly atTurnEnd = this.#system.atTurnEnd;
  readonly sleep = this.#system.sleep;
  readonly sleepThread = this.#system.sleepThread;
  readonly threadBusyMs = this.#system.threadBusyMs;
  readonly random = this.#system.random;
  ms = NOON;
  readonly now = () => this.ms;

  advance(ms: number): void {
    this.ms += ms;
  }
}

export interface LogEntry {
  readonly level: "info" | "warn" | "error";
  readonly fields: object;
  readonly message: string;
}

export class RecordedLog implements Log {
  readonly entries: LogEntry[] = [];

  info(fields: object, message: string): void {
    this.entries.push({ level: "info", fields, message });
  }

  warn(fields: object, message: string): void {
    this.entries.push({ level: "warn", fields, message });
  }

  error(fields: object, message: string): void {
    this.entries.push({ level: "error", fields, message });
  }

  has(part: string): boolean {
    return this.entries.some(({ message }) => message.includes(part));
  }
}

export interface StoreCall {
  readonly store: "hot" | "cold";
  /** The shard of a hot store. */
  readonly shard: number;
  readonly method: string;
  readonly args: readonly unknown[];
  /** Makes the call. */
  proceed(): Promise<unknown>;
}

export type Interceptor = (call: StoreCall) => Promise<unknown>;

/** Stands between a pipeline and its stores. */
export class Guard {
  /** Sees each call; without one, all calls go through. */
  intercept: Interceptor | undefined;
  readonly #death = Promise.withResolvers<never>();
  #isDead = false;
  #thaw: PromiseWithResolvers<void> | undefined;

  constructor() {
    this.#death.promise.catch(() => {});
  }

  /** From now on no call reaches the stores, and no answer comes back. */
  kill(): void {
    this.#isDead = true;
    this.#death.reject(new HotUnavailableError("the process was killed", true));
  }

  /** Calls wait, as in a stopped process; what is in flight arrives. */
  freeze(): void {
    this.#thaw ??= Promise.withResolvers<void>();
  }

  thaw(): void {
    this.#thaw?.resolve();
    this.#thaw = undefined;
  }

  async call(call: StoreCall): Promise<unknown> {
    if (this.#isDead) throw unavailable(call.store);
    const passed = this.#thawed().then(() => (this.intercept ?? proceed)(this.#mortal(call)));
    const answered = passed.finally(() => this.#thawed());
    return await Promise.race([answered, this.#death.promise]);
  }

  async #thawed(): Promise<void> {
    while (this.#thaw !== undefined) await this.#thaw.promise;
  }

  #mortal(call: StoreCall): StoreCall {
    const proceedAlive = () => (this.#isDead ? Promise.reject(unavailable(call.store)) : call.proceed());
    return { ...call, proceed: proceedAlive };
  }
}

function proceed(call: StoreCall): Promise<unknown> {
  return call.proceed();
}

export function unavailable(store: StoreCall["store"]): Error {
  if (store === "cold") return new ColdUnavailableError("the test took it away");
  return new HotUnavailableError("the test took it away", false);
}

/** Intercepts only calls of this method; all others pass. */
export function onMethod(name: `${StoreCall["store"]}.${string}`, interceptor: Interceptor): Interceptor {
  return (call) => (`${call.store}.${call.method}` === name ? interceptor(call) : call.proceed());
}

/** The cold store of this instance does not answer, but says so at once. */
export const coldStoreAway: Interceptor = async (call) => {
  if (call.store === "cold") throw unavailable("cold");
  return await call.proceed();
};

function guarded<S extends HotStore | ColdStore>(kind: StoreCall["store"], store: S, guard: Guard, shard = 0): S {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name, target);
      if (typeof member !== "function") return member;
      return (...args: unknown[]) =>
        guard.call({
          ...{ store: kind, shard, method: String(name), args },
          proceed: () => member.apply(target, args),
        });
    },
  });
}

/** A short timer, so that a test need not wait for it; a lease that runs out only where a test wants that. */
const SETTINGS: PipelineSettings = {
  flushIntervalMs: 10,
  flushMaxEvents: 1_000,
  ringCapacityEvents: 10_000,
  journalMaxEvents: 1_000_000,
  hotHours: 3,
  retentionDays: undefined,
  aggregateRetentionDays: undefined,
  maxStreams: 1_000,
  leaseMs: 600_000,
  outcomeTimeoutMs: 10_000,
  commitIntervalUs: 1_700,
};

export interface StoreOptions {
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly shards: number;
}

export type StorePlaces = Pick<StoreSettings, "dataDir" | "redisUrl" | "redisShards" | "mysqlUrl">;

export interface InstanceStores {
  readonly hotShards: readonly HotStore[];
  /** The hot store of shard 0. */
  readonly hot: HotStore;
  readonly cold: ColdStore;
}

function storesOf(hotShards: readonly HotStore[], cold: ColdStore): InstanceStores {
  return { hotShards, hot: hotShards[0]!, cold };
}

export interface Watermark {
  readonly writer: string;
  readonly seq: number;
  readonly events: number;
  readonly sealed: number;
}

/** Data of a pair of stores, empty at first, and the instances that share it (embedded: one at a time). */
export abstract class Site {
  readonly clock = new Clock();
  readonly shards: number;
  abstract readonly name: "embedded" | "redis+mysql";
  abstract readonly cold: ColdView;
  readonly #instances = new Set<Instance>();

  constructor(shards = 1) {
    this.shards = shards;
  }

  /** Addresses for a process that opens its stores itself. */
  abstract readonly places: StorePlaces;
  protected abstract createStores(options: StoreOptions): InstanceStores;
  abstract watermarks(): Promise<Watermark[]>;
  /** Names of the writers that have a journal. Embedded: only while no instance runs. */
  abstract journals(): Promise<string[]>;
  /** Loses everything that is not on disk at this instant. */
  protected abstract crash(): void;
  protected abstract discard(): Promise<void>;

  async start(settings: Partial<PipelineSettings> = {}, intercept?: Interceptor): Promise<Instance> {
    const instance = this.create(settings);
    instance.guard.intercept = intercept;
    await Promise.all(instance.stores.hotShards.map((hot) => hot.open()));
    await instance.pipeline.start();
    return instance;
  }

  /** An instance that has not been started. */
  create(settings: Partial<PipelineSettings> = {}): Instance {
    const all = { ...SETTINGS, ...settings };
    const stores = this.createStores({ clock: this.clock, leaseMs: all.leaseMs, shards: this.shards });
    const instance = new Instance(stores, this.clock, all);
    this.#instances.add(instance);
    return instance;
  }

  /** Like kill -9. The next instance finds what was on disk. */
  kill(instance: Instance): void {
    instance.guard.kill();
    this.crash();
    // Its timers go on in this process: they are ended, and nobody has to wait for that.
    this.#instances.delete(instance);
    leftOvers.add(instance.stop());
  }

  /** Waits until every journal is gone, then checks that these events, and only these, are stored and counted. */
  async expectStored(events: readonly Event[]): Promise<void> {
    const expected = events.map(eventText).sort();
    await waitFor(`${expected.length} rows`, async () => (await this.cold.countEvents()) >= expected.length);
    const stored = await this.cold.events();
    expect(stored.map(eventText).sort()).toEqual(expected);
    await this.#expectConsistent(stored);
  }

  async #expectConsistent(stored: readonly StoredEvent[]): Promise<void> {
    expectHoursToBeReplay(await this.cold.hours(), stored);
    const counted = (await this.watermarks()).reduce((sum, { events }) => sum + events, 0);
    expect(counted).toBe(stored.length);
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#instances, (instance) => instance.stop()));
    await this.discard();
  }
}

const leftOvers = new Set<Promise<void>>();

/** Ends what was killed: at the end of a test file. */
export async function endKilled(): Promise<void> {
  await Promise.all(leftOvers);
  leftOvers.clear();
}

function eventText({ stream, at, kind, user, id }: Event | StoredEvent): string {
  return `${at} ${stream} ${kind} ${user} ${id ?? ""}`;
}

export class Instance {
  readonly guard = new Guard();
  readonly log = new RecordedLog();
  readonly pipeline: Pipeline;
  /** Not guarded. */
  readonly stores: InstanceStores;
  #stopping: Promise<void> | undefined;

  constructor(stores: InstanceStores, clock: Clock, settings: PipelineSettings) {
    this.stores = stores;
    this.pipeline = new Pipeline({
      hotShards: stores.hotShards.map((hot, shard) => guarded("hot", hot, this.guard, shard)),
      cold: guarded("cold", stores.cold, this.guard),
      metrics: new Metrics(),
      log: this.log,
      clock,
      settings,
      onBrokenInvariant: (error) => {
        throw error;
      },
    });
  }

  /** All in one tick. */
  submit(...events: readonly Event[]): Promise<Outcome[]> {
    return Promise.all(events.map((event) => this.pipeline.submit(event)));
  }

  /** Expects that all are taken. */
  async take(...events: readonly Event[]): Promise<void> {
    const outcomes = await this.submit(...events);
    expect(outcomes.filter((outcome) => outcome !== undefined)).toEqual([]);
  }

  /** Sends each as a client does that means to have it counted: again, until it is taken. */
  async takeInTheEnd(...events: readonly Event[]): Promise<void> {
    for (const event of events) {
      await waitFor("an event to be taken", async () => (await this.pipeline.submit(event)) === undefined);
    }
  }

  read(key: HourKey): Promise<HourAnswer> {
    return this.pipeline.read(key);
  }

  async drained(): Promise<void> {
    await waitFor("everything to be flushed", () => this.pipeline.ledger.pending === 0);
  }

  /** Refused in one way or another until then: events of this process may be missing from the answers. */
  async serves(key: HourKey): Promise<void> {
    await waitFor("reads to be complete", async () => !(await this.read(key)).isDegraded);
  }

  /** An orderly stop, which also closes the stores. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.guard.thaw();
    await this.pipeline.stop();
    await Promise.all([...this.stores.hotShards, this.stores.cold].map((store) => store.close()));
  }
}

/** The expected answer for an hour with these events. */
export function answerOf(events: readonly Event[], isDegraded = false): HourAnswer {
  const users = new Sketch();
  for (const { user } of events) users.add(TEST_USERS.registerOf(user));
  const clickCount = events.filter(({ kind }) => kind === "click").length;
  return {
    clicks: clickCount,
    impressions: events.length - clickCount,
    uniqueUsers: users.count(),
    isDegraded,
  };
}

/** Each hour that holds one of these events reads as these give it. */
export async function expectReads(instance: Instance, events: readonly Event[]): Promise<void> {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  for (const inHour of byHour.values()) {
    const [{ at, stream }] = inHour as [Event];
    expect(await instance.read(hourAt(at, stream))).toEqual(answerOf(inHour));
  }
}

export interface PipelineMode {
  readonly name: Site["name"];
  /** The name in test titles. */
  readonly title: string;
  readonly shards: number;
  readonly needs: readonly ServerKind[];
  /** Before the first site is opened. */
  prepare(): Promise<void>;
  open(): Promise<Site>;
  end(): Promise<void>;
}

/** Both pairs of real stores. */
export function pipelineModes(): readonly PipelineMode[] {
  return [
    {
      ...{ name: "embedded", title: "embedded", shards: 1 },
      needs: [],
      prepare: async () => {},
      open: async () => new EmbeddedSite(),
      end: endKilled,
    },
    clusterMode(1),
  ];
}

/** Redis and MySQL, with the data divided into so many shards. */
export function clusterMode(shards: number): PipelineMode {
  const servers = new ClusterServers();
  return {
    ...{ name: "redis+mysql", shards },
    title: shards === 1 ? "redis+mysql" : `redis+mysql, ${shards} shards`,
    needs: ["redis", "mariadb"],
    prepare: () => servers.start(),
    open: () => servers.openSite(shards),
    end: async () => {
      await endKilled();
      await servers.stop();
    },
  };
}

class EmbeddedSite extends Site {
  readonly name = "embedded";
  readonly cold = sqliteView(() => this.#coldPath);
  readonly #folders = [mkdtempSync(join(tmpdir(), "hourglass-pipeline-"))];

  get #folder(): string {
    return this.#folders.at(-1)!;
  }

  get #coldPath(): string {
    return join(this.#folder, "cold.sqlite");
  }

  protected createStores({ clock }: StoreOptions): InstanceStores {
    const dataDir = this.#folderWithKey();
    return storesOf([new EmbeddedHotStore({ dataDir, now: clock.now })], embeddedColdStore({ dataDir }));
  }

  get places(): StorePlaces {
    return { dataDir: this.#folderWithKey(), redisUrl: undefined, mysqlUrl: undefined };
  }

  #folderWithKey(): string {
    presetInFolder(this.#folder);
    return this.#folder;
  }

  async watermarks(): Promise<Watermark[]> {
    const query = "SELECT writer, seq, events, sealed FROM writers ORDER BY id";
    return rowsOf<Watermark>(this.#coldPath, query);
  }

  async journals(): Promise<string[]> {
    const path = join(this.#folder, "journal.sqlite");
    return rowsOf<{ writer: string }>(path, "SELECT writer FROM writers").map(({ writer }) => writer);
  }

  /** The files as they are at this instant: the old process, which goes on in part, keeps the old ones. */
  protected crash(): void {
    const copy = mkdtempSync(join(tmpdir(), "hourglass-pipeline-"));
    cpSync(this.#folder, copy, { recursive: true });
    this.#folders.push(copy);
  }

  protected async discard(): Promise<void> {
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
  }
}

function rowsOf<Row>(path: string, query: string): Row[] {
  const database = new Database(path, { strict: true });
  try {
    return database.query<Row, []>(query).all();
  } finally {
    database.close();
  }
}

/** A Redis and a MariaDB that several tests use one after the other. */
export class ClusterServers {
  #redis: RedisServer | undefined;
  #mariaDb: MariaDbServer | undefined;

  async start(redisArgs: readonly string[] = []): Promise<void> {
    [this.#redis, this.#mariaDb] = await Promise.all([startRedis({ args: redisArgs }), startMariaDb()]);
  }

  get redis(): RedisServer {
    return this.#redis!;
  }

  get mariaDb(): MariaDbServer {
    return this.#mariaDb!;
  }

  /** Opens a site with an empty database and an empty Redis. */
  async openSite(shards = 1): Promise<ClusterSite> {
    const site = new ClusterSite(this, await this.mariaDb.createDatabase(), shards);
    await site.flushRedis();
    return site;
  }

  /** Whatever a test did to them. */
  async heal(): Promise<void> {
    await Promise.all([wake(this.redis), wake(this.mariaDb)]);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#redis?.stop(), this.#mariaDb?.stop()]);
  }
}

async function wake(server: ServerProcess): Promise<void> {
  try {
    server.resume();
  } catch {
    await server.start();
  }
}

export interface ClusterReach {
  /** Ports of proxies in front of the servers. */
  readonly redisPort?: number;
  readonly mysqlPort?: number;
  /** Replaces root, who may write even to a read-only server. */
  readonly mysqlUser?: string;
}

/** Short, so that a test of a silent server is over soon, and long enough for servers on a busy machine. */
const FLUSH_TIMEOUT_MS = 4_000;
const READ_TIMEOUT_MS = 2_000;
const REDIS_COMMAND_TIMEOUT_MS = 2_000;

const COMMAND_TIMEOUT_MS = 10_000;

export class ClusterSite extends Site {
  readonly name = "redis+mysql";
  readonly cold: ColdView;
  readonly #servers: ClusterServers;
  readonly #databaseUrl: string;
  readonly #others: ClusterSite[] = [];
  #reach: ClusterReach = {};

  constructor(servers: ClusterServers, databaseUrl: string, shards = 1) {
    super(shards);
    this.#servers = servers;
    this.#databaseUrl = databaseUrl;
    this.cold = mariaDbView(databaseUrl);
  }

  /** How the instances reach the servers that are started from now on. */
  reach(reach: ClusterReach): void {
    this.#reach = reach;
  }

  protected createStores({ clock, leaseMs, shards }: StoreOptions): InstanceStores {
    const { redisPort, mysqlPort, mysqlUser } = this.#reach;
    const redisUrl = reached(this.#servers.redis.url, redisPort);
    const mysqlUrl = reached(this.#databaseUrl, mysqlPort, mysqlUser);
    const options = { url: redisUrl, leaseMs, commandTimeoutMs: REDIS_COMMAND_TIMEOUT_MS };
    const cold = mysqlColdStore({
      ...{ url: mysqlUrl, now: clock.now, shards },
      flushTimeoutMs: FLUSH_TIMEOUT_MS,
      readTimeoutMs: READ_TIMEOUT_MS,
    });
    const hotShards = Array.from({ length: shards }, (_, shard) => new RedisHotStore({ ...options, shard, shards }));
    return storesOf(hotShards, cold);
  }

  get places(): StorePlaces {
    const [redisUrl, redisShards] = [this.#servers.redis.url, this.shards];
    return { dataDir: "", redisUrl, redisShards, mysqlUrl: this.#databaseUrl };
  }

  async watermarks(): Promise<Watermark[]> {
    return await this.runSql<Watermark>("SELECT writer, seq, events, sealed FROM writers ORDER BY id");
  }

  async runSql<Row>(sql: string): Promise<Row[]> {
    const connection = await createConnection({ uri: this.#databaseUrl });
    try {
      return (await connection.query(sql))[0] as Row[];
    } finally {
      connection.destroy();
    }
  }

  /** One command, past any proxy. */
  async redis(...command: string[]): Promise<unknown> {
    const client = createClient({ url: this.#servers.redis.url });
    client.on("error", () => {});
    try {
      await client.connect();
      const answer = client.sendCommand(command);
      return await withDeadline(answer, COMMAND_TIMEOUT_MS, () => new Error(`${command[0]} hangs`));
    } finally {
      client.destroy();
    }
  }

  async flushRedis(): Promise<void> {
    await this.redis("FLUSHALL");
  }

  async journals(): Promise<string[]> {
    const ofShards = Array.from({ length: this.shards }, (_, shard) => {
      return this.redis("SMEMBERS", `hg:{${shard}}:writers`);
    });
    return ((await Promise.all(ofShards)) as string[][]).flat().sort();
  }

  /** The same data, for instances that take it to be divided into so many shards. It is closed with this one. */
  withShards(shards: number): ClusterSite {
    const other = new ClusterSite(this.#servers, this.#databaseUrl, shards);
    this.#others.push(other);
    return other;
  }

  protected crash(): void {}

  protected async discard(): Promise<void> {
    await Promise.all(this.#others.map((other) => other.close()));
  }
}

function reached(url: string, port: number | undefined, user?: string): string {
  const reachedUrl = new URL(url);
  if (port !== undefined) reachedUrl.port = String(port);
  if (user !== undefined) reachedUrl.username = user;
  return reachedUrl.href;
}
