/**
 * Rows of `events`, for both databases: what a flush writes, and pages of them.
 *
 * Invariant: what a flush writes is in primary-key order. So two flushes into the same hours lock rows in the same
 * order, and rows are appended next to their neighbours.
 */
import type { Group, HourKey, JournaledBatch, Kind } from "../../domain/event.ts";
import type { RowKey, RowPage } from "../cold.ts";

export const EVENT_COLUMNS = "hour, stream, writer, seq, ordinal, at, kind, user, id";

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
