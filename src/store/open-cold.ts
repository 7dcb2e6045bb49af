/** The cold store for a place. */
import type { ColdStore } from "./cold.ts";
import { embeddedColdStore } from "./cold-embedded.ts";
import { mysqlColdStore } from "./cold-mysql.ts";
import type { ColdPlace } from "./cold-thread-messages.ts";

/** Nothing is connected yet. */
export function coldStoreAt({ dataDir, mysqlUrl }: ColdPlace, now: () => number): ColdStore {
  return mysqlUrl === undefined ? embeddedColdStore({ dataDir }) : mysqlColdStore({ url: mysqlUrl, now });
}
