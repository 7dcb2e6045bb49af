/**
 * The hot store: counts and sketches of recent hours, the journal of every writer, and the known event ids. A commit
 * changes all of them atomically.
 *
 * Invariants:
 * - An hour is held complete or not at all. An absent hour is either empty (not before `freshFrom`) or known
 *   to the cold store alone, and must be hydrated from there before anything is added to it.
 * - An hour is retired only once every batch that touched it is flushed, so that an absent hour has nothing
 *   in any journal.
 * - Batch (writer, seq) is applied at most once. A retry is answered like the first try.
 * - A fenced writer commits nothing more: its journal belongs to the adopter that fenced it.
 * - A data set that is found to have lost acknowledged batches is no longer initialized: nothing is read from it or
 *   written to it until every journal has been flushed and it is initialized again, with no hour held.
 */
import type { Batch, JournaledBatch } from "../domain/batch.ts";
import { DAY_MS, type HourCounts, type HourKey } from "../domain/event.ts";
import type { HourRange, HourRecord, HourTotals } from "../domain/hour-range.ts";
import type { DataSet } from "./cold.ts";

export type CommitResult =
  /** Applied, now or by an earlier sending. `duplicates`: ordinals of events whose id had been seen. */
  | { readonly status: "committed"; readonly duplicates: readonly number[] }
  /** Nothing was applied: the groups at these positions are of hours to be hydrated first. */
  | { readonly status: "absent"; readonly groups: readonly number[] }
  /** Nothing was applied now: what the writer had committed is with its adopter. */
  | { readonly status: "fenced" }
  /**
   * Nothing was applied: the data set is new, or has just been found to have lost batches that it had
   * acknowledged. It has to be initialized, and the writer to be replaced.
   */
  | { readonly status: "uninitialized" }
  /** Nothing was applied: the store does not know this writer, so it is not the data set it registered with. */
  | { readonly status: "unknown" };

/** What the store holds of a writer that commits nothing more. */
export interface EndedWriter {
  readonly lastSeq: number;
  /** Of all batches up to there, flushed or not, less their duplicates. */
  readonly acceptedEvents: number;
}

export interface Initialization {
  readonly msAgo: number;
  /** Each initialization has another one: FlushStore.beginEpoch. */
  readonly epoch: number;
  /** False until they are restored: nothing with an id may be committed, but what was acknowledged before. */
  readonly areIdsKnown: boolean;
  /** Ids that the cold store had before this time (by its clock, ms) are known here. 0: of none that is sure. */
  readonly idsThroughMs: number;
}

/** An id that the cold store has. */
export interface StoredId {
  readonly stream: string;
  readonly id: string;
  /** How long it has to be known. */
  readonly ttlMs: number;
}

/** "taken": another restorer is at it. "lost": the data set is not of this epoch, or knows all ids. */
export type RestoreState = "restored" | "taken" | "lost";

/** "lost": the writer must not commit any more, since it is fenced, unknown, or its store lost batches. */
export type LeaseState = "held" | "lost";

export type HourRead =
  | { readonly status: "present"; readonly counts: HourCounts }
  /** No event of this hour exists. */
  | { readonly status: "empty" }
  /** Only the cold store knows. */
  | { readonly status: "absent" };

export interface JournalOwner {
  readonly writer: string;
  /** True once its lease has run out, or it has been fenced by an adopter that did not finish. */
  readonly adoptable: boolean;
  /** Of all its batches, flushed or not, less their duplicates. */
  readonly acceptedEvents: number;
}

/** The hot store did not answer in time, or refused. `mayHaveApplied`: the outcome is unknown. */
export class HotUnavailableError extends Error {
  override readonly name = "HotUnavailableError";
  readonly mayHaveApplied: boolean;
  constructor(message: string, mayHaveApplied: boolean, options?: ErrorOptions) {
    super(message, options);
    this.mayHaveApplied = mayHaveApplied;
  }
}

/**
 * For how long a writer whose journal was removed is known, and its fence: a process that was frozen for longer finds
 * itself unknown.
 */
export const ENDED_WRITER_KNOWN_MS = 7 * DAY_MS;

/** Every method throws HotUnavailableError when the store is unavailable. */
export interface HotStore {
  readonly name: string;
  /** Where the data is, for the start-up lines: never with a password. */
  readonly description: string;
  /** True if other processes may use it as well. */
  readonly isShared: boolean;
  /** True if commits can be sent now, as far as is known without asking. */
  readonly isReady: boolean;
  /** How many connections there have been: behind each there may be another server, which lacks something. */
  readonly connections: number;
  /** Connects. Answers warnings about how durable the store is set up to be: empty if all is well. */
  open(): Promise<readonly string[]>;

  /** Undefined if the data set is new (just created, or lost). */
  initialization(): Promise<Initialization | undefined>;
  /**
   * Drops all hours and makes the data set writable. Hours from `freshFrom` on are then known to be empty.
   * False, and nothing done, while any journal is left. True also if it was initialized with this epoch or a later one.
   * Default epoch: 0. `areIdsKnown`: the cold store has none of the last 24 hours; default true.
   */
  initialize(freshFrom: number, epoch?: number, areIdsKnown?: boolean): Promise<boolean>;
  /** A data set of this epoch is no longer initialized. Fails if the store accepts no writes, whatever it holds. */
  discard(epoch: number): Promise<void>;
  /**
   * `seqs`: of the last batch of each writer that has committed to this epoch's data set. False if that does not know
   * one of them: it has lost what they brought, and is no longer initialized.
   */
  requireWriters(epoch: number, seqs: ReadonlyMap<string, number>): Promise<boolean>;
  /** Which database the data here belongs to. Undefined if none is recorded; `offered` is then recorded. */
  dataSet(offered?: DataSet): Promise<DataSet | undefined>;

  /**
   * Remembers ids, unless they are known. `restorer`: its name, under which the work is its own for some seconds from
   * each call on.
   */
  restoreIds(epoch: number, restorer: string, ids: readonly StoredId[]): Promise<RestoreState>;
  /**
   * Notes that all ids which the cold store had before `throughMs` are known. With the name of the restorer also that
   * it has finished. False, and nothing noted, if that is not so, or the data set not of this epoch.
   */
  noteIds(epoch: number, throughMs: number, restorer?: string): Promise<boolean>;

  /**
   * Gives a new writer an empty journal and a lease. False if the data set is not initialized, or is of another epoch
   * (default 0).
   */
  register(writer: string, epoch?: number): Promise<boolean>;
  /** Prolongs the lease. `committedSeq`: the last batch that the store has acknowledged to this writer. */
  renewLease(writer: string, committedSeq: number): Promise<LeaseState>;
  /**
   * Fences the writer by its own will, so that its journal can be adopted without delay. Undefined if the store does
   * not know it.
   */
  abandon(writer: string): Promise<EndedWriter | undefined>;

  commit(writer: string, seq: number, batch: Batch): Promise<CommitResult>;

  /** One answer per key, in order; a consistent picture of one instant. "uninitialized": the data set knows nothing. */
  read(keys: readonly HourKey[]): Promise<readonly HourRead[] | "uninitialized">;
  /**
   * Shows `visit` each hour that is held within the range, once. Each is complete as of some moment after the
   * call; all are of one instant unless they are more than one round trip carries, which a stream's hours are
   * not at a few hundred. Answers the hour before which those not shown are absent, and from which on they
   * are empty; or "uninitialized", and then what was shown is not to be believed.
   */
  readRange(range: HourRange, visit: (hour: HourRecord) => void): Promise<number | "uninitialized">;
  /** Changes whenever hours are retired or the data set is initialized. Taken before the cold store is read. */
  retirementMark(): Promise<number>;
  /**
   * Puts an absent hour in place. False if `retirementMark` is not the present one, since what was read may
   * then be stale: read again. An hour that is present already is left as it is (true).
   */
  hydrate(key: HourKey, cold: HourTotals | undefined, retirementMark: number): Promise<boolean>;
  /** Drops hours before `beforeHour` that are flushed. Answers how many. */
  retire(beforeHour: number): Promise<number>;
  /** Makes an hour absent, so that it is read from the cold store. False if not all of it is flushed. */
  retireHour(key: HourKey): Promise<boolean>;

  /** The journal's batches above `afterSeq`, oldest first, at least one if there is one, about `maxEvents`. */
  readJournal(writer: string, afterSeq: number, maxEvents: number): Promise<readonly JournaledBatch[]>;
  /** Drops the journal up to and including `throughSeq`: only after the cold store has it. */
  trimJournal(writer: string, throughSeq: number): Promise<void>;

  journalOwners(): Promise<readonly JournalOwner[]>;
  /** Stops an adoptable writer for good. False if it is alive after all. While not initialized, any is adoptable. */
  fence(writer: string): Promise<boolean>;
  /**
   * Removes the journal of a fenced writer, all of which is flushed. `watermark`: the cold store's, by which
   * the store notices that it has lost batches.
   */
  removeJournal(writer: string, watermark: number): Promise<void>;

  close(): Promise<void>;
}
