/** How many acknowledged events the commands that read the cold store do not see, because they are not flushed yet. */
import { readStoresLedger } from "../../pipeline/stores-ledger.ts";
import type { Config } from "../../settings/settings.ts";
import { closeStores, createStores } from "../../store/open.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { amount } from "./amounts.ts";

/** Undefined if there are none, or it is unknown: a store is down, or a running embedded service has the journal. */
export async function pendingText(config: Config): Promise<string | undefined> {
  const stores = await createStores(config, Date.now);
  const { hotShards, cold } = stores;
  try {
    await Promise.all([cold, ...hotShards].map((store) => store.open()));
    const { pending } = await readStoresLedger(hotShards, cold);
    if (pending <= 0) return undefined;
    const why = "acknowledged, and not in the cold store until a service flushes them";
    return `${amount(pending, "event")} not looked at: ${why}`;
  } catch (error) {
    if (error instanceof StoreUnavailableError) return undefined;
    throw error;
  } finally {
    await closeStores(stores);
  }
}
