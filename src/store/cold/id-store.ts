/**
 * What the cold store has of the ids of the last 24 hours, for a hot store that has lost them.
 * Invariant: a flush stores the ids of its events in its transaction.
 */

export interface StoredIds {
  readonly stream: string;
  readonly ids: readonly string[];
  readonly ageMs: number;
}

export interface IdRowKey {
  readonly flushedAtMs: number;
  readonly writer: number;
  readonly seq: number;
  readonly piece: number;
}

export interface IdPage {
  readonly ids: readonly StoredIds[];
  /** Before which the next page begins; undefined if this is the last. */
  readonly next: IdRowKey | undefined;
}

export interface IdStore {
  /** By the database's clock, ms. */
  time(): Promise<number>;
  /** Those that were flushed from `sinceMs` on, the latest first. `before`: what IdPage.next is. */
  flushedIds(sinceMs: number, before: IdRowKey | undefined, shard?: number): Promise<IdPage>;
  /** Deletes some of those that were flushed before `beforeMs`; answers whether more are left. */
  forgetFlushedIds(beforeMs: number): Promise<boolean>;
}
