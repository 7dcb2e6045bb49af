/** Where a scan of rows goes on: behind a row, by the primary key. */
import type { RowKey } from "../cold.ts";

/**
 * Behind a row of its hour and stream. Neither MySQL nor MariaDB takes `(writer, seq, ordinal) > (?, ?, ?)` for a
 * range of the key: they read the hour from its first row on for every piece. Spelled out it is three ranges.
 */
export const IS_BEHIND =
  "(writer > ? OR (writer = ? AND seq > ?) OR (writer = ? AND seq = ? AND ordinal > ?))";

/** The values of IS_BEHIND. */
export function placeOf({ writer, seq, ordinal }: RowKey): number[] {
  return [writer, writer, seq, writer, seq, ordinal];
}
