/**
 * Opens the two configured stores: both embedded, or Redis and MySQL. The code of the others is not loaded, which would
 * take half of the start-up time.
 */
import { readPem } from "../settings/pem-file.ts";
import type { Config } from "../settings/settings.ts";
import type { AccessStore } from "./access-store.ts";
import type { ColdStore, OnReplicaChange } from "./cold.ts";
import type { HotStore } from "./hot.ts";
import { type ColdSettings, coldPlaceOf, coldPlaceWithReplicaOf, coldStoreAt } from "./open-cold.ts";
import { coldStoreInThread } from "./thread/proxy.ts";

type RedisSettings = Pick<Config, "redisUrl"> & Partial<Pick<Config, "redisCaFile" | "redisWaitReplicas">>;

export type StoreSettings = ColdSettings &
  RedisSettings &
  Pick<Config, "leaseMs"> &
  Partial<Pick<Config, "isDurabilityStrict">>;

export interface Stores {
  readonly mode: "embedded" | "redis+mysql";
  /** Indexed by shard. */
  readonly hotShards: readonly HotStore[];
  readonly cold: ColdStore;
}

/** Two attempts at a commit leave time to answer 503 within a second. */
const REDIS_COMMAND_TIMEOUT_MS = 400;

export interface StoreUse {
  /** Runs the cold store in a thread, so that it can't block requests. */
  readonly isService?: boolean;
  /** Reads ranges from a replica if there is one; default: as a service. */
  readonly readsReplica?: boolean;
  readonly onRefusedServer?: (warnings: readonly string[]) => void;
  readonly onReplicaChange?: OnReplicaChange;
}

/** Does not connect yet. `redisUrl` and `mysqlUrl` are both set or both undefined. */
export async function createStores(settings: StoreSettings, now: () => number, use: StoreUse = {}): Promise<Stores> {
  const { isService = false, readsReplica = isService, onRefusedServer, onReplicaChange } = use;
  const { dataDir, mysqlUrl, leaseMs, isDurabilityStrict, redisShards = 1 } = settings;
  const redis = redisOptionsOf(settings);
  const isEmbedded = redis === undefined || mysqlUrl === undefined;
  const placeOf = readsReplica ? coldPlaceWithReplicaOf : coldPlaceOf;
  const place = isEmbedded ? { dataDir, mysqlUrl: undefined } : placeOf(settings);
  const here = await coldStoreAt(place, now, onReplicaChange);
  const cold = isService ? coldStoreInThread(place, here) : here;
  if (isEmbedded) {
    const { EmbeddedHotStore } = await import("./embedded/hot-store.ts");
    return { mode: "embedded", hotShards: [new EmbeddedHotStore({ dataDir, now })], cold };
  }
  const { RedisHotStore } = await import("./redis/hot-store.ts");
  const hotShards = Array.from({ length: redisShards }, (_, shard) => {
    const place = { shard, shards: redisShards };
    return new RedisHotStore({ ...redis, ...place, leaseMs, isDurabilityStrict, onRefusedServer });
  });
  return { mode: "redis+mysql", hotShards, cold };
}

export async function closeStores({ hotShards, cold }: Pick<Stores, "hotShards" | "cold">): Promise<void> {
  await Promise.all([...hotShards, cold].map((store) => store.close()));
}

/** Undefined with the embedded stores, which serve one instance. */
export async function createAccessStore(
  settings: RedisSettings,
  cold: Pick<ColdStore, "dataSet">,
): Promise<AccessStore | undefined> {
  const redis = redisOptionsOf(settings);
  if (redis === undefined) return undefined;
  const { RedisAccessStore } = await import("./redis/access-store.ts");
  return new RedisAccessStore({ ...redis, identity: async () => (await cold.dataSet()).identity });
}

/** Throws ConfigError if the certificates can't be read. */
function redisOptionsOf({ redisUrl: url, redisCaFile, redisWaitReplicas: waitReplicas = 0 }: RedisSettings) {
  if (url === undefined) return undefined;
  const ca = redisCaFile && readPem("REDIS_CA_FILE", redisCaFile);
  return { url, ca, waitReplicas, commandTimeoutMs: REDIS_COMMAND_TIMEOUT_MS };
}
