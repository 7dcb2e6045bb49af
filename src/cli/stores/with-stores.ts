/** For commands that look into the stores beside a service that may be running. */
import type { Config } from "../../settings/settings.ts";
import { checkShards } from "../../store/cold/cold-shard.ts";
import type { ColdStore } from "../../store/cold/cold-store.ts";
import type { HotStore } from "../../store/hot.ts";
import { createStores } from "../../store/open.ts";
import type { ColdPlace } from "../../store/open-cold.ts";
import { coldPlaceOf, coldPlaceWithReplicaOf, coldStoreAt } from "../../store/open-cold.ts";

export interface OpenStores {
  readonly cold: ColdStore;
  /** Undefined in embedded mode: it is in the memory of the service, which has its journal locked. */
  readonly hotShards: readonly HotStore[] | undefined;
}

/** Throws HotUnavailableError, ColdUnavailableError, or ConfigError if they are divided into other shards. */
export async function withStores<T>(config: Config, work: (stores: OpenStores) => Promise<T>): Promise<T> {
  const { mode, hotShards, cold } = createStores(config, Date.now);
  try {
    await cold.open();
    await checkShards(cold, config.redisShards);
    if (mode === "embedded") return await work({ cold, hotShards: undefined });
    await Promise.all(hotShards.map((hot) => hot.open()));
    return await work({ cold, hotShards });
  } finally {
    await Promise.all([...hotShards, cold].map((store) => store.close()));
  }
}

/** For what needs no hot store: Redis may be away. Throws ColdUnavailableError. */
export async function withColdStore<T>(config: Config, work: (cold: ColdStore) => Promise<T>): Promise<T> {
  return await withColdStoreAt(coldPlaceOf(config), work);
}

/** The same for what reads the past, and may have it from a replica. */
export async function withPast<T>(config: Config, work: (cold: ColdStore) => Promise<T>): Promise<T> {
  return await withColdStoreAt(coldPlaceWithReplicaOf(config), work);
}

async function withColdStoreAt<T>(place: ColdPlace, work: (cold: ColdStore) => Promise<T>): Promise<T> {
  const cold = coldStoreAt(place, Date.now);
  try {
    await cold.open();
    return await work(cold);
  } finally {
    await cold.close();
  }
}
