/**
 * The hot store: counts and sketches of recent hours, journals, and known event ids. A commit changes all atomically.
 *
 * Invariants:
 * - An hour is held completely or not at all. An absent hour is empty (from `freshFrom` on), or known only to the cold
 *   store; then it must be hydrated before anything is added to it.
 * - An hour is retired only after every batch that touched it was flushed. So no journal has events of an absent hour.
 * - Batch (writer, seq) is applied at most once. A retry gets the answer of the first attempt.
 * - A fenced writer commits nothing more: its journal belongs to the adopter that fenced it.
 * - A data set that turns out to have lost acknowledged batches is no longer initialized. Nothing is read from it or
 *   written to it until every journal is flushed and it is initialized again, holding no hour.
 */
import { type Batch, DAY_MS, type HourCounts, type HourKey, type JournaledBatch } from "../domain/event.ts";
import type { HourRange, HourRecord, HourTotals } from "../domain/hour-range.ts";
import type { DataSet } from "./cold.ts";
import { StoreUnavailableError } from "./unavailable-error.ts";

export type CommitResult =
  /** Applied, now or by an earlier attempt. `duplicates`: ordinals of events whose id was known. */
  | { readonly status: "committed"; readonly duplicates: readonly number[] }
  /** Nothing was applied: the groups at these positions belong to hours that must be hydrated first. */
  | { readonly status: "absent"; readonly groups: readonly number[] }
  /** Nothing was applied: an adopter has the writer's earlier commits. */
  | { readonly status: "fenced" }
  /**
   * Nothing was applied: the data set is new, or was just found to have lost acknowledged batches. It must be
   * initialized, and the writer replaced.
   */
  | { readonly status: "uninitialized" }
  /** Nothing was applied: the store does not know this writer, so it is not the data set the writer registered with. */
  | { readonly status: "unknown" };

/** The store's record of a writer that commits nothing more. */
export interface EndedWriter {
  readonly lastSeq: number;
  /** All its events up to `lastSeq`, flushed or not, without duplicates. */
  readonly acceptedEvents: number;
}

export interface Initialization {
  readonly msAgo: number;
  /** Differs for each initialization: see FlushStore.beginEpoch(). */
  readonly epoch: number;
  /**
   * False until the ids are restored. Until then, batches with ids are refused unless they repeat an acknowledged one.
   */
  readonly areIdsKnown: boolean;
  /** Every id that the cold store had before this time (ms, its clock) is known here. 0: no such guarantee. */
  readonly idsThroughMs: number;
}

/** Epochs of the cold store: the one that was initialized last here, and the one that was to begin last. */
export interface KnownEpochs {
  readonly initialized: number;
  readonly announced: number;
}

/** An id known to the cold store. */
export interface StoredId {
  readonly stream: string;
  readonly id: string;
  /** How long it must be remembered. */
  readonly ttlMs: number;
}

/** "taken": another restorer is at work. "lost": the data set has another epoch, or knows all ids. */
export type RestoreState = "restored" | "taken" | "lost";

/** "lost": the writer must stop committing. It is fenced or unknown, or its store lost batches. */
export type LeaseState = "held" | "lost";

export type HourRead =
  | { readonly status: "present"; readonly counts: HourCounts }
  /** No event of this hour exists. */
  | { readonly status: "empty" }
  /** The hot store does not hold the hour: only the cold store knows. */
  | { readonly status: "absent" };

export interface JournalOwner {
  readonly writer: string;
  /** Its lease has run out, or an adopter fenced it and did not finish. */
  readonly adoptable: boolean;
  /** All its events, flushed or not, without duplicates. */
  readonly acceptedEvents: number;
}

/** The hot store refused, or did not answer in time. `mayHaveApplied`: the outcome is unknown. */
export class HotUnavailableError extends StoreUnavailableError {
  override readonly name = "HotUnavailableError";
  override readonly reason = "hot_store_away";
  readonly mayHaveApplied: boolean;
  constructor(message: string, mayHaveApplied: boolean, options?: ErrorOptions) {
    super(message, options);
    this.mayHaveApplied = mayHaveApplied;
  }
}

/** How long a writer is remembered after its journal was removed. A process frozen for longer finds itself unknown. */
export const ENDED_WRITER_KNOWN_MS = 7 * DAY_MS;

/** Every method throws HotUnavailableError when the store is unavailable. */
export interface HotStore {
  readonly name: string;
  /** Where the data is, for the start-up log; never with a password. */
  readonly description: string;
  /** Whether other processes may use it too. */
  readonly isShared: boolean;
  /** Whether commits can be sent now, as far as known without asking. */
  readonly isReady: boolean;
  /** How many connections there have been. Each new one may lead to another server, which may lack data. */
  readonly connections: number;
  /** Connects. Returns warnings about the store's durability settings. */
  open(): Promise<readonly string[]>;

  /** Undefined if the data set is new (just created, or lost). */
  initialization(): Promise<Initialization | undefined>;
  /**
   * Drops all hours and makes the data set writable. Hours from `freshFrom` on are then known to be empty. Returns
   * false, changing nothing, while any journal is left; true also if it already has this epoch (default 0) or a later
   * one. `areIdsKnown` (default true): the cold store has no ids of the last 24 hours. `storedEvents` (default 0): how
   * many events the cold store has of this shard, from which storedEvents() goes on.
   */
  initialize(freshFrom: number, epoch?: number, areIdsKnown?: boolean, storedEvents?: number): Promise<boolean>;
  /**
   * Uninitializes a data set of this epoch or an earlier one, and drops its hours unless a journal is left. Throws if
   * the store accepts no writes, whatever it holds; or, once the hours are dropped, if it is full.
   */
  discard(epoch: number): Promise<void>;
  /**
   * What this data knows of the cold store's epochs: an earlier or a later one shows that either was put back from a
   * backup without the other. Undefined if nothing is recorded. Only for a store that no other process uses.
   */
  epochs?(): Promise<KnownEpochs | undefined>;
  /**
   * `seqs`: the last batch of each writer that committed in this epoch. If the data set does not know one of them, it
   * has lost data: it is uninitialized, and false is returned.
   */
  requireWriters(epoch: number, seqs: ReadonlyMap<string, number>): Promise<boolean>;
  /**
   * How many events the cold store has had of this shard, at least: a cold store that has fewer was set back. Always 0
   * for a store that no other process uses. It outlives the data set, until the next one is initialized.
   */
  storedEvents(): Promise<number>;
  /** Forgets all ids, and through which time they are known. It stops once the data set is initialized. */
  forgetIds(): Promise<void>;
  /** The database that this data belongs to. If none is recorded, returns undefined and records `offered`. */
  dataSet(offered?: DataSet): Promise<DataSet | undefined>;
  /**
   * From now on nothing is read from data of another database than this, and nothing changed in it: such a call does
   * not know the writer, or throws.
   */
  bind(identity: string): Promise<void>;

  /** Remembers ids that are not known yet. `restorer`: claims the work for some seconds from each call on. */
  restoreIds(epoch: number, restorer: string, ids: readonly StoredId[]): Promise<RestoreState>;
  /**
   * Records that all ids which the cold store had before `throughMs` are known, and, with `restorer`, that this
   * restorer has finished. False, changing nothing, if the claim has passed to another or the epoch differs.
   */
  noteIds(epoch: number, throughMs: number, restorer?: string): Promise<boolean>;

  /** Gives a new writer an empty journal and a lease. False if uninitialized or of another epoch (default 0). */
  register(writer: string, epoch?: number): Promise<boolean>;
  /**
   * Renews the lease. `committedSeq`: the last batch acknowledged to this writer. Throws as well while no commit could
   * succeed because the store is full or accepts no writes.
   */
  renewLease(writer: string, committedSeq: number): Promise<LeaseState>;
  /** Fences the writer at its own request: its journal can be adopted at once. Undefined if it is unknown. */
  abandon(writer: string): Promise<EndedWriter | undefined>;

  commit(writer: string, seq: number, batch: Batch): Promise<CommitResult>;

  /**
   * One answer per key, in order, from one consistent snapshot. "uninitialized": the data set knows nothing, or the
   * last new connection led to one that did not know this process's writer, and the process has no other writer yet.
   */
  read(keys: readonly HourKey[]): Promise<readonly HourRead[] | "uninitialized">;
  /**
   * Passes each held hour of the range to `visit` once, complete as of some moment after the call. All are of the same
   * moment if they fit in one round trip, as a few hundred do. Returns the hour before which missing hours are absent,
   * and from which on they are empty; or "uninitialized": discard what was visited.
   */
  readRange(range: HourRange, visit: (hour: HourRecord) => void): Promise<number | "uninitialized">;
  /** Changes whenever hours are retired or the data set is initialized. Read it before the cold store. */
  retirementMark(): Promise<number>;
  /**
   * Inserts an absent hour; an hour that is present stays unchanged (true). False if `retirementMark` is outdated: what
   * was read may be stale, so read again.
   */
  hydrate(key: HourKey, cold: HourTotals | undefined, retirementMark: number): Promise<boolean>;
  /** Drops flushed hours before `beforeHour`; returns how many. */
  retire(beforeHour: number): Promise<number>;
  /** Makes an hour absent, so that it is read from the cold store. False if some of it is not flushed. */
  retireHour(key: HourKey): Promise<boolean>;

  /** The journal's batches above `afterSeq`, oldest first: about `maxEvents` events, and at least one batch if any. */
  readJournal(writer: string, afterSeq: number, maxEvents: number): Promise<readonly JournaledBatch[]>;
  /**
   * Drops the journal through `throughSeq`. Call it only after the cold store has those batches. `storedEvents`: how
   * many events of the writer the cold store has, if known.
   */
  trimJournal(writer: string, throughSeq: number, storedEvents?: number): Promise<void>;

  journalOwners(): Promise<readonly JournalOwner[]>;
  /** Stops an adoptable writer for good; false if it is alive. In an uninitialized store every writer is adoptable. */
  fence(writer: string): Promise<boolean>;
  /**
   * Removes a fenced writer's journal, which must be flushed. `watermark`: from the cold store, by which the hot store
   * notices lost batches.
   */
  removeJournal(writer: string, watermark: number): Promise<void>;

  close(): Promise<void>;
}
