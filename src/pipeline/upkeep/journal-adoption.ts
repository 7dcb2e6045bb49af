/**
 * Adopts the journals of writers that have ended: flushes them above their watermark and removes them.
 *
 * The hot store decides by its own clock whether a journal may be adopted: when the writer's lease has expired, when
 * the writer is fenced, or while the data set is not initialized (HotStore.journalOwners and fence; for Redis
 * writers/lease-rule.lua). LEASE_MS (settings.ts) is the length of a lease, and the interval at which shard.ts checks.
 * So a journal is adopted at most two such intervals after its writer was last seen.
 *
 * Invariants: a journal is removed only when all of it is in the cold store. Concurrent adopters are harmless, since
 * each flush moves the dead writer's watermark. A writer is sealed before its journal is removed, so a frozen writer
 * cannot flush uncounted events when it wakes.
 */
import type { JournaledBatch } from "../../domain/event.ts";
import type { Ledger } from "../../domain/ledger.ts";
import type { Log } from "../../runtime/log.ts";
import { WriterSealedError } from "../../store/cold.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import { type HotStore, HotUnavailableError } from "../../store/hot.ts";

export interface AdoptionOptions {
  readonly hot: HotStore;
  readonly cold: ColdShard;
  readonly log: Log;
  readonly ledger: Ledger;
  readonly flushMaxEvents: number;
  /** Once aborted, the rest of a journal, which may be long, is left to others. */
  readonly signal?: AbortSignal;
}

export async function adoptJournals(options: AdoptionOptions): Promise<void> {
  for (const { writer, adoptable } of await options.hot.journalOwners()) {
    if (adoptable) await adoptJournal(options, writer);
  }
}

/** Flushes and removes the writer's journal, unless the writer is alive. */
export async function adoptJournal(options: AdoptionOptions, writer: string): Promise<void> {
  const { hot, cold, log } = options;
  if (!(await hot.fence(writer))) return;
  await cold.open();
  const { names, eventCount, throughSeq } = await drainJournal(options, writer);
  for (const name of names) await cold.seal(name);
  // The writer itself may have flushed more before it was sealed.
  await hot.removeJournal(writer, Math.max(throughSeq, await cold.watermark(writer)));
  if (eventCount > 0) log.info({ writer, eventCount }, "adopted the journal of a writer that ended");
}

/** All that the cold store has of a sealed writer, and will ever have. */
export interface SealedWriter {
  readonly watermark: number;
  readonly events: number;
}

/**
 * Seals a fenced writer in the cold store, after flushing its journal, if any. An adopter will remove the journal.
 *
 * The owner commits again what is missing through `takenSeq`, so it must not be stored from any other journal: a former
 * master may have one, and instances that adopt it. So the next derived name (see drainJournal) is sealed, too.
 */
export async function sealWriter(
  options: AdoptionOptions,
  writer: string,
  hasJournal: boolean,
  takenSeq: number,
): Promise<SealedWriter> {
  const { cold } = options;
  await cold.open();
  if (hasJournal) await drainJournal(options, writer);
  await cold.seal(writer);
  let [watermark, events] = [await cold.watermark(writer), (await cold.storedEvents(writer)).ofWriter];
  for (let name = `${writer}~`; ; name += "~") {
    await cold.seal(name, takenSeq);
    const { ofWriter: stored } = await cold.storedEvents(name);
    if (stored === 0) return { watermark, events };
    events += stored;
    watermark = Math.max(watermark, await cold.watermark(name));
  }
}

interface DrainedJournal {
  /** The names it was stored under: the writer's, and derived ones if that was sealed. */
  readonly names: readonly string[];
  /** Events stored by this call. */
  readonly eventCount: number;
  readonly throughSeq: number;
}

/**
 * Flushes a journal, above the writer's watermark, and trims it.
 *
 * After a failover to a lagging replica, the hot store may lack a fence, and may have a journal again that was removed.
 * Its writer is sealed by then, so nothing more can be stored under its name. The journal is then read again and stored
 * under a derived name with its own watermark: batches read before the seal may have been committed under another
 * writer since.
 */
async function drainJournal(options: AdoptionOptions, writer: string): Promise<DrainedJournal> {
  const { hot, cold, ledger, flushMaxEvents, signal } = options;
  const names = [writer];
  let eventCount = 0;
  const epoch = await cold.epoch();
  let throughSeq = await cold.watermark(writer);
  for (;;) {
    signal?.throwIfAborted();
    const batches = await hot.readJournal(writer, throughSeq, flushMaxEvents);
    const last = batches.at(-1);
    if (last === undefined) return { names, eventCount, throughSeq };
    const stored = await flushUnlessSealed(cold, names.at(-1)!, batches, epoch);
    if (stored === "sealed") {
      if ((await cold.epoch()) !== epoch)
        throw new HotUnavailableError(`The hot store was initialized while the journal of ${writer} was read`, false);
      const name = `${names.at(-1)}~`;
      names.push(name);
      throughSeq = Math.max(throughSeq, await cold.watermark(name));
      continue;
    }
    eventCount += stored;
    ledger.adopted += stored;
    await hot.trimJournal(writer, last.seq);
    throughSeq = last.seq;
  }
}

/** Inverts the derivation of names in drainJournal(). */
export function withoutSuffix(name: string): string {
  return name.replace(/~+$/, "");
}

async function flushUnlessSealed(
  cold: ColdShard,
  name: string,
  batches: readonly JournaledBatch[],
  epoch: number,
): Promise<number | "sealed"> {
  try {
    return await cold.flush(name, batches, epoch);
  } catch (error) {
    if (error instanceof WriterSealedError) return "sealed";
    throw error;
  }
}
