/** The table `hourly` in SQLite: counts and sketches that grow by what a flush adds. */
import type { Database } from "bun:sqlite";
import type { HourKey } from "../count/event.ts";
import { Sketch } from "../count/sketch.ts";
import { type HourAddition, raisedSketch } from "./aggregate.ts";
import type { ColdHour } from "./cold.ts";

const READ = "SELECT clicks, impressions, users_sketch FROM hourly WHERE hour = ? AND stream = ?";
const ADD = `
  INSERT INTO hourly (hour, stream, clicks, impressions, unique_users, users_sketch) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (hour, stream) DO UPDATE SET
    clicks = clicks + excluded.clicks, impressions = impressions + excluded.impressions,
    unique_users = excluded.unique_users, users_sketch = excluded.users_sketch`;
const ADD_COUNTS =
  "UPDATE hourly SET clicks = clicks + ?, impressions = impressions + ? WHERE hour = ? AND stream = ?";

interface HourRow {
  readonly clicks: number;
  readonly impressions: number;
  readonly users_sketch: Uint8Array;
}

function readRow(database: Database, { stream, hour }: HourKey): HourRow | null {
  return database.query<HourRow, [number, string]>(READ).get(hour, stream);
}

export function readHour(database: Database, key: HourKey): ColdHour | undefined {
  const row = readRow(database, key);
  if (row === null) return undefined;
  return { clicks: row.clicks, impressions: row.impressions, sketch: Sketch.decode(row.users_sketch) };
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
  const stored = readRow(database, addition)?.users_sketch ?? new Uint8Array();
  const sketch = raisedSketch(stored, addition);
  if (sketch === undefined) database.query(ADD_COUNTS).run(clicks, impressions, hour, stream);
  else database.query(ADD).run(hour, stream, clicks, impressions, sketch.count(), sketch.encode());
}

export function replaceHour(database: Database, { stream, hour }: HourKey, counted?: ColdHour): void {
  database.query("DELETE FROM hourly WHERE hour = ? AND stream = ?").run(hour, stream);
  if (counted === undefined) return;
  const { clicks, impressions, sketch } = counted;
  database.query(ADD).run(hour, stream, clicks, impressions, sketch.count(), sketch.encode());
}
