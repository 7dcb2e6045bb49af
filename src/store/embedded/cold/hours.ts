/**
 * Rows of `hourly` in SQLite. An hour is the sum of its rows: one folded row, and the parts that flushes have appended
 * since.
 */
import type { Database } from "bun:sqlite";
import type { HourKey } from "../../../domain/event.ts";
import { type HourTotals, sumOfHours } from "../../../domain/hour-range.ts";
import { HOUR_COLUMNS, type HourRow, hourOfRow, type PartPlace } from "../../sql/hours.ts";

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
