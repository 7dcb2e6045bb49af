/** Asks the embedded service that has locked the journal of DATA_DIR what is in it, and refuses any other service. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import type { Accepted } from "../../pipeline/flush/drain.ts";
import { errorText } from "../../runtime/error-text.ts";
import type { ColdConnection, ReadStore } from "../../store/cold.ts";
import { HotUnavailableError } from "../../store/hot.ts";
import { amount } from "./amounts.ts";
import type { ServiceClient } from "./service-client.ts";

type OwnCold = Pick<ColdConnection, "dataSet" | "description"> & Pick<ReadStore, "storedEvents">;

const ANSWER_TIMEOUT_MS = 5_000;
const COUNT = Type.Integer({ minimum: 0 });
const LedgerSchema = Type.Object({
  stores: Type.Object({
    writers: Type.Array(Type.Object({ writer: Type.String(), accepted: COUNT })),
    persisted: COUNT,
  }),
  data_set: Type.String(),
});
type LedgerAnswer = Static<typeof LedgerSchema>;

/** `cold`: the one in DATA_DIR. Throws HotUnavailableError, also if the service has other data than `cold`. */
export async function ownersByService(
  service: ServiceClient,
  cold: OwnCold,
  locked: HotUnavailableError,
): Promise<Accepted[]> {
  const totalBefore = (await cold.storedEvents([])).total;
  const ledger = await askLedger(service, locked);
  const totalAfter = (await cold.storedEvents([])).total;
  const { identity } = await cold.dataSet();
  const { writers, persisted } = ledger.stores;
  if (ledger.data_set !== identity)
    throw otherData(service, cold, `The service has data set ${ledger.data_set}, the folder ${identity}`);
  // A copy has the same identity. In the same store the total only grows.
  if (persisted < totalBefore || persisted > totalAfter)
    throw otherData(
      service,
      cold,
      `The service has stored ${amount(persisted, "event")}, the folder ${amount(totalAfter, "event")}: one is a ` +
        "copy of the other",
    );
  return writers.map(({ writer, accepted }) => ({ writer, acceptedEvents: accepted }));
}

async function askLedger(service: ServiceClient, locked: HotUnavailableError): Promise<LedgerAnswer> {
  let answer: unknown;
  try {
    const response = await service.ask("/ledger", { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    answer = await response.json();
  } catch (error) {
    throw unknownJournal(service, errorText(error), locked);
  }
  if (!Value.Check(LedgerSchema, answer))
    throw unknownJournal(service, "the answer is not a ledger of this version, with all stores available", locked);
  return answer;
}

function unknownJournal({ url }: ServiceClient, why: string, locked: HotUnavailableError): HotUnavailableError {
  const message =
    `Cannot tell what is in the journal. ${locked.message}. ` +
    `Asking that instance at ${url}/ledger failed: ${why}. Set its address with --url`;
  return new HotUnavailableError(message, false, { cause: locked });
}

function otherData({ url }: ServiceClient, { description }: OwnCold, found: string): HotUnavailableError {
  const message =
    `DATA_DIR and the service at ${url} do not belong together: ${description} is in use by another service. ` +
    `${found}. Nothing was erased: set HOST and PORT, or --url, to the address of the service that uses DATA_DIR`;
  return new HotUnavailableError(message, false);
}
