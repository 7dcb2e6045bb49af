/** Opens the stores for commands, which may run beside a service. */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { readStoresLedger } from "../../pipeline/stores-ledger.ts";
import { type Config, ConfigError } from "../../settings/settings.ts";
import type { ColdStore, OnReplicaChange } from "../../store/cold.ts";
import { checkShards, refuseOtherDatabase } from "../../store/cold-shard.ts";
import { COLD_FILE } from "../../store/embedded/files.ts";
import type { HotStore } from "../../store/hot.ts";
import { closeStores, createStores, type Stores, type StoreUse } from "../../store/open.ts";
import { coldPlaceOf, coldStoreAt } from "../../store/open-cold.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { amount } from "./amounts.ts";

export interface OpenStores {
  readonly cold: ColdStore;
  /** Undefined in embedded mode, where it is in the service's memory. */
  readonly hotShards: readonly HotStore[] | undefined;
  /**
   * How many acknowledged events are not flushed yet, so that this command does not see them. Undefined if there are
   * none, or it is unknown: a store is down, or a running embedded service has the journal.
   */
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
export function withStores<T>(config: Config, work: (stores: OpenStores) => Promise<T>): Promise<T> {
  return withCreated(config, {}, async (stores) => {
    const { mode, hotShards, cold } = stores;
    const pending = { pendingText: () => pendingText(stores) };
    await checkShards(cold, config.redisShards);
    if (mode === "embedded") {
      const { dataSetOfJournal } = await import("../../store/embedded/journal.ts");
      await refuseOtherDatabase(cold, dataSetOfJournal(config.dataDir));
      return await work({ cold, hotShards: undefined, ...pending });
    }
    await openOwn(hotShards, cold);
    return await work({ cold, hotShards, ...pending });
  });
}

async function withCreated<T>(config: Config, use: StoreUse, work: (stores: Stores) => Promise<T>): Promise<T> {
  requireData(config);
  const stores = await createStores(config, Date.now, use);
  try {
    await stores.cold.open();
    return await work(stores);
  } finally {
    await closeStores(stores);
  }
}

async function pendingText({ hotShards, cold }: Stores): Promise<string | undefined> {
  try {
    await Promise.all(hotShards.map((hot) => hot.open()));
    const { pending } = await readStoresLedger(hotShards, cold);
    if (pending <= 0) return undefined;
    const why = "acknowledged, and not in the cold store until a service flushes them";
    return `${amount(pending, "event")} not looked at: ${why}`;
  } catch (error) {
    if (error instanceof StoreUnavailableError) return undefined;
    throw error;
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
export function withPast<T>(
  config: Config,
  onReplicaChange: OnReplicaChange,
  work: (stores: Omit<OpenStores, "hotShards">) => Promise<T>,
): Promise<T> {
  return withCreated(config, { readsReplica: true, onReplicaChange }, (stores) =>
    work({ cold: stores.cold, pendingText: () => pendingText(stores) }),
  );
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
