/**
 * The tables of the cold store, in memory: each method is one transaction, at one instant.
 *
 * Invariant: it knows no connections, locks or faults, which are ColdServer's.
 */
import { type Event, type HourKey, hourKeyName, type JournaledBatch, type Kind } from "../../../../src/domain/event.ts";
import { type HourRange, type HourRecord, type HourTotals, includes } from "../../../../src/domain/hour-range.ts";
import {
  addErased,
  type ErasedCounts,
  laterBounds,
  NO_BOUNDS,
  NOTHING_ERASED,
  type RetentionBounds,
} from "../../../../src/domain/retention-bounds.ts";
import { selects } from "../../../../src/domain/stream-rules.ts";
import { UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import {
  type DataSet,
  type HourAudit,
  type IdPage,
  type IdRowKey,
  type RowKey,
  type RowPage,
  type StoredEvents,
  type Swept,
  type UserRow,
  type UserSelection,
  type UsersRange,
  WriterSealedError,
} from "../../../../src/store/cold.ts";
import { rebuiltHour } from "../../../../src/store/sql/hours.ts";
import { compareHours } from "../../../../src/store/sql/rows.ts";
import { TEST_DATA_SET, TEST_USERS } from "../../../harness/pipeline/test-users.ts";

export interface EventRow extends HourKey {
  readonly writer: string;
  readonly seq: number;
  readonly ordinal: number;
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
  /** The sketch register that the user raises. */
  readonly register: number;
  readonly id: string | null;
  readonly shard: number;
  /** The writer's epoch. */
  readonly epoch: number;
}

interface Part extends HourKey {
  /** hourKeyName */
  readonly name: string;
  readonly shard: number;
  clicks: number;
  impressions: number;
  readonly users: UserSketches;
}

interface WriterRow {
  /** Ascending in the order in which writers came. */
  readonly id: number;
  readonly shard: number;
  /** The epoch of its first flush. */
  readonly epoch: number;
  seq: number;
  events: number;
  isSealed: boolean;
  updatedAtMs: number;
}

export interface ColdDataListener {
  stored(row: EventRow): void;
  /** After those were: by a flush of this epoch. */
  flushed?(writer: string, shard: number, epoch: number | undefined): void;
}

export interface ColdDataOptions {
  /** Rows whose content the database refuses, and which become dead letters. */
  readonly refuses?: (row: EventRow) => boolean;
  readonly listener?: ColdDataListener;
  readonly nowMs?: () => number;
}

/** The ids of one flush. */
interface IdRow extends IdRowKey {
  readonly shard: number;
  readonly ids: readonly Pick<EventRow, "stream" | "id">[];
}

/** Few, so that a test needs several pages. */
const ID_ROWS_PER_PAGE = 3;

export class ColdData {
  /** Rows by hour and stream. */
  readonly rows = new Map<string, EventRow[]>();
  readonly deadLetters: EventRow[] = [];
  version = 0;
  readonly #parts = new Map<string, Part>();
  readonly #erased = new Map<string, ErasedCounts>();
  readonly #writers = new Map<string, WriterRow>();
  /** The latest last. */
  #idRows: IdRow[] = [];
  readonly #epochs = new Map<number, number>();
  readonly #options: ColdDataOptions;
  #shards: number | undefined;
  #bounds: RetentionBounds = NO_BOUNDS;

  constructor(options: ColdDataOptions = {}) {
    this.#options = options;
  }

  /** A deep copy: changes of one do not show in the other. */
  copy(): ColdData {
    const copy = new ColdData(this.#options);
    for (const [name, rows] of this.rows) copy.rows.set(name, [...rows]);
    copy.deadLetters.push(...this.deadLetters);
    copy.version = this.version;
    for (const [name, part] of this.#parts) copy.#parts.set(name, { ...part, users: copyOf(part.users) });
    for (const [name, erased] of this.#erased) copy.#erased.set(name, erased);
    for (const [writer, row] of this.#writers) copy.#writers.set(writer, { ...row });
    copy.#idRows = [...this.#idRows];
    for (const [shard, epoch] of this.#epochs) copy.#epochs.set(shard, epoch);
    copy.#shards = this.#shards;
    copy.#bounds = this.#bounds;
    return copy;
  }

  fixShardCount(count: number): number {
    this.#shards ??= count;
    return this.#shards;
  }

  shardCount(): number | undefined {
    return this.#shards;
  }

  /** Throws WriterSealedError. */
  flush(writer: string, batches: readonly JournaledBatch[], shard: number, epoch: number | undefined): number {
    const { seq, isSealed } = this.#writers.get(writer) ?? { seq: 0, isSealed: false };
    const fresh = batches.filter((batch) => batch.seq > seq);
    const last = fresh.at(-1);
    if (last === undefined) return 0;
    if (isSealed) throw new WriterSealedError(`writer ${writer} is sealed at batch ${seq}`);
    if (epoch !== undefined && this.epoch(shard) !== epoch)
      throw new WriterSealedError(`writer ${writer} is of epoch ${epoch}, which has ended`);
    this.version += 1;
    const record = this.#writerRow(writer, shard, epoch);
    const rows = fresh.flatMap((batch) => [...rowsOf(writer, batch, record)]);
    for (const row of rows) this.#store(row);
    this.#options.listener?.flushed?.(writer, shard, epoch);
    const ids = rows.filter(({ id }) => id !== null);
    const key = { flushedAtMs: this.time(), writer: record.id, seq: last.seq, piece: 0 };
    if (ids.length > 0) this.#idRows.push({ ...key, shard, ids });
    record.seq = last.seq;
    record.events += rows.length;
    record.updatedAtMs = this.time();
    return rows.length;
  }

  #writerRow(writer: string, shard: number, epoch = 0): WriterRow {
    let record = this.#writers.get(writer);
    if (record === undefined) {
      const [id, updatedAtMs] = [this.#writers.size + 1, this.time()];
      record = { id, shard, epoch, seq: 0, events: 0, isSealed: false, updatedAtMs };
      this.#writers.set(writer, record);
    }
    return record;
  }

  #store(row: EventRow): void {
    const { refuses, listener } = this.#options;
    if (refuses?.(row)) {
      this.deadLetters.push(row);
    } else {
      const name = hourKeyName(row.stream, row.hour);
      const rows = this.rows.get(name);
      if (rows === undefined) this.rows.set(name, [row]);
      else rows.push(row);
      addTo(this.#part(row), row);
    }
    listener?.stored(row);
  }

  #part({ stream, hour, shard }: EventRow): Part {
    const name = partName({ stream, hour }, shard);
    let part = this.#parts.get(name);
    if (part === undefined) {
      part = {
        name: hourKeyName(stream, hour),
        stream,
        hour,
        shard,
        clicks: 0,
        impressions: 0,
        users: new UserSketches(),
      };
      this.#parts.set(name, part);
    }
    return part;
  }

  watermark(writer: string): number {
    return this.#writers.get(writer)?.seq ?? 0;
  }

  /** Also under the names that an adopter derives from that of a sealed writer. */
  storedThrough(writer: string): number {
    const own = this.watermark(writer);
    return this.#writers.has(`${writer}~`) ? Math.max(own, this.storedThrough(`${writer}~`)) : own;
  }

  seal(writer: string, shard: number, skippedSeq: number): void {
    const row = this.#writerRow(writer, shard);
    if (!row.isSealed) row.updatedAtMs = this.time();
    row.isSealed = true;
    if (row.events === 0) row.seq = Math.max(row.seq, skippedSeq);
  }

  writersOf(epoch: number, sealedWithinMs: number, shard: number): ReadonlyMap<string, number> {
    const sinceMs = this.time() - sealedWithinMs;
    const meant = new Map<string, number>();
    for (const [writer, row] of this.#writers) {
      if (row.shard !== shard || row.epoch !== epoch || row.events === 0) continue;
      if (!row.isSealed || row.updatedAtMs > sinceMs) meant.set(writer, row.seq);
    }
    return meant;
  }

  isSealed(writer: string): boolean {
    return this.#writers.get(writer)?.isSealed === true;
  }

  time(): number {
    return Math.max(this.#options.nowMs?.() ?? Date.now(), this.#idRows.at(-1)?.flushedAtMs ?? 0);
  }

  flushedIds(sinceMs: number, before: IdRowKey | undefined, shard: number): IdPage {
    const isBefore = (row: IdRow) => before === undefined || compareIdRows(row, before) < 0;
    const found = this.#idRows
      .filter((row) => row.shard === shard && row.flushedAtMs >= sinceMs && isBefore(row))
      .sort((a, b) => compareIdRows(b, a));
    const page = found.slice(0, ID_ROWS_PER_PAGE);
    return {
      ids: page.flatMap(({ ids, flushedAtMs }) => {
        return ids.map(({ stream, id }) => ({ stream, ids: [id!], ageMs: this.time() - flushedAtMs }));
      }),
      next: found.length > page.length ? page.at(-1) : undefined,
    };
  }

  forgetFlushedIds(beforeMs: number): boolean {
    this.#idRows = this.#idRows.filter(({ flushedAtMs }) => flushedAtMs >= beforeMs);
    return false;
  }

  epoch(shard: number): number {
    return this.#epochs.get(shard) ?? 0;
  }

  beginEpoch(from: number, shard: number, to: number): boolean {
    if (this.epoch(shard) !== from) return false;
    for (const row of this.#writers.values()) if (row.shard === shard) row.isSealed = true;
    this.#epochs.set(shard, to);
    return true;
  }

  read(key: HourKey, shards: readonly number[] | undefined): HourTotals | undefined {
    const parts = this.partsOf(key).filter(({ shard }) => shards === undefined || shards.includes(shard));
    if (parts.length === 0) return undefined;
    const sum = { clicks: 0, impressions: 0, users: new UserSketches() };
    for (const { clicks, impressions, users } of parts) {
      sum.clicks += clicks;
      sum.impressions += impressions;
      sum.users.merge(users);
    }
    return sum;
  }

  partsOf({ stream, hour }: HourKey): readonly Part[] {
    return [...this.#parts.values()].filter((part) => part.hour === hour && part.stream === stream);
  }

  get parts(): Iterable<Part> {
    return this.#parts.values();
  }

  readRange(range: HourRange): readonly { readonly record: HourRecord; readonly shard: number }[] {
    const parts = [...this.#parts.values()].filter((part) => includes(range, part)).sort(compareHours);
    return parts.map(({ shard, name: _, ...part }) => ({ record: { ...part, users: copyOf(part.users) }, shard }));
  }

  /** The rows of a table of writers. */
  get writers(): readonly { readonly writer: string; readonly events: number }[] {
    return Array.from(this.#writers, ([writer, { events }]) => ({ writer, events }));
  }

  streams(limit: number): readonly string[] {
    const names = new Set(Array.from(this.#parts.values(), ({ stream }) => stream));
    return [...names].sort().slice(0, limit);
  }

  dataSet(): DataSet {
    return TEST_DATA_SET;
  }

  newestHour(): number | undefined {
    let newest: number | undefined;
    for (const { hour } of this.#parts.values()) if (newest === undefined || hour > newest) newest = hour;
    return newest;
  }

  storedEvents(writers: readonly string[], shard: number | undefined): StoredEvents {
    let total = 0;
    for (const row of this.#writers.values()) if (shard === undefined || row.shard === shard) total += row.events;
    return { total, byWriter: new Map(writers.map((name) => [name, this.#writers.get(name)?.events ?? 0])) };
  }

  hourKeys(): readonly HourKey[] {
    const keys = new Map<string, HourKey>();
    const all: Iterable<HourKey>[] = [this.#parts.values(), this.deadLetters];
    for (const { stream, hour } of all.flatMap((list) => [...list])) {
      keys.set(hourKeyName(stream, hour), { stream, hour });
    }
    return [...keys.values()].sort(compareHours);
  }

  audit(key: HourKey, shard: number): HourAudit {
    const rows = (this.rows.get(hourKeyName(key.stream, key.hour)) ?? []).filter((row) => row.shard === shard);
    const letters = this.deadLetters.filter((row) => row.hour === key.hour && row.stream === key.stream);
    return {
      aggregate: this.read(key, [shard]),
      rows: rows.length === 0 ? undefined : countOf(rows),
      deadLetters: letters.filter((row) => row.shard === shard).length,
      erased: this.#erased.get(partName(key, shard)) ?? NOTHING_ERASED,
      retained: this.#bounds,
    };
  }

  rebuild(key: HourKey, shard: number): boolean {
    if (key.hour < this.#bounds.rowsFrom) return false;
    const { rows, erased, aggregate } = this.audit(key, shard);
    const name = partName(key, shard);
    const rebuilt = rebuiltHour(rows, erased, aggregate);
    if (rebuilt === undefined) this.#parts.delete(name);
    else this.#parts.set(name, { name: hourKeyName(key.stream, key.hour), ...key, shard, ...rebuilt });
    return true;
  }

  /** Only shard 0. */
  eraseUserRows({ user, stream }: UserSelection, hour: number): ErasedCounts {
    let erased = NOTHING_ERASED;
    for (const [name, rows] of this.rows) {
      const isMeant = (row: EventRow) => row.user === user && (stream === undefined || row.stream === stream);
      if (rows[0]?.hour !== hour || !rows.some(isMeant)) continue;
      const { clicks, impressions } = countOf(rows.filter(isMeant));
      const part = partName(rows[0], 0);
      const counts = { clicks, impressions, deadLetters: 0 };
      this.#erased.set(part, addErased(this.#erased.get(part) ?? NOTHING_ERASED, counts));
      this.rows.set(
        name,
        rows.filter((row) => !isMeant(row)),
      );
      erased = addErased(erased, counts);
    }
    return erased;
  }

  /** In primary-key order. */
  rowsOf(key: HourKey, after: RowKey | undefined, limit: number): RowPage {
    const { writer, seq, ordinal } = after ?? { writer: 0, seq: 0, ordinal: 0 };
    const place = (row: EventRow) => [this.#writers.get(row.writer)!.id, row.seq, row.ordinal] as const;
    const sorted = (this.rows.get(hourKeyName(key.stream, key.hour)) ?? [])
      .map((row) => ({ row, place: place(row) }))
      .sort((a, b) => compare(a.place, b.place))
      .filter((each) => after === undefined || compare(each.place, [writer, seq, ordinal]) > 0)
      .slice(0, limit);
    const last = sorted.at(-1)?.place;
    return {
      events: sorted.map(({ row }) => eventOf(row)),
      last: sorted.length < limit || last === undefined ? undefined : rowKey(last),
    };
  }

  /** Ordered by hour. */
  deadLettersOf(range?: UsersRange): readonly EventRow[] {
    return this.deadLetters.filter((row) => range === undefined || isIn(range, row));
  }

  userRows(range: UsersRange): readonly UserRow[] {
    const rows = [...this.rows.values()].flat().filter((row) => isIn(range, row));
    return rows.sort((a, b) => a.hour - b.hour);
  }

  retained(): RetentionBounds {
    return this.#bounds;
  }

  sweep(wanted: RetentionBounds): Swept {
    this.#bounds = laterBounds(this.#bounds, wanted);
    const dropped = { rows: 0, aggregates: 0 };
    for (const [name, rows] of this.rows) {
      if (rows[0]!.hour >= this.#bounds.rowsFrom) continue;
      dropped.rows += rows.length;
      this.rows.delete(name);
    }
    for (const [name, { hour }] of this.#parts) {
      if (hour < this.#bounds.aggregatesFrom && this.#parts.delete(name)) dropped.aggregates += 1;
    }
    return { ...dropped, partitions: 0, deadLetters: 0, isDone: true };
  }
}

function compareIdRows(a: IdRowKey, b: IdRowKey): number {
  return a.flushedAtMs - b.flushedAtMs || compare([a.writer, a.seq, a.piece], [b.writer, b.seq, b.piece]);
}

function* rowsOf(writer: string, { seq, groups }: JournaledBatch, of: WriterRow): Generator<EventRow> {
  const { shard, epoch } = of;
  let ordinal = 0;
  for (const { stream, hour, ats, clickFlags, users, ids } of groups) {
    for (let i = 0; i < users.length; i++, ordinal++) {
      const kind: Kind = clickFlags[i] ? "click" : "impression";
      const user = users[i]!;
      const register = TEST_USERS.registerOf(user);
      const id = ids?.[i] ?? null;
      yield { stream, hour, writer, seq, ordinal, at: ats[i]!, kind, user, register, id, shard, epoch };
    }
  }
}

export type Counts = Pick<Part, "clicks" | "impressions" | "users">;

export function addTo(counts: Counts, { kind, register }: EventRow): void {
  if (kind === "click") counts.clicks += 1;
  else counts.impressions += 1;
  counts.users.add(register, kind === "click");
}

export function countOf(rows: readonly EventRow[]): Counts {
  const counts = { clicks: 0, impressions: 0, users: new UserSketches() };
  for (const row of rows) addTo(counts, row);
  return counts;
}

function copyOf(users: UserSketches): UserSketches {
  const copy = new UserSketches();
  copy.merge(users);
  return copy;
}

type Place = readonly [writer: number, seq: number, ordinal: number];

function compare(a: Place, b: Place): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

function rowKey([writer, seq, ordinal]: Place): RowKey {
  return { writer, seq, ordinal };
}

function eventOf({ stream, at, kind, user, id }: EventRow): Event {
  return id === null ? { stream, at, kind, user } : { stream, at, kind, user, id };
}

function partName({ stream, hour }: HourKey, shard: number): string {
  return `${shard} ${hourKeyName(stream, hour)}`;
}

function isIn({ hours, streams }: UsersRange, { hour, stream }: HourKey): boolean {
  return hours.includes(hour) && selects(streams, stream);
}
