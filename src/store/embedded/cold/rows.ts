/**
 * Rows of `events` and `hourly` in SQLite. An hour is the sum of its rows in `hourly`: one folded row, and the parts
 * that flushes have appended since.
 */
import { type Database, SQLiteError } from "bun:sqlite";
import type { HourKey } from "../../../domain/event.ts";
import { type HourTotals, sumOfHours } from "../../../domain/hour-range.ts";
import { errorText } from "../../../runtime/error-text.ts";
import type { RowKey, RowPage } from "../../cold.ts";
import {
  BEFORE_ALL_ROWS,
  EVENT_COLUMNS,
  type EventRow,
  HOUR_COLUMNS,
  type HourRow,
  hourOfRow,
  type ListedRow,
  type PartPlace,
  pageOf,
} from "../../sql/rows.ts";

const INSERT_EVENT = `INSERT INTO events (${EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const LIST_EVENTS = `
  SELECT writer, seq, ordinal, at, kind, user, id FROM events
  WHERE hour = ? AND stream = ? AND (writer, seq, ordinal) > (?, ?, ?)
  ORDER BY writer, seq, ordinal LIMIT ?`;
/** A violated constraint (including a trigger's), a value of the wrong type or too long. */
const REFUSED_DATA = /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/;

/** SQLite's error text if it refuses the row, else undefined. */
export function insertRow(database: Database, row: EventRow): string | undefined {
  try {
    database.query(INSERT_EVENT).run(...row);
    return undefined;
  } catch (error) {
    if (error instanceof SQLiteError && REFUSED_DATA.test(error.code ?? "")) return errorText(error);
    throw error;
  }
}

export function listRows(
  database: Database,
  { stream, hour }: HourKey,
  after: RowKey | undefined,
  limit: number,
): RowPage {
  const { writer, seq, ordinal } = after ?? BEFORE_ALL_ROWS;
  const query = database.query<ListedRow, (number | string)[]>(LIST_EVENTS);
  const rows = query.all(hour, stream, writer, seq, ordinal, limit);
  return pageOf(stream, rows, limit);
}

const READ_HOUR = `SELECT ${HOUR_COLUMNS} FROM hourly WHERE hour = ? AND stream = ?`;
const INSERT_HOUR = `
  INSERT INTO hourly (hour, stream, writer, seq, clicks, impressions, viewers_sketch, clickers_sketch)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?)`;

const FOLDED: PartPlace = { writer: 0, seq: 0 };

export function readHour(database: Database, { stream, hour }: HourKey): HourTotals | undefined {
  return sumOfHours(database.query<HourRow, [number, string]>(READ_HOUR).all(hour, stream).map(hourOfRow));
}

/** Jumps from stream to stream in the index: DISTINCT would read every hour. */
const LIST_STREAMS = `
  WITH RECURSIVE streams (stream) AS (
    SELECT MIN(stream) FROM hourly
    UNION ALL
    SELECT (SELECT MIN(stream) FROM hourly WHERE stream > streams.stream) FROM streams WHERE stream IS NOT NULL
  )
  SELECT stream FROM streams WHERE stream IS NOT NULL LIMIT ?`;

export function listStreams(database: Database, limit: number): string[] {
  const rows = database.query<{ stream: string }, [number]>(LIST_STREAMS).all(limit);
  return rows.map(({ stream }) => stream);
}

export function appendPart(database: Database, key: HourKey, counted: HourTotals, part: PartPlace): void {
  const { clicks, impressions, users } = counted;
  const { viewers, clickers } = users.encode();
  const values = [key.hour, key.stream, part.writer, part.seq, clicks, impressions, viewers, clickers];
  database.query(INSERT_HOUR).run(...values);
}

/** `more`: parts to add. */
export function foldHour(database: Database, key: HourKey, more: readonly HourTotals[] = []): void {
  const stored = readHour(database, key);
  replaceHour(database, key, sumOfHours(stored === undefined ? more : [stored, ...more]));
}

export function replaceHour(database: Database, key: HourKey, counted?: HourTotals): void {
  database.query("DELETE FROM hourly WHERE hour = ? AND stream = ?").run(key.hour, key.stream);
  if (counted !== undefined) appendPart(database, key, counted, FOLDED);
}
