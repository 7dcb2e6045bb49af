/**
 * Lists the writers that have a journal, for a command that runs beside a service. If the service was killed and no
 * other instance can flush its journal, the command does.
 */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { Ledger } from "../../domain/ledger.ts";
import type { Accepted } from "../../pipeline/flush/drain.ts";
import { allOwners } from "../../pipeline/stores-ledger.ts";
import { adoptJournals } from "../../pipeline/upkeep/journal-adoption.ts";
import { errorText } from "../../runtime/error-text.ts";
import { coldShard } from "../../store/cold-shard.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import type { Stores } from "../../store/open.ts";
import type { ServiceClient } from "./service-client.ts";

const ANSWER_TIMEOUT_MS = 5_000;
const FLUSH_MAX_EVENTS = 10_000;
const NO_LOG = { info: () => {}, warn: () => {}, error: () => {} };

const LedgerSchema = Type.Object({
  stores: Type.Object({
    writers: Type.Array(Type.Object({ writer: Type.String(), accepted: Type.Integer({ minimum: 0 }) })),
  }),
});

/** `service`: a running embedded service has its journal locked, so it is asked. */
export async function journalOwners(
  { mode, hotShards, cold }: Stores,
  service: ServiceClient,
): Promise<readonly Accepted[]> {
  try {
    await Promise.all(hotShards.map((hot) => hot.open()));
  } catch (error) {
    if (mode !== "embedded" || !(error instanceof HotUnavailableError)) throw error;
    return await askService(service, error);
  }
  const recovery = { log: NO_LOG, ledger: new Ledger(), flushMaxEvents: FLUSH_MAX_EVENTS };
  for (const [shard, hot] of hotShards.entries()) {
    await adoptJournals({ ...recovery, hot, cold: coldShard(cold, shard, hotShards.length) });
  }
  return await allOwners(hotShards);
}

async function askService(service: ServiceClient, locked: HotUnavailableError): Promise<Accepted[]> {
  let answer: unknown;
  try {
    const response = await service.ask("/ledger", { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    answer = await response.json();
  } catch (error) {
    throw unknownJournal(service, errorText(error), locked);
  }
  if (!Value.Check(LedgerSchema, answer)) throw unknownJournal(service, "it answered no ledger", locked);
  const { writers } = (answer as Static<typeof LedgerSchema>).stores;
  return writers.map(({ writer, accepted }) => ({ writer, acceptedEvents: accepted }));
}

function unknownJournal({ url }: ServiceClient, why: string, locked: HotUnavailableError) {
  const message =
    `Cannot tell what is in the journal. ${locked.message}. ` +
    `That instance was asked at ${url}/ledger: ${why}. Give its address with --url`;
  return new HotUnavailableError(message, false, { cause: locked });
}
