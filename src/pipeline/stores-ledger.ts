/**
 * The ledger of all instances together, as their stores give it: what each writer has had accepted (the hot
 * store counts that with every commit) against what of it is persisted (the cold store, with every flush).
 */
import type { DeadLetterStore, ReadStore } from "../store/cold.ts";
import type { HotStore, JournalOwner } from "../store/hot.ts";

export interface WriterLedger {
  readonly writer: string;
  /** False once its journal may be adopted. */
  readonly isAlive: boolean;
  readonly accepted: number;
  readonly persisted: number;
  readonly pending: number;
}

export interface StoresLedger {
  /** Those that have a journal. All others have nothing pending. */
  readonly writers: readonly WriterLedger[];
  readonly accepted: number;
  readonly persisted: number;
  readonly pending: number;
  /** How many of the persisted are no rows but set aside. */
  readonly deadLetters: number;
}

/** Throws HotUnavailableError, if that of any shard is unavailable, or ColdUnavailableError. */
export async function readStoresLedger(
  hotShards: readonly HotStore[],
  cold: Pick<ReadStore, "storedEvents"> & Pick<DeadLetterStore, "deadLetterCount">,
): Promise<StoresLedger> {
  const names = (await allOwners(hotShards)).map(({ writer }) => writer);
  const [stored, deadLetters] = await Promise.all([cold.storedEvents(names), cold.deadLetterCount()]);
  // After the cold store: so nothing can be persisted here that is not accepted.
  const known = new Set(names);
  const owners = (await allOwners(hotShards)).filter(({ writer }) => known.has(writer));
  const writers = owners.map(({ writer, adoptable, acceptedEvents }): WriterLedger => {
    const persisted = stored.byWriter.get(writer) ?? 0;
    const pending = acceptedEvents - persisted;
    return { writer, isAlive: !adoptable, accepted: acceptedEvents, persisted, pending };
  });
  const pending = writers.reduce((sum, writer) => sum + writer.pending, 0);
  return { writers, accepted: stored.total + pending, persisted: stored.total, pending, deadLetters };
}

export async function allOwners(hotShards: readonly HotStore[]): Promise<JournalOwner[]> {
  return (await Promise.all(hotShards.map((hot) => hot.journalOwners()))).flat();
}
