/**
 * Adopts the journals of writers that have ended: flushes them above their watermark and removes them. Also initializes
 * data sets, which begins with that.
 *
 * The hot store decides by its own clock whether a journal may be adopted: when the writer's lease has expired, when
 * the writer is fenced, or while the data set is not initialized (HotStore.journalOwners and fence; for Redis
 * writers/lease-rule.lua). LEASE_MS (settings.ts) is the length of a lease, and the interval at which shard.ts checks.
 * So a journal is adopted at most two such intervals after its writer was last seen.
 *
 * Invariants: a journal is removed only when all of it is in the cold store. Concurrent adopters are harmless, since
 * each flush moves the dead writer's watermark. A writer is sealed before its journal is removed, so a frozen writer
 * cannot flush uncounted events when it wakes. All writers are sealed before a data set is initialized
 * (ColdShard.beginEpoch): what they stored later would be missing from its hours and its ids.
 */
import { DAY_MS, HOUR_MS, type JournaledBatch } from "../../domain/event.ts";
import type { Ledger } from "../../domain/ledger.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { WriterSealedError } from "../../store/cold.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import { ENDED_WRITER_KNOWN_MS, type HotStore, HotUnavailableError } from "../../store/hot.ts";
import { idsMissingSince } from "./id-restoration.ts";

export interface AdoptionOptions {
  readonly hot: HotStore;
  readonly cold: ColdShard;
  readonly log: Log;
  readonly ledger: Ledger;
  readonly flushMaxEvents: number;
  /** Once aborted, the rest of a journal, which may be long, is left to others. */
  readonly signal?: AbortSignal;
}

const INITIALIZE_ATTEMPTS = 5;
/** How long another instance may take to initialize the epoch that it has begun: a few ms if it is not busy. */
const OTHER_GRACE_MS = 500;
const OTHER_POLL_MS = 50;
/** Shorter than such a writer is known, because its journal was removed at about the time it was sealed. */
const SEALED_WITHIN_MS = ENDED_WRITER_KNOWN_MS - DAY_MS;

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
  let [watermark, events] = [await cold.watermark(writer), await cold.storedEvents(writer)];
  for (let name = `${writer}~`; ; name += "~") {
    await cold.seal(name, takenSeq);
    const stored = await cold.storedEvents(name);
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
function withoutSuffix(name: string): string {
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

/**
 * Makes a data set writable that is new or has lost batches. All hours of the cold store are absent in it, so only
 * hours after the latest of them may be assumed to be empty. Surviving journals are flushed first, because nothing else
 * knows of their events. Throws HotUnavailableError or ColdUnavailableError.
 *
 * If several instances find such a data set, one begins the next epoch and the others wait for it: beginning another
 * one would end its writer, which may have committed by then.
 */
export async function initializeDataSet(options: AdoptionOptions, clock: Clock): Promise<void> {
  const { hot, cold, log } = options;
  for (let attempt = 0; attempt < INITIALIZE_ATTEMPTS; attempt++) {
    await cold.open();
    const epoch = await cold.epoch();
    await adoptJournals(options);
    if (await isInitializedByOther(hot, epoch, clock)) return;
    // A master that is cut off from its replicas and accepts no writes must not end the writers of the new one, and a
    // full server must not begin an epoch at each attempt.
    await hot.discard(epoch);
    if (!(await cold.beginEpoch(epoch))) continue;
    const newestHour = await cold.newestHour();
    const freshFrom = newestHour === undefined ? 0 : newestHour + HOUR_MS;
    if (!(await hot.initialize(freshFrom, epoch + 1, await hasNoIds(cold)))) continue;
    log.info({ newestHour, epoch: epoch + 1 }, "set up the hot store");
    return;
  }
  throw new HotUnavailableError(
    `Cannot set up the hot store: in ${INITIALIZE_ATTEMPTS} attempts journals were left, or another instance set it up`,
    false,
  );
}

/** `epoch` is the one before. If another instance begins the next one meanwhile, beginEpoch() notices. */
async function isInitializedByOther(hot: HotStore, epoch: number, clock: Clock): Promise<boolean> {
  const graceMs = hot.isShared && epoch > 0 ? OTHER_GRACE_MS : 0;
  const endMs = clock.monotonicMs() + graceMs;
  while ((await hot.initialization()) === undefined) {
    if (clock.monotonicMs() >= endMs) return false;
    await clock.sleep(OTHER_POLL_MS);
  }
  return true;
}

/**
 * True if the hot store lacks batches that an ended writer has stored, so that no process would notice: its process
 * started and ended between a failover and the new master's last write, or its journal at a former master was longer
 * than the one that was adopted here.
 */
export async function lacksWriters({ hot, cold }: AdoptionOptions, epoch: number): Promise<boolean> {
  if (!hot.isShared) return false;
  await cold.open();
  // Read before Redis: whatever is stored was committed before.
  const stored = await cold.writersOf(epoch, SEALED_WITHIN_MS);
  if (stored.size === 0) return false;
  const seqs = new Map<string, number>();
  for (const [name, seq] of stored) {
    const writer = withoutSuffix(name);
    seqs.set(writer, Math.max(seq, seqs.get(writer) ?? 0));
  }
  return !(await hot.requireWriters(epoch, seqs));
}

async function hasNoIds(cold: ColdShard): Promise<boolean> {
  const { ids } = await cold.flushedIds(idsMissingSince(await cold.time(), 0), undefined);
  return ids.length === 0;
}
