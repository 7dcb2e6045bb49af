/**
 * The data of one shard as the Redis scripts change it, in memory: each method is one script, and equally atomic.
 *
 * Invariants: it refuses what a script refuses, and forgets what a script forgets. It knows no connections and no
 * faults, which are HotServer's.
 */
import {
  type Batch,
  decodeBatch,
  type Event,
  encodeBatch,
  HOUR_MS,
  type HourKey,
  hourKeyName,
  type JournaledBatch,
  readEntry,
} from "../../../../src/domain/event.ts";
import { ID_TTL_MS } from "../../../../src/domain/event-ids.ts";
import { type HourRange, type HourRecord, type HourTotals, includes } from "../../../../src/domain/hour-range.ts";
import { UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import type { DataSet } from "../../../../src/store/cold.ts";
import {
  type CommitResult,
  ENDED_WRITER_KNOWN_MS,
  type EndedWriter,
  type HourRead,
  type Initialization,
  type JournalOwner,
  type LeaseState,
  type RestoreState,
  type StoredId,
} from "../../../../src/store/hot.ts";

const RESTORER_LEASE_MS = 15_000;

export interface HeldHour extends HourKey {
  clicks: number;
  impressions: number;
  users: UserSketches;
  /** Each writer's last batch that touched this hour. */
  readonly touched: Map<string, number>;
}

export interface JournalEntry {
  readonly body: string;
  readonly duplicates: readonly number[];
  /** The part of it that counts, made once from the two above. */
  readonly batch: JournaledBatch;
}

interface WriterRecord {
  last: number;
  flushed: number;
  events: number;
  /** Events that the cold store has had. */
  stored: number;
  leaseUntilMs: number;
  isFenced: boolean;
  /** Its journal was removed: it is remembered until then. */
  forgottenAtMs: number;
}

interface Meta {
  readonly epoch: number;
  readonly areIdsKnown: boolean;
  readonly restorer: string;
  readonly restorerUntilMs: number;
  readonly freshFrom: number;
  readonly mark: number;
  readonly sinceMs: number;
}

export interface HotDataListener {
  /** A batch was applied for the first time. */
  committed(data: HotData, batch: JournaledBatch): void;
  /** It has just been initialized. */
  initialized?(data: HotData): void;
  /** Some ids are about to be remembered that it had lost. */
  restoring?(data: HotData): void;
  /** The journal of this writer is about to be removed. */
  removing?(writer: string): void;
}

const NO_LISTENER: HotDataListener = { committed: () => {} };

export class HotData {
  meta: Meta | undefined;
  /** Changes with whatever hours and journals hold. */
  version = newVersion();
  /** Names its last initialization: a later one, of any data set, has a higher number. */
  initializationNumber = 0;
  readonly hours = new Map<string, HeldHour>();
  /** By writer, then by seq. Only writers listed here have a journal. */
  readonly journals = new Map<string, Map<number, JournalEntry>>();
  readonly #writers = new Map<string, WriterRecord>();
  /** When each is forgotten. */
  readonly #ids = new Map<string, number>();
  #dataSet: DataSet | undefined;
  #idsThroughMs = 0;
  /** Events that the cold store has had, without those of writers that have a journal. */
  #stored = 0;
  readonly #nowMs: () => number;
  readonly #leaseMs: number;
  readonly #listener: HotDataListener;

  constructor(nowMs: () => number, leaseMs: number, listener = NO_LISTENER) {
    this.#nowMs = nowMs;
    this.#leaseMs = leaseMs;
    this.#listener = listener;
  }

  initialization(): Initialization | undefined {
    if (this.meta === undefined) return undefined;
    const { sinceMs, epoch, areIdsKnown } = this.meta;
    return { msAgo: this.#nowMs() - sinceMs, epoch, areIdsKnown, idsThroughMs: this.#idsThroughMs };
  }

  /** A deep copy: changes of one do not show in the other. */
  copy(): HotData {
    const copy = new HotData(this.#nowMs, this.#leaseMs, this.#listener);
    copy.meta = this.meta;
    copy.initializationNumber = this.initializationNumber;
    copy.#dataSet = this.#dataSet;
    copy.#idsThroughMs = this.#idsThroughMs;
    copy.#stored = this.#stored;
    for (const [name, hour] of this.hours) {
      const users = new UserSketches();
      users.merge(hour.users);
      copy.hours.set(name, { ...hour, users, touched: new Map(hour.touched) });
    }
    for (const [writer, journal] of this.journals) copy.journals.set(writer, new Map(journal));
    for (const [writer, record] of this.#writers) copy.#writers.set(writer, { ...record });
    for (const [id, expiresAtMs] of this.#ids) copy.#ids.set(id, expiresAtMs);
    return copy;
  }

  /** Ids that `other` does not know. */
  *idsNotIn(other: HotData): Generator<string> {
    for (const [name, untilMs] of this.#ids) {
      if (untilMs > this.#nowMs() && (other.#ids.get(name) ?? 0) <= this.#nowMs())
        yield name.slice(name.indexOf(" ") + 1);
    }
  }

  knowsId({ stream, id = "" }: Event): boolean {
    return (this.#ids.get(idName(stream, id)) ?? 0) > this.#nowMs();
  }

  /** The last batch of a writer that is known here. */
  lastSeq(writer: string): number | undefined {
    return this.#writer(writer)?.last;
  }

  initialize(freshFrom: number, epoch: number, areIdsKnown: boolean, storedEvents = 0): boolean {
    if (this.meta !== undefined && this.meta.epoch >= epoch) return true;
    this.meta = undefined;
    if (this.journals.size > 0) return false;
    this.version += 1;
    this.hours.clear();
    const restoring = { areIdsKnown, restorer: "", restorerUntilMs: 0 };
    this.meta = { epoch, freshFrom, mark: this.#nowMs() * 1_000, sinceMs: this.#nowMs(), ...restoring };
    this.#stored = storedEvents;
    this.initializationNumber = ++initializations;
    this.#listener.initialized?.(this);
    return true;
  }

  discard(epoch: number): void {
    if (this.meta !== undefined && this.meta.epoch > epoch) return;
    this.meta = undefined;
    if (this.journals.size > 0) return;
    this.version += 1;
    this.hours.clear();
  }

  requireWriters(epoch: number, seqs: ReadonlyMap<string, number>): boolean {
    if (this.meta?.epoch !== epoch) return true;
    for (const [writer, seq] of seqs) {
      if ((this.#writer(writer)?.last ?? -1) >= seq) continue;
      this.meta = undefined;
      return false;
    }
    return true;
  }

  storedEvents(): number {
    let sum = this.#stored;
    for (const writer of this.journals.keys()) sum += this.#writer(writer)?.stored ?? 0;
    return sum;
  }

  forgetIds(): void {
    if (this.meta !== undefined) return;
    this.#idsThroughMs = 0;
    this.#ids.clear();
  }

  restoreIds(epoch: number, restorer: string, ids: readonly StoredId[]): RestoreState {
    const { meta } = this;
    if (meta?.epoch !== epoch || meta.areIdsKnown) return "lost";
    if (meta.restorer !== restorer && meta.restorerUntilMs > this.#nowMs()) return "taken";
    this.meta = { ...meta, restorer, restorerUntilMs: this.#nowMs() + RESTORER_LEASE_MS };
    if (ids.length > 0) this.#listener.restoring?.(this);
    for (const { stream, id, ttlMs } of ids) {
      const name = idName(stream, id);
      if ((this.#ids.get(name) ?? 0) <= this.#nowMs()) this.#ids.set(name, this.#nowMs() + ttlMs);
    }
    return "restored";
  }

  noteIds(epoch: number, throughMs: number, restorer: string): boolean {
    const { meta } = this;
    if (meta?.epoch !== epoch || (!meta.areIdsKnown && meta.restorer !== restorer)) return false;
    this.meta = { ...meta, areIdsKnown: true };
    this.#idsThroughMs = Math.max(this.#idsThroughMs, throughMs);
    return true;
  }

  dataSet(offered?: DataSet): DataSet | undefined {
    this.#dataSet ??= offered;
    return this.#dataSet;
  }

  retirementMark(): number | undefined {
    return this.meta?.mark;
  }

  register(writer: string, epoch: number): boolean {
    if (this.meta?.epoch !== epoch) return false;
    const leaseUntilMs = this.#nowMs() + this.#leaseMs;
    const isFenced = this.#writer(writer)?.isFenced ?? false;
    const record = { last: 0, flushed: 0, events: 0, stored: 0, leaseUntilMs, isFenced };
    this.#writers.set(writer, { ...record, forgottenAtMs: Number.POSITIVE_INFINITY });
    this.journals.set(writer, new Map());
    return true;
  }

  #writer(writer: string): WriterRecord | undefined {
    const record = this.#writers.get(writer);
    if (record === undefined || record.forgottenAtMs > this.#nowMs()) return record;
    this.#writers.delete(writer);
    return undefined;
  }

  renewLease(writer: string, committedSeq: number, idsKnownIn?: number): LeaseState {
    const record = this.#writer(writer);
    if ((record?.last ?? -1) < committedSeq) this.meta = undefined;
    if (this.meta?.epoch === idsKnownIn && this.meta?.areIdsKnown === false) this.meta = undefined;
    if (record === undefined || record.isFenced || this.meta === undefined) return "lost";
    record.leaseUntilMs = this.#nowMs() + this.#leaseMs;
    return "held";
  }

  abandon(writer: string): EndedWriter | undefined {
    const record = this.#writer(writer);
    if (record === undefined) return undefined;
    record.isFenced = true;
    return { lastSeq: record.last, acceptedEvents: record.events };
  }

  commit(writer: string, seq: number, batch: Batch): CommitResult {
    const record = this.#writer(writer);
    if (seq > (record?.last ?? -1) + 1) this.meta = undefined;
    if (record === undefined) return { status: "unknown" };
    if (record.isFenced) return { status: "fenced" };
    if (seq <= record.last) {
      return { status: "committed", duplicates: this.journals.get(writer)?.get(seq)?.duplicates ?? [] };
    }
    if (this.meta === undefined) return { status: "uninitialized" };
    const absent = this.#absentGroups(batch, this.meta.freshFrom);
    if (absent.length > 0) return { status: "absent", groups: absent };
    const duplicates = this.#claimIds(batch);
    this.#append(writer, record, seq, batch, duplicates);
    return { status: "committed", duplicates };
  }

  #absentGroups({ groups }: Batch, freshFrom: number): number[] {
    const absent: number[] = [];
    for (const [position, { stream, hour }] of groups.entries()) {
      if (hour < freshFrom && !this.hours.has(hourKeyName(stream, hour))) absent.push(position);
    }
    return absent;
  }

  #claimIds(batch: Batch): number[] {
    const duplicates: number[] = [];
    let ordinal = 0;
    for (const { stream, users, ids } of batch.groups) {
      for (let i = 0; i < users.length; i++, ordinal++) {
        const id = ids?.[i] ?? null;
        if (id === null) continue;
        const name = idName(stream, id);
        if ((this.#ids.get(name) ?? 0) > this.#nowMs()) duplicates.push(ordinal);
        else this.#ids.set(name, this.#nowMs() + ID_TTL_MS);
      }
    }
    return duplicates;
  }

  #append(writer: string, record: WriterRecord, seq: number, batch: Batch, duplicates: readonly number[]): void {
    const body = encodeBatch(batch);
    const counted = decodeBatch(seq, body, duplicates);
    for (const group of counted.groups) this.#count(group, writer, seq);
    this.journals.get(writer)?.set(seq, { body, duplicates, batch: counted });
    this.version += 1;
    record.last = seq;
    record.events += counted.eventCount;
    this.#listener.committed(this, counted);
  }

  #count(group: JournaledBatch["groups"][number], writer: string, seq: number): void {
    const hour = this.#hold(group);
    hour.clicks += group.clicks;
    hour.impressions += group.impressions;
    hour.touched.set(writer, seq);
    for (let i = 0; i < group.registers.length; i++) hour.users.add(group.registers[i]!, group.clickFlags[i]!);
  }

  #hold({ stream, hour }: HourKey): HeldHour {
    const name = hourKeyName(stream, hour);
    let held = this.hours.get(name);
    if (held === undefined) {
      held = { stream, hour, clicks: 0, impressions: 0, users: new UserSketches(), touched: new Map() };
      this.hours.set(name, held);
    }
    return held;
  }

  read(keys: readonly HourKey[]): readonly HourRead[] | "uninitialized" {
    const { meta } = this;
    if (meta === undefined) return "uninitialized";
    return keys.map((key): HourRead => {
      const held = this.hours.get(hourKeyName(key.stream, key.hour));
      if (held === undefined) return { status: key.hour >= meta.freshFrom ? "empty" : "absent" };
      const { clicks, impressions, users } = held;
      return { status: "present", counts: { clicks, impressions, uniqueUsers: users.count() } };
    });
  }

  /** Copies, since an answer in flight no longer changes. */
  readRange(range: HourRange): { readonly hours: readonly HourRecord[]; readonly freshFrom: number } | "uninitialized" {
    if (this.meta === undefined) return "uninitialized";
    const hours = [...this.hours.values()].filter((hour) => includes(range, hour));
    const copies = hours.map(({ stream, hour, clicks, impressions, users }) => {
      const copied = new UserSketches();
      copied.merge(users);
      return { stream, hour, clicks, impressions, users: copied };
    });
    return { hours: copies, freshFrom: this.meta.freshFrom };
  }

  /** Undefined if the data set is not initialized. */
  hydrate(key: HourKey, cold: HourTotals | undefined, mark: number): boolean | undefined {
    if (this.meta === undefined) return undefined;
    if (this.hours.has(hourKeyName(key.stream, key.hour))) return true;
    if (this.meta.mark !== mark) return false;
    this.version += 1;
    const held = this.#hold(key);
    if (cold === undefined) return true;
    held.clicks = cold.clicks;
    held.impressions = cold.impressions;
    held.users.merge(cold.users);
    return true;
  }

  retire(beforeHour: number): number {
    return this.#retire([...this.hours.values()].filter(({ hour }) => hour < beforeHour));
  }

  retireHour({ stream, hour }: HourKey): boolean {
    const held = this.hours.get(hourKeyName(stream, hour));
    return this.#retire([held ?? { stream, hour, touched: new Map() }]) > 0;
  }

  #retire(candidates: readonly (HourKey & Pick<HeldHour, "touched">)[]): number {
    if (this.meta === undefined) return 0;
    const flushed = candidates.filter(({ touched }) => {
      for (const [writer, seq] of touched) {
        const through = this.#writer(writer)?.flushed;
        if (through !== undefined && through < seq) return false;
      }
      return true;
    });
    if (flushed.length === 0) return 0;
    this.version += 1;
    let { freshFrom, mark } = this.meta;
    for (const { stream, hour } of flushed) {
      freshFrom = Math.max(freshFrom, hour + HOUR_MS);
      this.hours.delete(hourKeyName(stream, hour));
    }
    mark += 1;
    this.meta = { ...this.meta, freshFrom, mark };
    return flushed.length;
  }

  readJournal(writer: string, afterSeq: number, maxEvents: number): readonly JournaledBatch[] {
    const batches: JournaledBatch[] = [];
    let eventCount = 0;
    const journal = this.journals.get(writer) ?? new Map<number, JournalEntry>();
    for (const seq of [...journal.keys()].sort((a, b) => a - b)) {
      if (seq <= afterSeq) continue;
      if (eventCount >= maxEvents) break;
      const { body, duplicates } = journal.get(seq)!;
      const batch = readEntry(seq, body, duplicates);
      batches.push(batch);
      eventCount += batch.eventCount;
    }
    return batches;
  }

  trimJournal(writer: string, throughSeq: number, storedEvents: number): void {
    const record = this.#writer(writer);
    if (record === undefined) return;
    const journal = this.journals.get(writer);
    for (const seq of journal?.keys() ?? []) if (seq <= throughSeq) journal!.delete(seq);
    record.flushed = Math.max(record.flushed, throughSeq);
    record.stored = Math.max(record.stored, storedEvents);
  }

  journalOwners(): readonly JournalOwner[] {
    return Array.from(this.journals.keys(), (writer) => {
      const record = this.#writer(writer);
      const isLeased = record !== undefined && !record.isFenced && record.leaseUntilMs > this.#nowMs();
      const adoptable = this.meta === undefined || !isLeased;
      return { writer, adoptable, acceptedEvents: record?.events ?? 0 };
    });
  }

  fence(writer: string): boolean {
    const record = this.#writer(writer);
    if (record?.isFenced) return true;
    const isLeased = (record?.leaseUntilMs ?? 0) > this.#nowMs();
    if (isLeased && this.meta !== undefined) return false;
    if (record !== undefined) record.isFenced = true;
    return true;
  }

  removeJournal(writer: string, watermark: number): void {
    const record = this.#writer(writer);
    if (record !== undefined && !record.isFenced) return;
    if ((record?.last ?? 0) < watermark) this.meta = undefined;
    if (this.journals.has(writer)) this.#listener.removing?.(writer);
    this.version += 1;
    const isFirst = this.journals.delete(writer);
    if (record === undefined) return;
    if (isFirst) this.#stored += record.events;
    record.flushed = record.last;
    record.forgottenAtMs = this.#nowMs() + ENDED_WRITER_KNOWN_MS;
  }
}

let initializations = 0;
let versions = 0;

/** Differs for each data set, by so much that no two ever meet. */
function newVersion(): number {
  versions = (versions + 1) % 1_000_000;
  return versions * 1_000_000;
}

function idName(stream: string, id: string): string {
  return `${stream} ${id}`;
}
