/** The two stores for a pair of settings: both embedded, or Redis and MySQL. */
import type { ColdStore } from "./cold.ts";
import { embeddedColdStore } from "./cold-embedded.ts";
import { mysqlColdStore } from "./cold-mysql.ts";
import type { HotStore } from "./hot.ts";
import { embeddedHotStore } from "./hot-embedded.ts";
import { redisHotStore } from "./hot-redis.ts";

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

/** Nothing is connected yet. `redisUrl` and `mysqlUrl` are both set or both undefined. */
export function createStores(settings: StoreSettings, now: () => number): Stores {
  const { dataDir, redisUrl, mysqlUrl, leaseMs } = settings;
  if (redisUrl === undefined || mysqlUrl === undefined) {
    const [hot, cold] = [embeddedHotStore({ dataDir, now }), embeddedColdStore({ dataDir })];
    return { mode: "embedded", hot, cold };
  }
  const hot = redisHotStore({ url: redisUrl, leaseMs, commandTimeoutMs: REDIS_COMMAND_TIMEOUT_MS });
  return { mode: "redis+mysql", hot, cold: mysqlColdStore({ url: mysqlUrl, now }) };
}
