/**
 * Ranges read from SQLite, a piece at a time.
 *
 * Invariant: each reading has a connection of its own. On a shared one it would keep its snapshot open between
 * two pieces, and every other read would see that instead of what is stored by then.
 */
import { Database } from "bun:sqlite";
import type { HourRange, HourRecord } from "../../domain/hour-range.ts";
import { letOthersRun } from "../../runtime/yield.ts";
import type { UserRow, UsersRange } from "../cold.ts";
import { hoursQuery, ofStreams, type Query, type RangeRow, recordOf } from "../sql/range-sql.ts";

/** About 2 ms of reading the largest sketches. */
const HOURS_PER_PIECE = 20;
/** About 1 ms. */
const USERS_PER_PIECE = 1_000;
/** As for all readers: they are only ever kept out for an instant. */
const LOCK_TIMEOUT_MS = 100;

export async function readRange(
  path: string,
  range: HourRange,
  visit: (hour: HourRecord) => void,
): Promise<void> {
  await eachRow<RangeRow>(path, hoursQuery(range), HOURS_PER_PIECE, (row) => visit(recordOf(row)));
}

export async function readUsers(
  path: string,
  { hours, streams }: UsersRange,
  visit: (row: UserRow) => void,
): Promise<void> {
  const { sql, values } = ofStreams(streams);
  const query = {
    sql: `SELECT hour, kind, user FROM events
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
    database.run(`PRAGMA busy_timeout = ${LOCK_TIMEOUT_MS}`);
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
