/**
 * What a flush writes, made from batches: the rows of `events`, and what is added to each row of `hourly`.
 *
 * Invariant: both come in the order of the table's primary key. Two flushes that touch the same hours
 * therefore lock them in the same order, and rows are appended where their neighbours lie.
 */
import { BatchBuilder, type Group, type JournaledBatch, withoutDuplicates } from "../domain/batch.ts";
import { type Event, type HourKey, hourKeyName, type Kind } from "../domain/event.ts";
import type { ErasedCounts } from "../domain/retention-bounds.ts";
import { UserSketches } from "../domain/user-sketches.ts";
import type { ColdHour } from "./cold.ts";

export const EVENT_COLUMNS = "hour, stream, writer, seq, ordinal, at, kind, user, id";

const COLUMNS_WITHOUT_ID = EVENT_COLUMNS.replace(", id", "");
/** By their numbers in the column's type (mysql/migrations/0001-tables.sql). */
const MYSQL_CLICK = 1;
const MYSQL_IMPRESSION = 2;

/** One row of `events`, in the order of EVENT_COLUMNS. `writer` is the writer's id in the database. */
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

/** What a flush adds to one hour of one stream. */
export interface HourAddition extends HourKey {
  clicks: number;
  impressions: number;
  readonly groups: Group[];
}

interface PlacedGroup extends HourKey {
  readonly seq: number;
  readonly firstOrdinal: number;
  readonly group: Group;
}

/** Events `from` to below `to` of a group. */
interface Span {
  readonly placed: PlacedGroup;
  readonly from: number;
  readonly to: number;
}

/** As the databases order them: a stream is ASCII, so comparing code units is comparing bytes. */
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

/** Rows of `events` that go in one statement. They are only built when asked for. */
export class RowPiece {
  readonly #writerId: number;
  readonly #spans: readonly Span[];
  readonly rowCount: number;

  constructor(writerId: number, spans: readonly Span[]) {
    this.#writerId = writerId;
    this.#spans = spans;
    this.rowCount = spans.reduce((sum, { from, to }) => sum + to - from, 0);
  }

  /**
   * What stands behind INSERT INTO events, on MySQL: "(hour, …) VALUES (…),(…)". `quote` makes a literal of a
   * text. Built here because an array for each row, to be looked at value by value, costs 3 times as much (1.2 µs a
   * row). The server takes 5 µs to read and store a row, and 4 if its kind is a number and no NULL stands for an id.
   */
  insertText(quote: (text: string) => string): string {
    const hasIds = this.#spans.some(({ placed }) => placed.group.ids !== null);
    let text = hasIds ? `(${EVENT_COLUMNS}) VALUES ` : `(${COLUMNS_WITHOUT_ID}) VALUES `;
    let separator = "";
    for (const { placed, from, to } of this.#spans) {
      const { hour, stream, seq, firstOrdinal, group } = placed;
      const { ats, clickFlags, users, ids } = group;
      const key = `(${hour},${quote(stream)},${this.#writerId},${seq},`;
      for (let i = from; i < to; i++) {
        const kind = clickFlags[i] === true ? MYSQL_CLICK : MYSQL_IMPRESSION;
        text += `${separator}${key}${firstOrdinal + i},${ats[i]},${kind},${quote(users[i]!)}`;
        if (hasIds) text += `,${idLiteral(ids?.[i] ?? null, quote)}`;
        text += ")";
        separator = ",";
      }
    }
    return text;
  }

  rows(): EventRow[] {
    const rows: EventRow[] = [];
    for (const { placed, from, to } of this.#spans) {
      for (let i = from; i < to; i++) rows.push(eventRow(this.#writerId, placed, i));
    }
    return rows;
  }

  /** Of a piece with at least two rows: two pieces, neither of them empty. */
  halves(): [RowPiece, RowPiece] {
    const middle = this.rowCount >> 1;
    const [left, right]: [Span[], Span[]] = [[], []];
    let before = 0;
    for (const { placed, from, to } of this.#spans) {
      const cut = Math.min(Math.max(from + middle - before, from), to);
      if (cut > from) left.push({ placed, from, to: cut });
      if (cut < to) right.push({ placed, from: cut, to });
      before += to - from;
    }
    return [new RowPiece(this.#writerId, left), new RowPiece(this.#writerId, right)];
  }
}

function idLiteral(id: string | null, quote: (text: string) => string): string {
  return id === null ? "NULL" : quote(id);
}

function eventRow(writerId: number, placed: PlacedGroup, i: number): EventRow {
  const { hour, stream, seq, firstOrdinal, group } = placed;
  const kind = group.clickFlags[i] === true ? "click" : "impression";
  const id = group.ids?.[i] ?? null;
  return [hour, stream, writerId, seq, firstOrdinal + i, group.ats[i]!, kind, group.users[i]!, id];
}

/** All rows, `rowsPerPiece` at a time: between two pieces the event loop can run. */
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

/** `refused`: the rows that were set aside, which no hour counts. */
export function hourAdditions(
  batches: readonly JournaledBatch[],
  refused: readonly EventRow[] = [],
): HourAddition[] {
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

/** For a row that comes alone. */
export function additionOf(event: Event): HourAddition {
  const group = new BatchBuilder().add(event);
  const { stream, hour, clicks, impressions } = group;
  return { stream, hour, clicks, impressions, groups: [group] };
}

/** As the table has them: no bytes for a sketch without users. */
export interface StoredSketches {
  readonly viewers: Uint8Array;
  readonly clickers: Uint8Array;
}

export interface HourRow extends StoredSketches {
  readonly clicks: number;
  readonly impressions: number;
}

/** Of StoredSketches, and of an HourRow, in both databases. */
export const SKETCH_COLUMNS = "viewers_sketch AS viewers, clickers_sketch AS clickers";
export const HOUR_COLUMNS = `clicks, impressions, ${SKETCH_COLUMNS}`;

export function hourOfRow({ clicks, impressions, viewers, clickers }: HourRow): ColdHour {
  return { clicks, impressions, users: UserSketches.decode(viewers, clickers) };
}

export const NO_USERS: StoredSketches = { viewers: new Uint8Array(), clickers: new Uint8Array() };

export interface RaisedSketches {
  readonly uniqueUsers: number;
  /** Undefined if it stays as it is. */
  readonly viewers: Buffer | undefined;
  readonly clickers: Buffer | undefined;
}

/** The hour's users after the flush; undefined if that raises none of their registers. */
export function raisedSketches(
  { viewers, clickers }: StoredSketches,
  { groups }: HourAddition,
): RaisedSketches | undefined {
  const users = UserSketches.decode(viewers, clickers);
  let [areViewersRaised, areClickersRaised] = [false, false];
  for (const { registers, clickFlags } of groups) {
    for (let i = 0; i < registers.length; i++) {
      const isClick = clickFlags[i]!;
      if (!users.add(registers[i]!, isClick)) continue;
      if (isClick) areClickersRaised = true;
      else areViewersRaised = true;
    }
  }
  if (!areViewersRaised && !areClickersRaised) return undefined;
  return {
    uniqueUsers: users.count(),
    viewers: areViewersRaised ? users.viewers.encode() : undefined,
    clickers: areClickersRaised ? users.clickers.encode() : undefined,
  };
}

/**
 * What an hour's aggregate has to be; undefined if nothing is left of the hour. With erased rows the sketches can't be
 * made anew, as their users are known to those which are `stored` alone.
 */
export function rebuiltHour(
  rows: ColdHour | undefined,
  erased: ErasedCounts,
  stored: ColdHour | undefined,
): ColdHour | undefined {
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

/** Of several shards; undefined if there is none. */
export function sumOfHours(parts: readonly ColdHour[]): ColdHour | undefined {
  const [first, ...others] = parts;
  if (first === undefined || others.length === 0) return first;
  const users = new UserSketches();
  let [clicks, impressions] = [0, 0];
  for (const part of parts) {
    clicks += part.clicks;
    impressions += part.impressions;
    users.merge(part.users);
  }
  return { clicks, impressions, users };
}
