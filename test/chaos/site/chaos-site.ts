/**
 * The target of the suites: one embedded instance, or instances that share a Redis and a MariaDB, with or without
 * proxies on all connections. Everything belongs to this process and ends with close(), or with the process.
 */
import { join } from "node:path";
import { type MariaDbServer, type RedisServer, startMariaDb, startRedis } from "../../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../../harness/servers/tcp-proxy.ts";
import { type Service, startService } from "../../harness/service/service.ts";
import { type ColdView, mariaDbView, sqliteView } from "../../harness/service/stored.ts";

export type SiteMode = "redis" | "embedded";

export interface Link {
  readonly name: string;
  /** "service": from its clients to it. */
  readonly to: "redis" | "mariadb" | "service";
  readonly proxy: TcpProxy;
}

export interface Instance {
  readonly name: string;
  readonly service: Service;
  /** Its ways to the stores, none of those if it is embedded, and from its clients to it; if asked for. */
  readonly links: readonly Link[];
}

export interface ChaosSite {
  readonly mode: SiteMode;
  readonly instances: readonly Instance[];
  /** Where its files are; undefined unless it is embedded. */
  readonly dataDir: string | undefined;
  /** Undefined if it is embedded, or there are more of Redis. */
  readonly servers: { readonly redis: RedisServer; readonly mariaDb: MariaDbServer } | undefined;
  readonly cold: ColdView;
  /** Finds the Redis that holds a key now; undefined if the stores are embedded. */
  readonly redisUrlOf: ((key: string) => Promise<string>) | undefined;
  close(): Promise<void>;
}

export type Settings = Readonly<Record<string, string>>;

export interface SiteOptions {
  readonly mode: SiteMode;
  /** The number of instances in redis mode; embedded there is one. */
  readonly instances?: number;
  readonly settings?: Settings;
  /**
   * A proxy on each link. They run in this process: where it is no link that is to be shaken, whatever keeps
   * this process busy would only slow down the service.
   */
  readonly hasProxies?: boolean;
}

/** Each batch is on the disk before it is acknowledged: with less, kill -9 of the host could lose a second. */
const REDIS_ARGS = ["--appendfsync", "always"];

export async function openSite(options: SiteOptions): Promise<ChaosSite> {
  return options.mode === "embedded" ? await openEmbedded(options) : await openClustered(options);
}

/** Closed in the reverse order. */
class Parts {
  readonly #parts: { stop(): Promise<void> }[] = [];

  keep<T extends { stop(): Promise<void> }>(part: T): T {
    this.#parts.push(part);
    return part;
  }

  async close(): Promise<void> {
    for (const part of this.#parts.splice(0).reverse()) await part.stop();
  }
}

async function openEmbedded({ settings = {}, hasProxies = false }: SiteOptions): Promise<ChaosSite> {
  const parts = new Parts();
  try {
    const service = parts.keep(await startService({ settings }));
    const links = hasProxies ? [await openFront("a", service, parts)] : [];
    const dataDir = settings["DATA_DIR"] ?? service.dataDir;
    return {
      mode: "embedded",
      instances: [{ name: "a", service, links }],
      servers: undefined,
      dataDir,
      cold: sqliteView(() => join(dataDir, "cold.sqlite")),
      redisUrlOf: undefined,
      close: () => parts.close(),
    };
  } catch (error) {
    await parts.close();
    throw error;
  }
}

async function openClustered(options: SiteOptions): Promise<ChaosSite> {
  const parts = new Parts();
  try {
    const [redis, mariaDb] = await Promise.all([
      startRedis({ args: REDIS_ARGS }).then((server) => parts.keep(server)),
      startMariaDb().then((server) => parts.keep(server)),
    ]);
    const instances: Instance[] = [];
    for (const name of ["a", "b", "c"].slice(0, options.instances ?? 2)) {
      instances.push(await openInstance(name, { redis: redis.port, mariadb: mariaDb.port }, options, parts));
    }
    return {
      mode: "redis",
      instances,
      servers: { redis, mariaDb },
      dataDir: undefined,
      cold: mariaDbView(mariaDb.url),
      redisUrlOf: async () => redis.url,
      close: () => parts.close(),
    };
  } catch (error) {
    await parts.close();
    throw error;
  }
}

async function openInstance(
  name: string,
  ports: Readonly<Record<"redis" | "mariadb", number>>,
  { settings = {}, hasProxies = false }: SiteOptions,
  parts: Parts,
): Promise<Instance> {
  const links: Link[] = [];
  if (hasProxies) {
    links.push(await openLink(`${name}-redis`, "redis", ports.redis, parts));
    links.push(await openLink(`${name}-mariadb`, "mariadb", ports.mariadb, parts));
  }
  const portTo = (to: "redis" | "mariadb") => links.find((link) => link.to === to)?.proxy.port ?? ports[to];
  const urls = {
    REDIS_URL: `redis://127.0.0.1:${portTo("redis")}`,
    MYSQL_URL: `mysql://root@127.0.0.1:${portTo("mariadb")}/hourglass`,
  };
  const service = parts.keep(await startService({ settings: { ...urls, ...settings } }));
  if (hasProxies) links.push(await openFront(name, service, parts));
  return { name, service, links };
}

function openFront(name: string, service: Service, parts: Parts): Promise<Link> {
  return openLink(`${name}-clients`, "service", service.port, parts);
}

async function openLink(name: string, to: Link["to"], port: number, parts: Parts): Promise<Link> {
  const proxy = await startProxy(port);
  parts.keep({ stop: () => proxy.close() });
  return { name, to, proxy };
}

/** Where clients are to knock. */
export function portsOf({ instances }: ChaosSite): number[] {
  return instances.map(({ service, links }) => {
    return links.find(({ to }) => to === "service")?.proxy.port ?? service.port;
  });
}
