/**
 * Tracks whether a shard's hot store knows all ids of the last 24 hours, and restores lost ones: one instance reads
 * them from the cold store, page by page, while events without an id are accepted.
 * Invariant: once known, the ids stay known until the data set is lost; then this process needs a new writer to commit.
 */
import { ID_TTL_MS } from "../../domain/event-ids.ts";
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
  /** Aborted when the process begins to stop: the rest is left to others. */
  readonly signal: AbortSignal;
}

/** Redis is blocked for about 2 ms meanwhile. */
const IDS_PER_PIECE = 1_000;
const PROGRESS_INTERVAL_MS = 5_000;
/** The clocks of two database servers that replace each other may differ. */
const CLOCKS_DIFFER_MS = 60_000;

/** Flushed ids must be read from this time on. The hot store has the earlier ones. */
export function idsMissingSince(nowMs: number, idsThroughMs: number): number {
  return Math.max(nowMs - ID_TTL_MS, idsThroughMs - CLOCKS_DIFFER_MS, 0);
}

export class IdRestoration {
  readonly #options: IdRestorationOptions;
  readonly #name: string;
  /** The epoch of the writer's data set. */
  #epoch: number | undefined;
  /** False while an event with an id may be a repetition that goes unnoticed. */
  areKnown = false;

  constructor(options: IdRestorationOptions) {
    this.#options = options;
    this.#name = options.clock.random().toString(36).slice(2);
  }

  /** Call it before the process writes to another data set. */
  begin({ epoch, areIdsKnown }: Initialization): void {
    this.#epoch = epoch;
    this.areKnown = areIdsKnown;
  }

  /** Must be repeated. Throws HotUnavailableError or ColdUnavailableError. */
  async check(): Promise<void> {
    const epoch = this.#epoch;
    if (epoch === undefined || this.areKnown) return;
    const found = await this.#options.hot.initialization();
    if (found?.epoch !== epoch) return;
    const areKnown = found.areIdsKnown || (await this.#restore(epoch, found.idsThroughMs));
    if (areKnown && this.#epoch === epoch) this.areKnown = true;
  }

  /** Returns false if another instance is restoring them, or the data set was lost. */
  async #restore(epoch: number, idsThroughMs: number): Promise<boolean> {
    const { hot, cold, log, clock, signal } = this.#options;
    if ((await hot.restoreIds(epoch, this.#name, [])) !== "restored") return false;
    await cold.open();
    const nowMs = await cold.time();
    const sinceMs = idsMissingSince(nowMs, idsThroughMs);
    const startMs = clock.monotonicMs();
    const { connections } = hot;
    log.warn(
      { flushedSince: new Date(sinceMs).toISOString() },
      "restoring ids: events with an id are refused until this is done",
    );
    let [before, restored, loggedMs] = [undefined as IdRowKey | undefined, 0, startMs];
    do {
      const page = await cold.flushedIds(sinceMs, before);
      for (const piece of pieces(page.ids)) {
        if (signal.aborted || (await hot.restoreIds(epoch, this.#name, piece)) !== "restored") return false;
        restored += piece.length;
      }
      before = page.next;
      if (before !== undefined && clock.monotonicMs() - loggedMs >= PROGRESS_INTERVAL_MS) {
        loggedMs = clock.monotonicMs();
        log.info(
          { restored, flushedAt: new Date(before.flushedAtMs).toISOString() },
          "restoring ids, the latest first",
        );
      }
    } while (before !== undefined);
    // Another server may lack the latest ids, so they must be restored again.
    if (hot.connections !== connections || !(await hot.noteIds(epoch, nowMs, this.#name))) return false;
    log.info({ restored, tookMs: Math.round(clock.monotonicMs() - startMs) }, "all ids are known again");
    return true;
  }

  /**
   * Records which ids are known, so that after a loss only the ids of the last seconds must be restored. The hot store
   * must know everything that the cold store had before `throughMs`.
   */
  async note(throughMs: number): Promise<void> {
    if (this.#epoch !== undefined && this.areKnown) await this.#options.hot.noteIds(this.#epoch, throughMs);
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
