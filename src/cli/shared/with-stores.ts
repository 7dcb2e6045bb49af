/** Opens the stores for commands, which may run beside a service. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Config, ConfigError } from "../../settings/settings.ts";
import type { ColdStore, OnReplicaChange } from "../../store/cold.ts";
import { checkShards, refuseOtherDatabase } from "../../store/cold-shard.ts";
import { COLD_FILE } from "../../store/embedded/files.ts";
import type { HotStore } from "../../store/hot.ts";
import { closeStores, createStores } from "../../store/open.ts";
import { type ColdPlace, coldPlaceOf, coldPlaceWithReplicaOf, coldStoreAt } from "../../store/open-cold.ts";

export interface OpenStores {
  readonly cold: ColdStore;
  /** Undefined in embedded mode, where it is in the service's memory. */
  readonly hotShards: readonly HotStore[] | undefined;
}

/** A command that only reads must not create stores in an empty folder. Throws ConfigError. */
export function requireData({ redisUrl, dataDir }: Config): void {
  if (redisUrl !== undefined || existsSync(join(dataDir, COLD_FILE))) return;
  throw new ConfigError(
    `DATA_DIR is '${dataDir}', and ${resolve(dataDir)} has no Hourglass data: set DATA_DIR to the folder of the ` +
      "service, or REDIS_URL and MYSQL_URL",
  );
}

/** Throws HotUnavailableError, ColdUnavailableError, or ConfigError if the shards or stores do not match. */
export async function withStores<T>(config: Config, work: (stores: OpenStores) => Promise<T>): Promise<T> {
  requireData(config);
  const stores = await createStores(config, Date.now);
  const { mode, hotShards, cold } = stores;
  try {
    await cold.open();
    await checkShards(cold, config.redisShards);
    if (mode === "embedded") {
      const { dataSetOfJournal } = await import("../../store/embedded/journal.ts");
      await refuseOtherDatabase(cold, dataSetOfJournal(config.dataDir));
      return await work({ cold, hotShards: undefined });
    }
    await openOwn(hotShards, cold);
    return await work({ cold, hotShards });
  } finally {
    await closeStores(stores);
  }
}

/** Throws HotUnavailableError, ColdUnavailableError, or ConfigError if the hot store belongs to another database. */
export async function openOwn(hotShards: readonly HotStore[], cold: ColdStore): Promise<void> {
  await Promise.all(hotShards.map((hot) => hot.open()));
  const { identity } = await cold.dataSet();
  for (const hot of hotShards) {
    await refuseOtherDatabase(cold, await hot.dataSet());
    await hot.bind(identity);
  }
}

/** Works while Redis is down. Throws ColdUnavailableError. */
export async function withColdStore<T>(config: Config, work: (cold: ColdStore) => Promise<T>): Promise<T> {
  return await withColdStoreAt(coldPlaceOf(config), work);
}

/** Like withColdStore(), but reads the past from a replica if there is one that can be used. */
export async function withPast<T>(
  config: Config,
  onReplicaChange: OnReplicaChange,
  work: (cold: ColdStore) => Promise<T>,
): Promise<T> {
  requireData(config);
  return await withColdStoreAt(coldPlaceWithReplicaOf(config), work, onReplicaChange);
}

async function withColdStoreAt<T>(
  place: ColdPlace,
  work: (cold: ColdStore) => Promise<T>,
  onReplicaChange?: OnReplicaChange,
): Promise<T> {
  const cold = await coldStoreAt(place, Date.now, onReplicaChange);
  try {
    await cold.open();
    return await work(cold);
  } finally {
    await cold.close();
  }
}
