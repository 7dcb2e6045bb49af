/**
 * Journals whose writer has ended: adopted, flushed above their watermark, removed. And the initialization of a data
 * set, which begins with that.
 *
 * Invariants: a journal is removed only when all of it is in the cold store. Several adopters at once are harmless,
 * since each flush moves the dead writer's watermark. A writer is sealed before its journal is removed, so that one
 * which was only frozen can't flush, when it wakes, what nobody has counted.
 */
import { HOUR_MS } from "../../domain/event.ts";
import type { Ledger } from "../../domain/ledger.ts";
import type { Log } from "../../runtime/log.ts";
import type { ColdShard } from "../../store/cold/cold-shard.ts";
import { type HotStore, HotUnavailableError } from "../../store/hot.ts";

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
  const eventCount = await drainJournal(options, writer);
  await cold.seal(writer);
  await hot.removeJournal(writer, await cold.watermark(writer));
  if (eventCount > 0) log.info({ writer, eventCount }, "adopted the journal of a writer that ended");
}

/** What the cold store has of a writer, and will ever have. */
export interface SealedWriter {
  readonly watermark: number;
  readonly events: number;
}

/**
 * Ends a fenced writer in the cold store: flushes what the hot store has of it, if that has a journal of it, and seals
 * it. The journal is left to an adopter.
 */
export async function sealWriter(
  options: AdoptionOptions,
  writer: string,
  hasJournal: boolean,
): Promise<SealedWriter> {
  const { cold } = options;
  await cold.open();
  if (hasJournal) await drainJournal(options, writer);
  await cold.seal(writer);
  return { watermark: await cold.watermark(writer), events: await cold.storedEvents(writer) };
}

/** Answers the number of events persisted. */
async function drainJournal(options: AdoptionOptions, writer: string): Promise<number> {
  const { hot, cold, ledger, flushMaxEvents, signal } = options;
  let persisted = 0;
  let afterSeq = await cold.watermark(writer);
  for (;;) {
    signal?.throwIfAborted();
    const batches = await hot.readJournal(writer, afterSeq, flushMaxEvents);
    const last = batches.at(-1);
    if (last === undefined) return persisted;
    const eventCount = await cold.flush(writer, batches);
    persisted += eventCount;
    ledger.adopted += eventCount;
    await hot.trimJournal(writer, last.seq);
    afterSeq = last.seq;
  }
}

/**
 * Makes a data set writable that is new, or has lost batches. Every hour that the cold store knows is absent in it, so
 * only those after its latest one may be taken for empty. Journals that survived are flushed first, as nothing else
 * knows of them. Throws HotUnavailableError or ColdUnavailableError.
 */
export async function initializeDataSet(options: AdoptionOptions): Promise<void> {
  const { hot, cold, log } = options;
  for (let attempt = 0; attempt < INITIALIZE_ATTEMPTS; attempt++) {
    await cold.open();
    await adoptJournals(options);
    const newestHour = await cold.newestHour();
    if (!(await hot.initialize(newestHour === undefined ? 0 : newestHour + HOUR_MS))) continue;
    log.info({ newestHour }, "set up the hot store");
    return;
  }
  throw new HotUnavailableError(
    `Cannot set up the hot store: journals were left ${INITIALIZE_ATTEMPTS} times`,
    false,
  );
}
