/** Opens the stores for commands, which may run beside a service. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Config, ConfigError } from "../../settings/settings.ts";
import type { ColdStore, OnReplicaChange } from "../../store/cold.ts";
import { checkShards, refuseOtherDatabase } from "../../store/cold-shard.ts";
import { COLD_FILE } from "../../store/embedded/files.ts";
import type { HotStore } from "../../store/hot.ts";
import { closeStores, createStores } from "../../store/open.ts";
import { coldPlaceOf, coldStoreAt } from "../../store/open-cold.ts";
import { pendingText } from "./pending.ts";

export interface OpenStores {
  readonly cold: ColdStore;
  /** Undefined in embedded mode, where it is in the service's memory. */
  readonly hotShards: readonly HotStore[] | undefined;
  /** See pending.ts. */
  readonly pendingText: () => Promise<string | undefined>;
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
  const pending = { pendingText: () => pendingText(stores) };
  try {
    await cold.open();
    await checkShards(cold, config.redisShards);
    if (mode === "embedded") {
      const { dataSetOfJournal } = await import("../../store/embedded/journal.ts");
      await refuseOtherDatabase(cold, dataSetOfJournal(config.dataDir));
      return await work({ cold, hotShards: undefined, ...pending });
    }
    await openOwn(hotShards, cold);
    return await work({ cold, hotShards, ...pending });
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

/** Like withColdStore(), but reads the past from a replica if there is one that can be used. */
export async function withPast<T>(
  config: Config,
  onReplicaChange: OnReplicaChange,
  work: (stores: Omit<OpenStores, "hotShards">) => Promise<T>,
): Promise<T> {
  requireData(config);
  const stores = await createStores(config, Date.now, { readsReplica: true, onReplicaChange });
  try {
    await stores.cold.open();
    return await work({ cold: stores.cold, pendingText: () => pendingText(stores) });
  } finally {
    await closeStores(stores);
  }
}

/** Works while Redis is down. Throws ColdUnavailableError. */
export async function withColdStore<T>(config: Config, work: (cold: ColdStore) => Promise<T>): Promise<T> {
  const cold = await coldStoreAt(coldPlaceOf(config), Date.now);
  try {
    await cold.open();
    return await work(cold);
  } finally {
    await cold.close();
  }
}
