/** What the tables of SQLite come to, counted from the rows themselves; and the rows. */
import type { Database } from "bun:sqlite";
import type { HourKey } from "../../domain/event.ts";
import { registerOf } from "../../domain/sketch.ts";
import { UserSketches } from "../../domain/user-sketches.ts";
import type { ColdHour, RowKey, RowPage, StoredEvents } from "../cold.ts";
import { BEFORE_ALL_ROWS, type ListedRow, pageOf } from "../sql/row-page.ts";

const LIST_HOURS = `
  SELECT hour, stream FROM hourly
  UNION SELECT DISTINCT hour, stream FROM events
  UNION SELECT hour, stream FROM dead_letters
  ORDER BY hour, stream`;

export function recountHour(database: Database, { stream, hour }: HourKey): ColdHour | undefined {
  const query = database.query<{ kind: "click" | "impression"; user: string }, [number, string]>(
    "SELECT kind, user FROM events WHERE hour = ? AND stream = ?",
  );
  const [users, counts] = [new UserSketches(), { click: 0, impression: 0 }];
  for (const { kind, user } of query.iterate(hour, stream)) {
    counts[kind] += 1;
    users.add(registerOf(user), kind === "click");
  }
  const { click: clicks, impression: impressions } = counts;
  return clicks + impressions === 0 ? undefined : { clicks, impressions, users };
}

/** By the primary key from where the page before ended. */
const LIST_ROWS = `
  SELECT writer, seq, ordinal, at, kind, user, id FROM events
  WHERE hour = ? AND stream = ? AND (writer, seq, ordinal) > (?, ?, ?)
  ORDER BY writer, seq, ordinal LIMIT ?`;

export function listRows(
  database: Database,
  { stream, hour }: HourKey,
  after: RowKey | undefined,
  limit: number,
): RowPage {
  const { writer, seq, ordinal } = after ?? BEFORE_ALL_ROWS;
  const query = database.query<ListedRow, (number | string)[]>(LIST_ROWS);
  const rows = query.all(hour, stream, writer, seq, ordinal, limit);
  return pageOf(stream, rows, limit);
}

export function listHourKeys(database: Database): HourKey[] {
  return database.query<HourKey, []>(LIST_HOURS).all();
}

export function countStoredEvents(database: Database, writers: readonly string[]): StoredEvents {
  const all = database.query<{ total: number | null }, []>("SELECT SUM(events) AS total FROM writers");
  const one = database.query<{ events: number }, [string]>("SELECT events FROM writers WHERE writer = ?");
  // A transaction: all that is read in it is of one instant.
  return database.transaction(() => {
    const found = writers.map((writer) => [writer, one.get(writer)?.events ?? 0] as const);
    return { total: all.get()?.total ?? 0, byWriter: new Map(found) };
  })();
}
