/**
 * What either store may lack that the other one knows of, and a data set set up anew without it.
 *
 * Invariant: all writers are sealed before a data set is initialized (ColdShard.beginEpoch): what they stored later
 * would be missing from its hours and its ids.
 */
import { DAY_MS, HOUR_MS } from "../../domain/event.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import { ENDED_WRITER_KNOWN_MS, type HotStore, HotUnavailableError } from "../../store/hot.ts";
import type { StoredOfWriter } from "../flush/flusher.ts";
import { idsMissingSince } from "./id-restoration.ts";
import { type AdoptionOptions, adoptJournals, withoutSuffix } from "./journal-adoption.ts";

const INITIALIZE_ATTEMPTS = 5;
/** How long another instance may take to initialize the epoch that it has begun: a few ms if it is not busy. */
const OTHER_GRACE_MS = 500;
const OTHER_POLL_MS = 50;
/** Shorter than such a writer is known, because its journal was removed at about the time it was sealed. */
const SEALED_WITHIN_MS = ENDED_WRITER_KNOWN_MS - DAY_MS;

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
    // An id whose row is gone must count when it is sent again.
    if ((await eventsLostByCold(options)) > 0) await hot.forgetIds();
    if (!(await cold.beginEpoch(epoch))) continue;
    // One that is left may be adopted by another instance from now on, and its events would be missing below.
    if ((await hot.journalOwners()).length > 0) continue;
    const newestHour = await cold.newestHour();
    const freshFrom = newestHour === undefined ? 0 : newestHour + HOUR_MS;
    const areIdsKnown = await hasNoIds(cold);
    if (!(await hot.initialize(freshFrom, epoch + 1, areIdsKnown, (await cold.storedEvents()).total))) continue;
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

/**
 * How many events, at least, the cold store had and has no longer. Above 0, it was set back to an earlier state, as by
 * a restored backup or a failover to a copy that lags: the hot store counts events that are in no row. `own`: what this
 * process knows of its present writer, whatever the hot store has lost.
 */
export async function eventsLostByCold({ hot, cold }: AdoptionOptions, own?: StoredOfWriter): Promise<number> {
  if (!hot.isShared) return 0;
  await cold.open();
  // Read before the cold store: what is known here was stored there before.
  const known = await hot.storedEvents();
  const { total, ofWriter } = await cold.storedEvents(own?.writer);
  return Math.max(0, known - total, (own?.events ?? 0) - ofWriter);
}

async function hasNoIds(cold: ColdShard): Promise<boolean> {
  const { ids } = await cold.flushedIds(idsMissingSince(await cold.time(), 0), undefined);
  return ids.length === 0;
}
