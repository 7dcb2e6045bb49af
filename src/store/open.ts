/** The two stores for a pair of settings: both embedded, or Redis and MySQL. */
import type { ColdStore } from "./cold.ts";
import { coldStoreInThread } from "./cold-thread.ts";
import type { HotStore } from "./hot.ts";
import { embeddedHotStore } from "./hot-embedded.ts";
import { redisHotStore } from "./hot-redis.ts";
import { coldStoreAt } from "./open-cold.ts";

export interface StoreSettings {
  readonly dataDir: string;
  readonly redisUrl: string | undefined;
  readonly mysqlUrl: string | undefined;
  readonly leaseMs: number;
}

export interface Stores {
  readonly mode: "embedded" | "redis+mysql";
  readonly hot: HotStore;
  readonly cold: ColdStore;
}

/** A commit that is tried twice still leaves time for the 503 to be out within a second. */
const REDIS_COMMAND_TIMEOUT_MS = 400;

/**
 * Nothing is connected yet. `redisUrl` and `mysqlUrl` are both set or both undefined. `hasColdThread`: for who takes
 * requests meanwhile.
 */
export function createStores(settings: StoreSettings, now: () => number, hasColdThread = false): Stores {
  const { dataDir, redisUrl, mysqlUrl, leaseMs } = settings;
  const isEmbedded = redisUrl === undefined || mysqlUrl === undefined;
  const place = { dataDir, mysqlUrl: isEmbedded ? undefined : mysqlUrl };
  const cold = hasColdThread ? coldStoreInThread(place) : coldStoreAt(place, now);
  if (isEmbedded) return { mode: "embedded", hot: embeddedHotStore({ dataDir, now }), cold };
  const hot = redisHotStore({ url: redisUrl, leaseMs, commandTimeoutMs: REDIS_COMMAND_TIMEOUT_MS });
  return { mode: "redis+mysql", hot, cold };
}
