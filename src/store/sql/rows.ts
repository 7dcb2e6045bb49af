/**
 * Rows of `events` and `hourly`, for both databases: what a flush writes, which hours it folds, and what a row holds.
 *
 * Invariant: what a flush writes is in primary-key order. So two flushes into the same hours lock rows in the same
 * order, and rows are appended next to their neighbours.
 */
import {
  BatchBuilder,
  type Event,
  type Group,
  type HourKey,
  hashUsers,
  hourKeyName,
  type JournaledBatch,
  type Kind,
  withoutDuplicates,
} from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import type { ErasedCounts } from "../../domain/retention-bounds.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import type { UserHash } from "../../domain/unique-users/user-hash.ts";
import type { RowKey, RowPage } from "../cold.ts";

export const EVENT_COLUMNS = "hour, stream, writer, seq, ordinal, at, kind, user, id";
export const HOUR_COLUMNS = "clicks, impressions, viewers_sketch AS viewers, clickers_sketch AS clickers";

const PARTS_MAX = 32;
/** An hour if flushes are a second apart; less under load. */
const FLUSHES_MAX = 3_600;
/** About 200 bytes each. */
const HOURS_MAX = 50_000;
const OLD_HOURS_PER_FLUSH = 50;

/** Names a flush in messages. `batches`: at least one. */
export function flushName(writer: string, batches: readonly JournaledBatch[]): string {
  return `flush batches ${batches[0]?.seq} to ${batches.at(-1)?.seq} of writer ${writer}`;
}

/** One row of `events`, in the order of EVENT_COLUMNS. `writer` is its numeric id in the database. */
export type EventRow = [
  hour: number,
  stream: string,
  writer: number,
  seq: number,
  ordinal: number,
  at: number,
  kind: Kind,
  user: string,
  id: string | null,
];

interface PlacedGroup extends HourKey {
  readonly seq: number;
  readonly firstOrdinal: number;
  readonly group: Group;
}

/** Events `from` (included) to `to` (excluded) of a group. */
interface Span {
  readonly placed: PlacedGroup;
  readonly from: number;
  readonly to: number;
}

/** The databases' order: stream names are ASCII, so comparing code units compares bytes. */
export function compareHours(a: HourKey, b: HourKey): number {
  if (a.hour !== b.hour) return a.hour - b.hour;
  if (a.stream === b.stream) return 0;
  return a.stream < b.stream ? -1 : 1;
}

function placeGroups(batches: readonly JournaledBatch[]): PlacedGroup[] {
  const placed: PlacedGroup[] = [];
  for (const { seq, groups } of batches) {
    let firstOrdinal = 0;
    for (const group of groups) {
      placed.push({ hour: group.hour, stream: group.stream, seq, firstOrdinal, group });
      firstOrdinal += group.users.length;
    }
  }
  return placed.sort((a, b) => compareHours(a, b) || a.seq - b.seq);
}

/** The rows of one statement, built on demand. */
export class RowPiece {
  readonly writerId: number;
  readonly spans: readonly Span[];
  readonly rowCount: number;

  constructor(writerId: number, spans: readonly Span[]) {
    this.writerId = writerId;
    this.spans = spans;
    this.rowCount = spans.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  rows(): EventRow[] {
    const rows: EventRow[] = [];
    for (const { placed, from, to } of this.spans) {
      for (let i = from; i < to; i++) rows.push(eventRow(this.writerId, placed, i));
    }
    return rows;
  }

  /** Splits it into two non-empty pieces. Requires at least two rows. */
  halves(): [RowPiece, RowPiece] {
    const middle = this.rowCount >> 1;
    const [left, right]: [Span[], Span[]] = [[], []];
    let before = 0;
    for (const { placed, from, to } of this.spans) {
      const cut = Math.min(Math.max(from + middle - before, from), to);
      if (cut > from) left.push({ placed, from, to: cut });
      if (cut < to) right.push({ placed, from: cut, to });
      before += to - from;
    }
    return [new RowPiece(this.writerId, left), new RowPiece(this.writerId, right)];
  }
}

function eventRow(writerId: number, placed: PlacedGroup, i: number): EventRow {
  const { hour, stream, seq, firstOrdinal, group } = placed;
  const kind = group.clickFlags[i] === true ? "click" : "impression";
  const id = group.ids?.[i] ?? null;
  return [hour, stream, writerId, seq, firstOrdinal + i, group.ats[i]!, kind, group.users[i]!, id];
}

/** All rows, `rowsPerPiece` at a time, so that the event loop can run in between. */
export function* rowPieces(
  writerId: number,
  batches: readonly JournaledBatch[],
  rowsPerPiece: number,
): Generator<RowPiece> {
  let spans: Span[] = [];
  let room = rowsPerPiece;
  for (const placed of placeGroups(batches)) {
    const count = placed.group.users.length;
    for (let from = 0; from < count; ) {
      const to = Math.min(count, from + room);
      spans.push({ placed, from, to });
      room -= to - from;
      from = to;
      if (room > 0) continue;
      yield new RowPiece(writerId, spans);
      spans = [];
      room = rowsPerPiece;
    }
  }
  if (spans.length > 0) yield new RowPiece(writerId, spans);
}

export interface ListedRow extends RowKey {
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
  readonly id: string | null;
}

/** Numeric ids of writers begin at 1. */
export const BEFORE_ALL_ROWS: RowKey = { writer: 0, seq: 0, ordinal: 0 };

export function pageOf(stream: string, rows: readonly ListedRow[], limit: number): RowPage {
  const events = rows.map(({ at, kind, user, id }) => {
    return id === null ? { stream, at, kind, user } : { stream, at, kind, user, id };
  });
  const end = rows.length < limit ? undefined : rows.at(-1);
  return { events, last: end && { writer: end.writer, seq: end.seq, ordinal: end.ordinal } };
}

export interface HourAddition extends HourKey {
  clicks: number;
  impressions: number;
  readonly groups: Group[];
}

/** `refused`: dead letters, which count in no hour. */
export function hourAdditions(batches: readonly JournaledBatch[], refused: readonly EventRow[] = []): HourAddition[] {
  const additions = new Map<string, HourAddition>();
  for (const { groups } of refused.length === 0 ? batches : withoutRows(batches, refused)) {
    for (const group of groups) {
      const { stream, hour } = group;
      if (group.users.length === 0) continue;
      const name = hourKeyName(stream, hour);
      let addition = additions.get(name);
      if (addition === undefined) {
        addition = { stream, hour, clicks: 0, impressions: 0, groups: [] };
        additions.set(name, addition);
      }
      addition.clicks += group.clicks;
      addition.impressions += group.impressions;
      addition.groups.push(group);
    }
  }
  return [...additions.values()].sort(compareHours);
}

function withoutRows(batches: readonly JournaledBatch[], rows: readonly EventRow[]): JournaledBatch[] {
  const ordinals = Map.groupBy(rows, ([, , , seq]) => seq);
  return batches.map((batch) => {
    const dropped = ordinals.get(batch.seq) ?? [];
    return withoutDuplicates(
      batch.seq,
      batch,
      dropped.map(([, , , , ordinal]) => ordinal),
    );
  });
}

export function additionOf(event: Event, hash: UserHash): HourAddition {
  const batch = new BatchBuilder();
  const group = batch.add(event);
  hashUsers(batch, hash);
  const { stream, hour, clicks, impressions } = group;
  return { stream, hour, clicks, impressions, groups: [group] };
}

/** A writer's batches through `seq`; `writer` is its numeric id in the database. */
export interface PartPlace {
  readonly writer: number;
  readonly seq: number;
}

export interface HourRow {
  readonly clicks: number;
  readonly impressions: number;
  /** Empty for a sketch without users. */
  readonly viewers: Uint8Array;
  readonly clickers: Uint8Array;
}

export function hourOfRow({ clicks, impressions, viewers, clickers }: HourRow): HourTotals {
  return { clicks, impressions, users: UserSketches.decode(viewers, clickers) };
}

export function totalsOf({ clicks, impressions, groups }: HourAddition): HourTotals {
  const users = new UserSketches();
  for (const { registers, clickFlags } of groups) {
    for (let i = 0; i < registers.length; i++) users.add(registers[i]!, clickFlags[i]!);
  }
  return { clicks, impressions, users };
}

/**
 * The correct aggregate of an hour; undefined if it has no events. After an erasure only the `stored` sketches know the
 * erased users, so they are merged in.
 */
export function rebuiltHour(
  rows: HourTotals | undefined,
  erased: ErasedCounts,
  stored: HourTotals | undefined,
): HourTotals | undefined {
  const { clicks, impressions } = erased;
  if (clicks + impressions === 0) return rows;
  const users = rows?.users ?? new UserSketches();
  if (stored !== undefined) users.merge(stored.users);
  return {
    clicks: clicks + (rows?.clicks ?? 0),
    impressions: impressions + (rows?.impressions ?? 0),
    users,
  };
}

interface UnfoldedHour extends HourKey {
  parts: number;
  readonly firstFlush: number;
  readonly partsMax: number;
}

/**
 * Decides which hours a flush folds. Each flush appends a part (a row of `hourly`) to every hour it has events of.
 * Merging into one row instead would read and write the sketches of 1,000 streams per flush (measured:
 * docs/performance-trials.md). From time to time the parts of an hour are folded into one row.
 *
 * The counts are this process's own, in memory. After a crash, a failed flush, or too many hours at once, some hours
 * have more parts than planned; readers add up whatever parts there are.
 *
 * Invariant: between two flushes at most HOURS_MAX hours are in memory.
 */
export class UnfoldedHours {
  readonly #partsMax: number;
  /** Ordered by oldest part. */
  readonly #hours = new Map<string, UnfoldedHour>();
  #flushes = 0;
  #stagger = 0;

  constructor(partsMax = PARTS_MAX) {
    this.#partsMax = partsMax;
  }

  /** Counts the part that a flush appends to each hour. Returns the hours to fold, in primary-key order. */
  append(hours: readonly HourKey[]): HourKey[] {
    this.#flushes += 1;
    const due: HourKey[] = [];
    for (const key of hours) {
      const name = hourKeyName(key.stream, key.hour);
      const unfolded = this.#hours.get(name) ?? this.#begin(name, key);
      unfolded.parts += 1;
      if (unfolded.parts < unfolded.partsMax) continue;
      this.#hours.delete(name);
      due.push(unfolded);
    }
    return [...due, ...this.#takeOld()].sort(compareHours);
  }

  /** Staggers the thresholds, so that equally busy hours are not all folded by the same flush. */
  #begin(name: string, { stream, hour }: HourKey): UnfoldedHour {
    this.#stagger = (this.#stagger + 1) % Math.ceil(this.#partsMax / 2);
    const partsMax = this.#partsMax - this.#stagger;
    const begun = { stream, hour, parts: 0, firstFlush: this.#flushes, partsMax };
    this.#hours.set(name, begun);
    return begun;
  }

  /** The number of hours whose parts are counted. */
  get size(): number {
    return this.#hours.size;
  }

  #takeOld(): HourKey[] {
    const old: HourKey[] = [];
    for (const [name, unfolded] of this.#hours) {
      const isTooMany = this.#hours.size > HOURS_MAX;
      const isOld = this.#flushes - unfolded.firstFlush >= FLUSHES_MAX;
      if (!isTooMany && (!isOld || old.length === OLD_HOURS_PER_FLUSH)) break;
      this.#hours.delete(name);
      if (unfolded.parts > 1 && old.length < OLD_HOURS_PER_FLUSH) old.push(unfolded);
    }
    return old;
  }
}
