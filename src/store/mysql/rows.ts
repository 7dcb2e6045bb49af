/** Pages of rows of `events` in MySQL, in primary-key order. */
import type { HourKey } from "../../domain/event.ts";
import type { RowKey, RowPage } from "../cold.ts";
import { BEFORE_ALL_ROWS, type ListedRow, pageOf } from "../sql/rows.ts";
import type { MysqlSession } from "./connection/sql-session.ts";

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
