/**
 * Which writers have a journal, for a command beside a service that may be running, or may have been killed: what
 * nobody else can flush is flushed here.
 */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { Ledger } from "../../domain/ledger.ts";
import type { Accepted } from "../../pipeline/flush/drain.ts";
import { allOwners } from "../../pipeline/store-ledger.ts";
import { adoptJournals } from "../../pipeline/upkeep/journal-adoption.ts";
import { errorText } from "../../runtime/deadline.ts";
import { coldShard } from "../../store/cold-shard.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import type { Stores } from "../../store/open.ts";
import { keyHeaders } from "../service/key-headers.ts";

const ANSWER_TIMEOUT_MS = 5_000;
const FLUSH_MAX_EVENTS = 10_000;
const NO_LOG = { info: () => {}, warn: () => {}, error: () => {} };

const LedgerSchema = Type.Object({
  stores: Type.Object({
    writers: Type.Array(Type.Object({ writer: Type.String(), accepted: Type.Integer({ minimum: 0 }) })),
  }),
});

/** Where an embedded service answers, since it alone can look into its journal. */
export interface AskedService {
  readonly url: string;
  /** Of scope admin; undefined if it asks for none. */
  readonly apiKey: string | undefined;
}

export async function journalOwners(
  { mode, hotShards, cold }: Stores,
  service: AskedService,
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

async function askService({ url, apiKey }: AskedService, locked: HotUnavailableError): Promise<Accepted[]> {
  const headers = keyHeaders(apiKey);
  let answer: unknown;
  try {
    const response = await fetch(`${url}/ledger`, {
      headers,
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    answer = await response.json();
  } catch (error) {
    throw cannotTell(url, errorText(error), locked);
  }
  if (!Value.Check(LedgerSchema, answer)) throw cannotTell(url, "its ledger is not there", locked);
  const { writers } = (answer as Static<typeof LedgerSchema>).stores;
  return writers.map(({ writer, accepted }) => ({ writer, acceptedEvents: accepted }));
}

function cannotTell(url: string, why: string, locked: HotUnavailableError): HotUnavailableError {
  const message = `Nobody tells what is in the journal. ${locked.message}. Asked at ${url}/ledger: ${why}; set --url`;
  return new HotUnavailableError(message, false, { cause: locked });
}
