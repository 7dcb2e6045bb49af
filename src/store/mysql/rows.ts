/** Inserts rows of `events` into MySQL, and lists them page by page. */
import type { HourKey } from "../../domain/event.ts";
import type { RowKey, RowPage } from "../cold.ts";
import { EVENT_COLUMNS, type EventRow, type RowPiece } from "../sql/event-rows.ts";
import { BEFORE_ALL_ROWS, type ListedRow, pageOf } from "../sql/row-page.ts";
import { type MysqlSession, quote, STATEMENT_MAX_BYTES } from "./connection/sql-session.ts";

export interface RefusedRow {
  readonly row: EventRow;
  readonly reason: string;
}

const COLUMNS_WITHOUT_ID = EVENT_COLUMNS.replace(", id", "");
/** Their numbers in the column's ENUM (migrations/0001-tables.sql). */
const CLICK = 1;
const IMPRESSION = 2;
/** Per UTF-16 unit. */
const UTF8_BYTES_MAX = 3;

/** Returns the rows that the server refuses, found by bisection. A statement that is too long is also halved. */
export async function insertRows(session: MysqlSession, piece: RowPiece): Promise<RefusedRow[]> {
  const text = `INSERT INTO events ${insertText(piece)}`;
  const isShort = text.length * UTF8_BYTES_MAX <= STATEMENT_MAX_BYTES || Buffer.byteLength(text) <= STATEMENT_MAX_BYTES;
  if (piece.rowCount === 1 || isShort) {
    const reason = await session.tryRun(text);
    if (reason === undefined) return [];
    if (piece.rowCount === 1) return [{ row: piece.rows()[0]!, reason }];
  }
  const [left, right] = piece.halves();
  return [...(await insertRows(session, left)), ...(await insertRows(session, right))];
}

/**
 * "(hour, …) VALUES (…),(…)". Built here, since an array per row, which mysql2 walks value by value, costs 3 times as
 * much (1.2 µs per row). The server takes 5 µs to read and store a row, and 4 if its kind is a number and its id is not
 * a NULL.
 */
function insertText({ writerId, spans }: RowPiece): string {
  const hasIds = spans.some(({ placed }) => placed.group.ids !== null);
  let text = hasIds ? `(${EVENT_COLUMNS}) VALUES ` : `(${COLUMNS_WITHOUT_ID}) VALUES `;
  let separator = "";
  let [lastHour, lastStream, place] = [-1, "", ""];
  for (const { placed, from, to } of spans) {
    const { hour, stream, seq, firstOrdinal, group } = placed;
    const { ats, clickFlags, users, ids } = group;
    if (hour !== lastHour || stream !== lastStream) {
      [lastHour, lastStream, place] = [hour, stream, `(${hour},${quote(stream)},${writerId},`];
    }
    const key = `${place}${seq},`;
    for (let i = from; i < to; i++) {
      const kind = clickFlags[i] === true ? CLICK : IMPRESSION;
      text += `${separator}${key}${firstOrdinal + i},${ats[i]},${kind},${quote(users[i]!)}`;
      if (hasIds) text += `,${idLiteral(ids?.[i] ?? null)}`;
      text += ")";
      separator = ",";
    }
  }
  return text;
}

function idLiteral(id: string | null): string {
  return id === null ? "NULL" : quote(id);
}

/**
 * True for rows after a given one of the same hour and stream. MySQL and MariaDB do not use
 * `(writer, seq, ordinal) > (?, ?, ?)` as a range of the key: for every page they would read the hour from its first
 * row. Spelled out, it is three ranges.
 */
export const IS_AFTER = "(writer > ? OR (writer = ? AND seq > ?) OR (writer = ? AND seq = ? AND ordinal > ?))";

/** The values of IS_AFTER. */
export function placeOf({ writer, seq, ordinal }: RowKey): number[] {
  return [writer, writer, seq, writer, seq, ordinal];
}

export async function listRows(
  session: MysqlSession,
  { stream, hour }: HourKey,
  after: RowKey | undefined,
  limit: number,
): Promise<RowPage> {
  const query = `SELECT writer, seq, ordinal, at, kind, user, id FROM events
    WHERE hour = ? AND stream = ? AND ${IS_AFTER} ORDER BY writer, seq, ordinal LIMIT ?`;
  const place = placeOf(after ?? BEFORE_ALL_ROWS);
  type BytesRow = Omit<ListedRow, "user" | "id"> & { user: Buffer; id: Buffer | null };
  const rows = await session.rows<BytesRow>(query, [hour, stream, ...place, limit]);
  const texts = rows.map((row) => ({ ...row, user: row.user.toString(), id: row.id?.toString() ?? null }));
  return pageOf(stream, texts, limit);
}
