/**
 * What the suites shake: one embedded instance, or instances that reach their Redis and MariaDB through a
 * proxy each. Everything is of this process' own, and ends with close(), or with the process.
 */
import { join } from "node:path";
import {
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
} from "../../test/support/servers.ts";
import { type Service, type ServiceOptions, startService } from "../../test/support/service.ts";
import { type ColdView, mariaDbView, sqliteView } from "../../test/support/stored.ts";
import { startProxy, type TcpProxy } from "../../test/support/tcp-proxy.ts";

export type SiteMode = "redis" | "embedded";

export interface Link {
  readonly name: string;
  readonly to: "redis" | "mariadb";
  readonly proxy: TcpProxy;
}

export interface Instance {
  readonly name: string;
  readonly service: Service;
  /** Its ways to the stores: none if it is embedded. */
  readonly links: readonly Link[];
}

export interface ChaosSite {
  readonly mode: SiteMode;
  readonly instances: readonly Instance[];
  /** Undefined if it is embedded. */
  readonly servers: { readonly redis: RedisServer; readonly mariaDb: MariaDbServer } | undefined;
  readonly cold: ColdView;
  close(): Promise<void>;
}

export type Settings = Readonly<Record<string, string>>;

export interface SiteOptions {
  readonly mode: SiteMode;
  /** In redis mode; embedded there is one. */
  readonly instances?: number;
  readonly settings?: Settings;
}

/** Each batch is on the disk before it is acknowledged: with less, kill -9 of the host could lose a second. */
const REDIS_ARGS = ["--appendfsync", "always"];

export async function openSite(options: SiteOptions): Promise<ChaosSite> {
  return options.mode === "embedded" ? await openEmbedded(options) : await openClustered(options);
}

async function openEmbedded({ settings = {} }: SiteOptions): Promise<ChaosSite> {
  const service = await startService({ settings });
  const dataDir = settings["DATA_DIR"] ?? service.dataDir;
  return {
    mode: "embedded",
    instances: [{ name: "a", service, links: [] }],
    servers: undefined,
    cold: sqliteView(() => join(dataDir, "cold.sqlite")),
    close: () => service.stop(),
  };
}

async function openClustered({ settings = {}, instances: count = 2 }: SiteOptions): Promise<ChaosSite> {
  const toClose: { stop(): Promise<void> }[] = [];
  const close = async () => {
    for (const part of toClose.splice(0).reverse()) await part.stop();
  };
  const kept = <T extends { stop(): Promise<void> }>(part: T): T => {
    toClose.push(part);
    return part;
  };
  try {
    const [redis, mariaDb] = await Promise.all([
      startRedis({ args: REDIS_ARGS }).then(kept),
      startMariaDb().then(kept),
    ]);
    const instances: Instance[] = [];
    for (const name of ["a", "b", "c"].slice(0, count)) {
      const links = [
        await openLink(`${name}-redis`, "redis", redis.port),
        await openLink(`${name}-mariadb`, "mariadb", mariaDb.port),
      ];
      for (const { proxy } of links) kept({ stop: () => proxy.close() });
      const service = kept(await startService(through(links, settings)));
      instances.push({ name, service, links });
    }
    return { mode: "redis", instances, servers: { redis, mariaDb }, cold: mariaDbView(mariaDb.url), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openLink(name: string, to: Link["to"], port: number): Promise<Link> {
  return { name, to, proxy: await startProxy(port) };
}

function through(links: readonly Link[], settings: Settings): ServiceOptions {
  const portTo = (to: Link["to"]) => links.find((link) => link.to === to)!.proxy.port;
  const urls = {
    REDIS_URL: `redis://127.0.0.1:${portTo("redis")}`,
    MYSQL_URL: `mysql://root@127.0.0.1:${portTo("mariadb")}/hourglass`,
  };
  return { settings: { ...urls, ...settings } };
}

export function portsOf({ instances }: ChaosSite): number[] {
  return instances.map(({ service }) => service.port);
}
