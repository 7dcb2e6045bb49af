/**
 * The statements that read ranges, for both databases, with their values.
 * Invariant: rows are in the order of their hours, so that a reader can finish one after the other.
 */
import type { HourKey } from "../../domain/event.ts";
import { endOfPrefix, type HourRange, type HourRecord, type StreamSelection } from "../../domain/hour-range.ts";
import { HOUR_COLUMNS, type HourRow, hourOfRow } from "./hour-rows.ts";

export type RangeRow = HourKey & HourRow;

export function recordOf(row: RangeRow): HourRecord {
  const { hour, stream } = row;
  return { hour, stream, ...hourOfRow(row) };
}

export interface Query {
  readonly sql: string;
  readonly values: (string | number)[];
}

/** `more`: further columns. */
export function hoursQuery({ from, to, streams }: HourRange, more: readonly string[] = []): Query {
  const { sql, values } = ofStreams(streams);
  const columns = ["hour", "stream", HOUR_COLUMNS, ...more];
  return {
    sql: `SELECT ${columns.join()} FROM hourly
      WHERE hour >= ? AND hour < ? ${sql} ORDER BY hour`,
    values: [from, to, ...values],
  };
}

/** Appended to a condition. Streams are ASCII, and compared byte by byte. */
export function ofStreams({ text, isPrefix }: StreamSelection): Query {
  if (!isPrefix) return { sql: "AND stream = ?", values: [text] };
  if (text === "") return { sql: "", values: [] };
  return { sql: "AND stream >= ? AND stream < ?", values: [text, endOfPrefix(text)] };
}
