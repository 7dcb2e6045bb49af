/** The table `hourly` in SQLite: counts and sketches that grow by what a flush adds. */
import type { Database } from "bun:sqlite";
import type { HourKey } from "../../../domain/event.ts";
import type { HourTotals } from "../../../domain/hour-range.ts";
import {
  HOUR_COLUMNS,
  type HourAddition,
  type HourRow,
  hourOfRow,
  NO_USERS,
  raisedSketches,
} from "../../sql/hour-rows.ts";

const READ = `SELECT ${HOUR_COLUMNS} FROM hourly WHERE hour = ? AND stream = ?`;
const ADD = `
  INSERT INTO hourly (hour, stream, clicks, impressions, unique_users, viewers_sketch, clickers_sketch)
  VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (hour, stream) DO UPDATE SET
    clicks = clicks + excluded.clicks, impressions = impressions + excluded.impressions,
    unique_users = excluded.unique_users, viewers_sketch = excluded.viewers_sketch,
    clickers_sketch = excluded.clickers_sketch`;
const ADD_COUNTS = "UPDATE hourly SET clicks = clicks + ?, impressions = impressions + ? WHERE hour = ? AND stream = ?";

function readRow(database: Database, { stream, hour }: HourKey): HourRow | null {
  return database.query<HourRow, [number, string]>(READ).get(hour, stream);
}

export function readHour(database: Database, key: HourKey): HourTotals | undefined {
  const row = readRow(database, key);
  return row === null ? undefined : hourOfRow(row);
}

/** From one stream to the next, by the index: DISTINCT would read every hour. */
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

export function addToHour(database: Database, addition: HourAddition): void {
  const { hour, stream, clicks, impressions } = addition;
  const stored = readRow(database, addition) ?? NO_USERS;
  const raised = raisedSketches(stored, addition);
  if (raised === undefined) return void database.query(ADD_COUNTS).run(clicks, impressions, hour, stream);
  const { uniqueUsers, viewers = stored.viewers, clickers = stored.clickers } = raised;
  database.query(ADD).run(hour, stream, clicks, impressions, uniqueUsers, viewers, clickers);
}

export function replaceHour(database: Database, { stream, hour }: HourKey, counted?: HourTotals): void {
  database.query("DELETE FROM hourly WHERE hour = ? AND stream = ?").run(hour, stream);
  if (counted === undefined) return;
  const { clicks, impressions, users } = counted;
  const { viewers, clickers } = users.encode();
  database.query(ADD).run(hour, stream, clicks, impressions, users.count(), viewers, clickers);
}
