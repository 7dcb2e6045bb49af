/**
 * Adopts journals whose writer has ended: flushes them above their watermark and removes them. Also initializes data
 * sets, which begins with that.
 *
 * The hot store decides by its own clock whether a journal may be adopted: when the writer's lease has run out, when it
 * is fenced, or while the data set is not initialized (HotStore.journalOwners and fence; for Redis
 * writers/lease-rule.lua). LEASE_MS (settings.ts) is how long a lease lasts, and how often shard.ts calls for a look: a
 * journal is adopted at most twice that time after its writer was last seen.
 *
 * Invariants: a journal is removed only when all of it is in the cold store. Concurrent adopters are harmless, since
 * each flush moves the dead writer's watermark. A writer is sealed before its journal is removed, so that a writer that
 * was only frozen can't flush uncounted events when it wakes. All writers are sealed before a data set is initialized
 * (ColdShard.beginEpoch): what they store later would be missing from its hours and its ids.
 */
import type { JournaledBatch } from "../../domain/batch.ts";
import { DAY_MS, HOUR_MS } from "../../domain/event.ts";
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
  /** A journal may be long: once aborted, the rest of it is left to others. */
  readonly signal?: AbortSignal;
}

const INITIALIZE_ATTEMPTS = 5;
/** For the other instance that has begun the present epoch to initialize its data set: some ms if it is not busy. */
const OTHER_GRACE_MS = 500;
const OTHER_POLL_MS = 50;
/** Less than for how long such a writer is known: its journal was removed about when it was sealed. */
const SEALED_WITHIN_MS = ENDED_WRITER_KNOWN_MS - DAY_MS;

/** Adopts every journal that may be adopted. */
export async function adoptJournals(options: AdoptionOptions): Promise<void> {
  for (const { writer, adoptable } of await options.hot.journalOwners()) {
    if (adoptable) await adoptJournal(options, writer);
  }
}

/** Flushes and removes the journal of a writer, unless that is alive. */
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

/** What the cold store has of a writer, and will ever have. */
interface SealedWriter {
  readonly watermark: number;
  readonly events: number;
}

/**
 * Ends a fenced writer in the cold store: flushes what the hot store has of it, if that has a journal of it, and seals
 * it. The journal is left to an adopter.
 *
 * What it lacks through `takenSeq` its owner commits again, so that it must not be stored from any other journal: a
 * former master that is cut off may have one, with instances that adopt it. So the name that would follow those under
 * which the writer was stored (drainJournal) is sealed beyond that.
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
  /** What it was stored under: the writer, and names derived from it if that had been sealed. */
  readonly names: readonly string[];
  /** Stored now. */
  readonly eventCount: number;
  readonly throughSeq: number;
}

/**
 * A hot store that fails over to a replica that lags may lose a fence, and have a journal again that was removed. Its
 * writer is sealed by then, so that what it commits after that, or had committed of duplicates alone, can be stored
 * under its name no more. It is stored under a name derived from that, with a watermark of its own, after the journal
 * was read again: what an adopter had read before the seal may have been committed under another writer since.
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

/** Of a name under which an adopter stores. */
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
 * Makes a data set writable that is new, or has lost batches. Every hour that the cold store knows is absent in it, so
 * only those after its latest one may be taken for empty. Journals that survived are flushed first, as nothing else
 * knows of them. Throws HotUnavailableError or ColdUnavailableError.
 *
 * Of instances that find it at once, one begins the next epoch. The others wait for it: beginning one more would end
 * its writer, which has committed by then.
 */
export async function initializeDataSet(options: AdoptionOptions, clock: Clock): Promise<void> {
  const { hot, cold, log } = options;
  for (let attempt = 0; attempt < INITIALIZE_ATTEMPTS; attempt++) {
    await cold.open();
    const epoch = await cold.epoch();
    await adoptJournals(options);
    if (await isInitializedByOther(hot, epoch, clock)) return;
    // A master that is cut off from its replicas and accepts no writes must not end the writers of the new one. Nor
    // must one that is full begin an epoch at each try.
    await hot.discard(epoch);
    if (!(await cold.beginEpoch(epoch))) continue;
    const newestHour = await cold.newestHour();
    const freshFrom = newestHour === undefined ? 0 : newestHour + HOUR_MS;
    if (!(await hot.initialize(freshFrom, epoch + 1, await hasNoIds(cold)))) continue;
    log.info({ newestHour, epoch: epoch + 1 }, "set up the hot store");
    return;
  }
  throw new HotUnavailableError(
    `Cannot set up the hot store: in ${INITIALIZE_ATTEMPTS} tries journals were left, or another instance set it up`,
    false,
  );
}

/** `epoch`: as it was before. Whoever begins another one meanwhile is noticed by that. */
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
 * Whether the hot store lacks what a writer has stored that has ended since, so that nobody else would notice: its
 * process started and ended between a failover and the last write that the new master has, or its journal at a former
 * master had more than the one that was adopted here.
 */
export async function lacksWriters({ hot, cold }: AdoptionOptions, epoch: number): Promise<boolean> {
  if (!hot.isShared) return false;
  await cold.open();
  // Read before Redis is: whatever is stored was committed before that.
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
