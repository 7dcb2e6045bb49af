/**
 * The ledger of all instances together: what each writer has had accepted (the hot store counts it at every commit) and
 * what is persisted (the cold store counts it at every flush).
 */
import type { DeadLetterStore, ReadStore } from "../store/cold.ts";
import type { HotStore, JournalOwner } from "../store/hot.ts";

type OwnersStore = Pick<HotStore, "journalOwners">;

export interface WriterLedger {
  readonly writer: string;
  /** False once its journal may be adopted. */
  readonly isAlive: boolean;
  readonly accepted: number;
  readonly persisted: number;
  readonly pending: number;
}

export interface StoresLedger {
  /** Writers that have a journal. All others have nothing pending. */
  readonly writers: readonly WriterLedger[];
  readonly accepted: number;
  readonly persisted: number;
  readonly pending: number;
  /** Persisted events that are dead letters instead of rows. */
  readonly deadLetters: number;
}

/** Throws HotUnavailableError if any shard is unavailable, or ColdUnavailableError. */
export async function readStoresLedger(
  hotShards: readonly OwnersStore[],
  cold: Pick<ReadStore, "storedEvents"> & Pick<DeadLetterStore, "deadLetterCount">,
): Promise<StoresLedger> {
  const names = (await allOwners(hotShards)).map(({ writer }) => writer);
  const [stored, deadLetters] = await Promise.all([cold.storedEvents(names), cold.deadLetterCount()]);
  // Read after the cold store, so that no event is persisted here without being accepted.
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

export async function allOwners(hotShards: readonly OwnersStore[]): Promise<JournalOwner[]> {
  return (await Promise.all(hotShards.map((hot) => hot.journalOwners()))).flat();
}
