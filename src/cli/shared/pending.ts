/** How many acknowledged events the commands that read the cold store do not see, because they are not flushed yet. */
import { readStoresLedger } from "../../pipeline/stores-ledger.ts";
import type { Stores } from "../../store/open.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { amount } from "./amounts.ts";

/** Undefined if there are none, or it is unknown: a store is down, or a running embedded service has the journal. */
export async function pendingText({ hotShards, cold }: Stores): Promise<string | undefined> {
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
