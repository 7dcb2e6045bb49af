/**
 * Instances that come and go, on a MariaDB and a group of Redis servers that replace each other: a cluster, or a master
 * with replicas under Sentinels. Everything ends with close(), or with the process.
 */
import { startRedisCluster } from "../../harness/servers/redis/cluster.ts";
import type { RedisGroup } from "../../harness/servers/redis/group.ts";
import { startRedisSentinels } from "../../harness/servers/redis/sentinels.ts";
import { startMariaDb } from "../../harness/servers/servers.ts";
import { startService } from "../../harness/service/service.ts";
import { mariaDbView } from "../../harness/service/stored.ts";
import type { ChaosSite, Instance, Settings } from "./chaos-site.ts";

export type GroupKind = "cluster" | "sentinel";

export interface GroupSite<G extends RedisGroup = RedisGroup> extends ChaosSite {
  readonly group: G;
  /** Where clients are to knock. It is kept up to date, and so may be handed over once. */
  readonly ports: readonly number[];
  add(): Promise<Instance>;
  /** Kills it for good. */
  remove(instance: Instance): Promise<void>;
}

export interface GroupSiteOptions {
  readonly instances: number;
  readonly settings: Settings;
}

/** Each batch is on the disk before it is acknowledged, so that what is lost was lost by a failover. */
const REDIS_ARGS = ["--appendfsync", "always"];

export function startGroup(kind: GroupKind): Promise<RedisGroup> {
  return kind === "cluster" ? startRedisCluster({ args: REDIS_ARGS }) : startRedisSentinels(REDIS_ARGS);
}

/** The group is stopped with it. */
export async function openGroupSite<G extends RedisGroup>(
  group: G,
  { instances: count, settings }: GroupSiteOptions,
): Promise<GroupSite<G>> {
  const instances: Instance[] = [];
  const ports: number[] = [];
  let added = 0;
  const mariaDb = await startMariaDb().catch(async (error: unknown) => {
    await group.stop();
    throw error;
  });
  const urls = { REDIS_URL: group.url, MYSQL_URL: mariaDb.url };
  const site: GroupSite<G> = {
    mode: "redis",
    ...{ group, instances, ports },
    servers: undefined,
    dataDir: undefined,
    cold: mariaDbView(mariaDb.url),
    redisUrlOf: async (key) => (await group.masterOf(key)).url,
    async add() {
      const name = String.fromCharCode(97 + added++);
      const instance = {
        name,
        service: await startService({ settings: { ...urls, ...settings } }),
        links: [],
      };
      instances.push(instance);
      ports.push(instance.service.port);
      return instance;
    },
    async remove(instance) {
      const at = instances.indexOf(instance);
      instances.splice(at, 1);
      ports.splice(at, 1);
      await instance.service.stop();
    },
    async close() {
      await Promise.all(instances.map(({ service }) => service.stop()));
      await Promise.all([group.stop(), mariaDb.stop()]);
    },
  };
  try {
    for (let i = 0; i < count; i++) await site.add();
    return site;
  } catch (error) {
    await site.close();
    throw error;
  }
}
