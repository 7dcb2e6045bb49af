/** GET /ledger: the fate of every event, on this instance and in total. */
import { Elysia } from "elysia";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { StoreUnavailableError } from "../../store/unavailable-error.ts";
import { answerToError, NO_STORE } from "../answers.ts";
import type { AppOptions } from "../route-options.ts";

export function ledger({ pipeline, log }: AppOptions) {
  return new Elysia({ name: "ledger" }).get("/ledger", async ({ request }) => {
    try {
      const [stores, dataSet] = await Promise.all([storesLedger(pipeline), dataSetIdentity(pipeline)]);
      return Response.json({ instance: instanceLedger(pipeline), stores, data_set: dataSet }, { headers: NO_STORE });
    } catch (error) {
      return answerToError(error, log, request);
    }
  });
}

/** Null if it was never read and the cold store is unavailable. */
async function dataSetIdentity(pipeline: Pipeline): Promise<string | null> {
  try {
    return await pipeline.dataSetIdentity();
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return null;
  }
}

/** Read in one tick, so that the numbers are consistent. */
export function instanceLedger(pipeline: Pipeline) {
  const { ledger, pending, writer, oldestPendingMs, journalMaxEvents } = pipeline;
  const { accepted, persisted, handedOver, lost, adopted, duplicates, refused, omitted } = ledger;
  const { unknown, unknownStored, unknownUnstored, inDoubt } = ledger;
  return {
    writer,
    accepted,
    persisted,
    pending: pending.events,
    pending_in_ring: pending.ring,
    pending_in_journal_only: pending.events - pending.ring,
    journal_max_events: journalMaxEvents,
    handed_over: handedOver,
    lost,
    holds: ledger.pending === pending.events,
    adopted,
    duplicates,
    unknown: { total: unknown, stored: unknownStored, unstored: unknownUnstored, in_doubt: inDoubt },
    refused,
    omitted,
    oldest_pending_ms: oldestPendingMs,
  };
}

/** If a store is unavailable, the instance's own numbers are still answered. */
export async function storesLedger(pipeline: Pipeline) {
  try {
    const { writers, deadLetters, ...sums } = await pipeline.storesLedger();
    const named = writers.map(({ isAlive, ...rest }) => ({ ...rest, is_alive: isAlive }));
    return { writers: named, ...sums, dead_letters: deadLetters };
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return { unavailable: error.reason };
  }
}
