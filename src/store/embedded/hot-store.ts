/**
 * The hot store within this process: counts and sketches in memory; journal and event ids in SQLite under `dataDir`,
 * one transaction per batch, on disk before the batch is counted.
 *
 * Invariants: memory holds only what the journal has on disk. Memory is empty at start, so the data set is not
 * initialized until every journal on disk is flushed and removed. Ids are in the journal's file.
 */
import { resolve } from "node:path";
import {
  type Batch,
  encodeBatch,
  HOUR_MS,
  type HourKey,
  hourKeyName,
  type JournaledBatch,
  ordinalsIn,
  readEntry,
  withoutDuplicates,
} from "../../domain/event.ts";
import { type HourRange, type HourRecord, type HourTotals, includes } from "../../domain/hour-range.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import { letOthersRun } from "../../runtime/clock.ts";
import type { DataSet } from "../cold.ts";
import type {
  CommitResult,
  EndedWriter,
  HotStore,
  HourRead,
  Initialization,
  JournalOwner,
  KnownEpochs,
  LeaseState,
  RestoreState,
} from "../hot.ts";
import { EmbeddedJournal, type EmbeddedJournalOptions } from "./journal.ts";

interface HeldHour {
  readonly stream: string;
  readonly hour: number;
  clicks: number;
  impressions: number;
  readonly users: UserSketches;
  /** The current writer's last batch that touched this hour; 0 if none has. */
  lastSeq: number;
}

interface WriterState {
  readonly name: string;
  /** The last batch in the journal, possibly not yet on disk. `last`: the last one on disk. */
  written: number;
  last: number;
  flushed: number;
  accepted: number;
  fenced: boolean;
}

interface EmbeddedHotStoreOptions extends EmbeddedJournalOptions {
  readonly now: () => number;
  readonly monotonicMs?: (() => number) | undefined;
}

/** The event loop runs after each piece: about 1 ms of merging the largest sketches. */
const HOURS_PER_PIECE = 100;

export class EmbeddedHotStore implements HotStore {
  readonly isShared = false;
  readonly name = "Memory";
  readonly connections = 1;
  readonly description: string;
  readonly #journal: EmbeddedJournal;
  readonly #now: () => number;
  readonly #monotonicMs: () => number;
  #idTimeOffset = 0;
  readonly #hours = new Map<string, HeldHour>();
  #freshFrom: number | undefined;
  #initializedAt = 0;
  #epoch = 0;
  #retirements = 0;
  #writer: WriterState | undefined;

  constructor(options: EmbeddedHotStoreOptions) {
    const dataDir = resolve(options.dataDir);
    this.#journal = new EmbeddedJournal({ ...options, dataDir });
    this.#now = options.now;
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
    this.description = `memory, journal in ${dataDir}`;
  }

  get isReady(): boolean {
    return this.#journal.isOpen;
  }

  async open(): Promise<readonly string[]> {
    const isFirst = !this.#journal.isOpen;
    this.#journal.open();
    if (isFirst) this.#idTimeOffset = Math.max(this.#now(), this.#journal.lastClaimAt()) - this.#monotonicMs();
    return [];
  }

  /**
   * The time by which ids expire. It only moves forward, at the pace of real time: a wall clock that is set ahead and
   * back must not make a minute-old id unknown.
   */
  get #idTime(): number {
    return Math.floor(this.#idTimeOffset + this.#monotonicMs());
  }

  async initialization(): Promise<Initialization | undefined> {
    if (this.#freshFrom === undefined) return undefined;
    const msAgo = this.#now() - this.#initializedAt;
    return { msAgo, epoch: this.#epoch, areIdsKnown: true, idsThroughMs: 0 };
  }

  async initialize(freshFrom: number, epoch = 0): Promise<boolean> {
    if (this.#freshFrom !== undefined && this.#epoch >= epoch) return true;
    this.#freshFrom = undefined;
    if ((await this.journalOwners()).length > 0) return false;
    this.#hours.clear();
    this.#retirements += 1;
    this.#journal.transaction("note an epoch", () => this.#journal.noteEpochs(epoch, epoch));
    this.#freshFrom = freshFrom;
    this.#epoch = epoch;
    this.#initializedAt = this.#now();
    return true;
  }

  async discard(epoch: number): Promise<void> {
    if (this.#epoch > epoch) return;
    this.#freshFrom = undefined;
    // On disk before the cold store begins the epoch.
    this.#journal.transaction("announce an epoch", () => this.#journal.noteEpochs(undefined, epoch + 1));
    await this.#journal.sync("announce an epoch");
  }

  async epochs(): Promise<KnownEpochs | undefined> {
    return this.#journal.epochs();
  }

  async requireWriters(): Promise<boolean> {
    return true;
  }

  /** It holds no hours when it starts, and files of different times are refused then (refuseOtherTime). */
  async storedEvents(): Promise<number> {
    return 0;
  }

  async forgetIds(): Promise<void> {}

  /** Nobody else uses its files, and the journal notices if they are replaced. */
  async bind(): Promise<void> {}

  async dataSet(offered?: DataSet): Promise<DataSet | undefined> {
    return this.#journal.transaction("read its identity", () => this.#journal.dataSet(offered));
  }

  async restoreIds(): Promise<RestoreState> {
    return "lost";
  }

  async noteIds(epoch: number): Promise<boolean> {
    return epoch === this.#epoch;
  }

  async register(writer: string, epoch = 0): Promise<boolean> {
    if (this.#freshFrom === undefined || this.#epoch !== epoch) return false;
    this.#journal.transaction("register", () => this.#journal.addWriter(writer));
    this.#writer = { name: writer, written: 0, last: 0, flushed: 0, accepted: 0, fenced: false };
    // Batches of an earlier writer count as unflushed while its journal exists: retire() checks that.
    for (const held of this.#hours.values()) held.lastSeq = 0;
    return true;
  }

  async renewLease(writer: string, _committedSeq: number): Promise<LeaseState> {
    if (this.#writer?.name !== writer || this.#writer.fenced) return "lost";
    this.#journal.tryAgain();
    return "held";
  }

  async abandon(writer: string): Promise<EndedWriter | undefined> {
    const state = this.#writer;
    if (state?.name !== writer) return undefined;
    // Everything reported must be on disk, and the last batch's sync may have failed.
    if (state.written > state.last) await this.#journal.sync("abandon");
    state.fenced = true;
    return { lastSeq: state.written, acceptedEvents: state.accepted };
  }

  async commit(writer: string, seq: number, batch: Batch): Promise<CommitResult> {
    const state = this.#writer;
    const freshFrom = this.#freshFrom;
    if (state === undefined || state.name !== writer || freshFrom === undefined) return { status: "unknown" };
    if (state.fenced) return { status: "fenced" };
    if (seq <= state.last) return { status: "committed", duplicates: this.#journaledDuplicates(writer, seq) };
    if (seq > state.last + 1) throw new Error(`batch ${seq} of ${writer} comes after ${state.last}`);
    const absent = absentGroups(batch, freshFrom, this.#hours);
    if (absent.length > 0) return { status: "absent", groups: absent };

    const isWritten = seq <= state.written;
    const duplicates = isWritten ? this.#journaledDuplicates(writer, seq) : this.#write(state, seq, batch);
    const counted = withoutDuplicates(seq, batch, duplicates);
    // From now on these hours can't be retired: during the sync, an hour must not be dropped and re-created partially.
    for (const group of counted.groups) this.#hold(group).lastSeq = seq;
    await this.#journal.sync("commit");
    state.last = seq;
    this.#count(counted);
    return { status: "committed", duplicates };
  }

  /** Writes to the journal in one transaction; returns the ordinals of events whose id was known. */
  #write(state: WriterState, seq: number, batch: Batch): number[] {
    const [duplicates, accepted] = this.#journal.transactionBeforeSync("commit", () => {
      const found = this.#claimIds(batch);
      const total = state.accepted + batch.eventCount - found.length;
      const row = { seq, body: encodeBatch(batch), duplicates: found.join(",") };
      this.#journal.append(state.name, row, total);
      return [found, total];
    });
    state.written = seq;
    state.accepted = accepted;
    return duplicates;
  }

  #journaledDuplicates(writer: string, seq: number): number[] {
    return ordinalsIn(this.#journal.entry(writer, seq)?.duplicates ?? "");
  }

  /** Remembers the batch's ids; returns the ordinals of events whose id was known. */
  #claimIds(batch: Batch): number[] {
    const duplicates: number[] = [];
    const now = this.#idTime;
    let ordinal = 0;
    let hasIds = false;
    for (const { stream, users, ids } of batch.groups) {
      for (let i = 0; ids !== null && i < users.length; i++) {
        const id = ids[i] ?? null;
        if (id === null) continue;
        hasIds = true;
        if (!this.#journal.claimId(stream, id, now)) duplicates.push(ordinal + i);
      }
      ordinal += users.length;
    }
    if (hasIds) this.#journal.forgetExpiredIds(now);
    return duplicates;
  }

  #count(batch: JournaledBatch): void {
    for (const group of batch.groups) {
      const held = this.#hold(group);
      held.clicks += group.clicks;
      held.impressions += group.impressions;
      const { registers, clickFlags } = group;
      for (let i = 0; i < registers.length; i++) held.users.add(registers[i]!, clickFlags[i]!);
    }
  }

  #hold({ stream, hour }: HourKey): HeldHour {
    return this.#hours.getOrInsertComputed(hourKeyName(stream, hour), () => {
      return { stream, hour, clicks: 0, impressions: 0, users: new UserSketches(), lastSeq: 0 };
    });
  }

  async read(keys: readonly HourKey[]): Promise<readonly HourRead[] | "uninitialized"> {
    const freshFrom = this.#freshFrom;
    if (freshFrom === undefined) return "uninitialized";
    return keys.map((key): HourRead => {
      const held = this.#hours.get(hourKeyName(key.stream, key.hour));
      if (held === undefined) return { status: key.hour >= freshFrom ? "empty" : "absent" };
      const { clicks, impressions, users } = held;
      return { status: "present", counts: { clicks, impressions, uniqueUsers: users.count() } };
    });
  }

  async readRange(range: HourRange, visit: (hour: HourRecord) => void): Promise<number | "uninitialized"> {
    const freshFrom = this.#freshFrom;
    if (freshFrom === undefined) return "uninitialized";
    // All hours as of now. One that is retired meanwhile was complete by then.
    const held = [...this.#hours.values()].filter((hour) => includes(range, hour));
    for (const [i, hour] of held.entries()) {
      visit(hour);
      if (i % HOURS_PER_PIECE === HOURS_PER_PIECE - 1) await letOthersRun();
    }
    return freshFrom;
  }

  async retirementMark(): Promise<number> {
    return this.#retirements;
  }

  async hydrate(key: HourKey, cold: HourTotals | undefined, retirementMark: number): Promise<boolean> {
    if (this.#hours.has(hourKeyName(key.stream, key.hour))) return true;
    if (retirementMark !== this.#retirements) return false;
    const held = this.#hold(key);
    if (cold !== undefined) {
      held.clicks = cold.clicks;
      held.impressions = cold.impressions;
      held.users.merge(cold.users);
    }
    return true;
  }

  async retire(beforeHour: number): Promise<number> {
    // Commits delete expired ids too, but only commits that bring ids: the last ids would stay forever.
    while (this.#journal.forgetExpiredIds(this.#idTime) > 0) await letOthersRun();
    if (await this.#isOtherJournalLeft()) return 0;
    const flushed = this.#writer?.flushed ?? 0;
    let retired = 0;
    for (const held of this.#hours.values()) {
      if (held.hour >= beforeHour || held.lastSeq > flushed) continue;
      this.#drop(held);
      retired += 1;
    }
    return retired;
  }

  async retireHour(key: HourKey): Promise<boolean> {
    const lastSeq = this.#hours.get(hourKeyName(key.stream, key.hour))?.lastSeq ?? 0;
    if (this.#freshFrom === undefined || lastSeq > (this.#writer?.flushed ?? 0)) return false;
    if (await this.#isOtherJournalLeft()) return false;
    this.#drop(key);
    return true;
  }

  /** It is unknown which hours an earlier writer's batches touched. */
  async #isOtherJournalLeft(): Promise<boolean> {
    const owners = await this.journalOwners();
    return owners.some(({ writer }) => writer !== this.#writer?.name);
  }

  #drop({ stream, hour }: HourKey): void {
    this.#hours.delete(hourKeyName(stream, hour));
    this.#freshFrom = Math.max(this.#freshFrom ?? 0, hour + HOUR_MS);
    this.#retirements += 1;
  }

  async readJournal(writer: string, afterSeq: number, maxEvents: number): Promise<readonly JournaledBatch[]> {
    const batches: JournaledBatch[] = [];
    let eventCount = 0;
    for (const { seq, body, duplicates } of this.#journal.entriesAfter(writer, afterSeq)) {
      const batch = readEntry(seq, body, ordinalsIn(duplicates));
      batches.push(batch);
      eventCount += batch.eventCount;
      if (eventCount >= maxEvents) break;
    }
    return batches;
  }

  async trimJournal(writer: string, throughSeq: number): Promise<void> {
    this.#journal.transaction("trim", () => this.#journal.trim(writer, throughSeq));
    if (this.#writer?.name === writer) this.#writer.flushed = Math.max(this.#writer.flushed, throughSeq);
  }

  async journalOwners(): Promise<readonly JournalOwner[]> {
    return this.#journal.writers().map(({ writer, accepted }) => {
      return { writer, adoptable: this.#isDead(writer), acceptedEvents: accepted };
    });
  }

  /** The file is locked, so every writer but this process's has ended. */
  #isDead(writer: string): boolean {
    return this.#writer?.name !== writer || this.#writer.fenced || this.#freshFrom === undefined;
  }

  async fence(writer: string): Promise<boolean> {
    return this.#isDead(writer);
  }

  async removeJournal(writer: string, _watermark: number): Promise<void> {
    this.#journal.transaction("remove a journal", () => this.#journal.removeWriter(writer));
  }

  async close(): Promise<void> {
    this.#journal.close();
  }
}

function absentGroups(batch: Batch, freshFrom: number, hours: ReadonlyMap<string, HeldHour>): number[] {
  const absent: number[] = [];
  batch.groups.forEach((group, position) => {
    if (group.hour < freshFrom && !hours.has(hourKeyName(group.stream, group.hour))) absent.push(position);
  });
  return absent;
}
