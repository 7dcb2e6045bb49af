/** Rows of `events` in SQLite. */
import { type Database, SQLiteError } from "bun:sqlite";
import type { HourKey } from "../../../domain/event.ts";
import { errorText } from "../../../runtime/error-text.ts";
import type { RowKey, RowPage } from "../../cold.ts";
import { BEFORE_ALL_ROWS, EVENT_COLUMNS, type EventRow, type ListedRow, pageOf } from "../../sql/rows.ts";

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
