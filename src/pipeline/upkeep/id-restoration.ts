/**
 * Whether the hot store of a shard knows all ids of the last 24 hours, and how it learns those that it has lost: one
 * instance reads them from the cold store, page by page, while events without an id are taken.
 *
 * Invariant: once they are known, they are known until the data set is lost; and then this process needs another writer
 * before it can commit anything.
 */
import { ID_TTL_MS } from "../../domain/event.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import type { IdRowKey, StoredIds } from "../../store/cold.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import type { HotStore, Initialization, StoredId } from "../../store/hot.ts";

export interface IdRestorationOptions {
  readonly hot: HotStore;
  readonly cold: ColdShard;
  readonly log: Log;
  readonly clock: Clock;
  readonly leaseMs: number;
  /** Aborted when the process begins to end: the rest is left to others. */
  readonly signal: AbortSignal;
}

/** Redis does nothing else meanwhile: about 2 ms. */
const IDS_PER_PIECE = 1_000;
const PROGRESS_INTERVAL_MS = 5_000;
/** Clocks of database servers that take each other's place may differ. */
const CLOCKS_DIFFER_MS = 60_000;
/**
 * A loss is noticed at the latest when the journal of the writer that suffered it is adopted: its lease runs out, a
 * look at journals comes within another one, and may fail once. Until then others note ids as known that are lost.
 */
const UNNOTICED_LEASES = 3;

/** From when on flushed ids have to be read: the hot store has the earlier ones. */
export function idsMissingSince(nowMs: number, idsThroughMs: number): number {
  return Math.max(nowMs - ID_TTL_MS, idsThroughMs - CLOCKS_DIFFER_MS, 0);
}

export class IdRestoration {
  readonly #options: IdRestorationOptions;
  readonly #name: string;
  /** Of the writer's data set. */
  #epoch: number | undefined;
  /** False while an event with an id might be one that was stored before. */
  areKnown = false;

  constructor(options: IdRestorationOptions) {
    this.#options = options;
    this.#name = options.clock.random().toString(36).slice(2);
  }

  /** The process writes to this data set from now on. */
  begin({ epoch, areIdsKnown }: Initialization): void {
    this.#epoch = epoch;
    this.areKnown = areIdsKnown;
  }

  /** To be called again and again. Throws HotUnavailableError or ColdUnavailableError. */
  async look(): Promise<void> {
    const epoch = this.#epoch;
    if (epoch === undefined || this.areKnown) return;
    const found = await this.#options.hot.initialization();
    if (found?.epoch !== epoch) return;
    const areKnown = found.areIdsKnown || (await this.#restore(epoch, found.idsThroughMs));
    if (areKnown && this.#epoch === epoch) this.areKnown = true;
  }

  /** False if another instance is at it, or the data set was lost. */
  async #restore(epoch: number, idsThroughMs: number): Promise<boolean> {
    const { hot, cold, log, clock, leaseMs, signal } = this.#options;
    if ((await hot.restoreIds(epoch, this.#name, [])) !== "restored") return false;
    await cold.open();
    const nowMs = await cold.time();
    const sinceMs = idsMissingSince(nowMs, idsThroughMs - UNNOTICED_LEASES * leaseMs);
    const startMs = clock.monotonicMs();
    const { connections } = hot;
    log.warn(
      { flushedSince: new Date(sinceMs).toISOString() },
      "restoring ids: events with an id are refused until then",
    );
    let [before, restored, toldMs] = [undefined as IdRowKey | undefined, 0, startMs];
    do {
      const page = await cold.flushedIds(sinceMs, before);
      for (const piece of pieces(page.ids)) {
        if (signal.aborted || (await hot.restoreIds(epoch, this.#name, piece)) !== "restored") return false;
        restored += piece.length;
      }
      before = page.next;
      if (before !== undefined && clock.monotonicMs() - toldMs >= PROGRESS_INTERVAL_MS) {
        toldMs = clock.monotonicMs();
        log.info(
          { restored, flushedAt: new Date(before.flushedAtMs).toISOString() },
          "restoring ids, the latest first",
        );
      }
    } while (before !== undefined);
    // Another server may lack the last of them: they are restored again.
    if (hot.connections !== connections || !(await hot.noteIds(epoch, nowMs, this.#name))) return false;
    log.info({ restored, tookMs: Math.round(clock.monotonicMs() - startMs) }, "all ids are known again");
    return true;
  }

  /** So that after a loss of the last seconds only their ids have to be restored. */
  async note(): Promise<void> {
    const { hot, cold } = this.#options;
    const epoch = this.#epoch;
    if (epoch === undefined || !this.areKnown) return;
    // Read before it is noted: what was flushed by then had been committed to this data set before that.
    const throughMs = await cold.time();
    await hot.noteIds(epoch, throughMs);
  }
}

function* pieces(all: readonly StoredIds[]): Generator<StoredId[]> {
  let piece: StoredId[] = [];
  for (const { stream, ids, ageMs } of all) {
    const ttlMs = Math.max(1, Math.round(ID_TTL_MS - ageMs));
    for (const id of ids) {
      piece.push({ stream, id, ttlMs });
      if (piece.length < IDS_PER_PIECE) continue;
      yield piece;
      piece = [];
    }
  }
  if (piece.length > 0) yield piece;
}
