/**
 * Reads of SQLite; ranges are read in pieces.
 *
 * Invariant: each read of a range has its own connection. On a shared one its snapshot would stay open between pieces,
 * and all other reads would see that old snapshot.
 */
import { Database } from "bun:sqlite";
import type { HourRange } from "../../../domain/hour-range.ts";
import { letOthersRun } from "../../../runtime/clock.ts";
import type { HourPartVisitor, ReadStore, StoredEvents, UserRow, UsersRange } from "../../cold.ts";
import { HourSums, hoursQuery, ofStreams, type Query, type RangeRow } from "../../sql/range-sql.ts";
import { READ_LOCK_TIMEOUT_MS, type SqliteDatabase } from "./database.ts";
import { listStreams, readHour } from "./hours.ts";

/** About 2 ms, with the largest sketches. */
const HOURS_PER_PIECE = 20;
/** About 1 ms. */
const USERS_PER_PIECE = 1_000;

export function readRole(database: SqliteDatabase): ReadStore {
  return {
    pastReads: undefined,
    read: (key) => database.read(`read hour ${key.hour} of stream ${key.stream}`, (reading) => readHour(reading, key)),
    readRange: (range, visit) =>
      database.readInPieces("read a range of hours", visit, (path, visitor) => readRange(path, range, visitor)),
    readUsers: (range, visit) =>
      database.readInPieces("read users", visit, (path, visitor) => readUsers(path, range, visitor)),
    streams: (limit) => database.read("list streams", (reading) => listStreams(reading, limit)),
    newestHour: () =>
      database.read("read the newest hour", (reading) => {
        const query = reading.query<{ newest: number | null }, []>("SELECT MAX(hour) AS newest FROM hourly");
        return query.get()?.newest ?? undefined;
      }),
    storedEvents: (writers) => database.read("count stored events", (reading) => countStoredEvents(reading, writers)),
  };
}

async function readRange(path: string, range: HourRange, visit: HourPartVisitor): Promise<void> {
  const hours = new HourSums(visit);
  await eachRow<RangeRow>(path, hoursQuery(range, "hour, stream"), HOURS_PER_PIECE, (row) => hours.add(row));
  hours.end();
}

async function readUsers(path: string, { hours, streams }: UsersRange, visit: (row: UserRow) => void): Promise<void> {
  const { sql, values } = ofStreams(streams);
  const query = {
    sql: `SELECT hour, at, kind, user FROM events
      WHERE hour IN (SELECT value FROM json_each(?)) ${sql} ORDER BY hour`,
    values: [JSON.stringify(hours), ...values],
  };
  await eachRow<UserRow>(path, query, USERS_PER_PIECE, visit);
}

async function eachRow<Row>(
  path: string,
  { sql, values }: Query,
  rowsPerPiece: number,
  visit: (row: Row) => void,
): Promise<void> {
  const database = new Database(path, { readonly: true, strict: true });
  try {
    database.run(`PRAGMA busy_timeout = ${READ_LOCK_TIMEOUT_MS}`);
    const statement = database.prepare<Row, (string | number)[]>(sql);
    let rows = 0;
    for (const row of statement.iterate(...values)) {
      visit(row);
      rows += 1;
      if (rows % rowsPerPiece === 0) await letOthersRun();
    }
  } finally {
    database.close();
  }
}

function countStoredEvents(database: Database, writers: readonly string[]): StoredEvents {
  const all = database.query<{ total: number | null }, []>("SELECT SUM(events) AS total FROM writers");
  const one = database.query<{ events: number }, [string]>("SELECT events FROM writers WHERE writer = ?");
  // One transaction, so that all reads see one snapshot.
  return database.transaction(() => {
    const found = writers.map((writer) => [writer, one.get(writer)?.events ?? 0] as const);
    return { total: all.get()?.total ?? 0, byWriter: new Map(found) };
  })();
}
