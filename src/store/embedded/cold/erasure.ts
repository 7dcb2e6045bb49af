/**
 * Finds and deletes a user's rows in SQLite, and records their numbers.
 *
 * Invariant: a row is deleted in the transaction that adds it to `erased_events`, so rows plus erased rows always equal
 * the aggregate.
 */
import type { Database } from "bun:sqlite";
import type { HourKey } from "../../../domain/event.ts";
import { addErased, type ErasedCounts, NOTHING_ERASED } from "../../../domain/retention-bounds.ts";
import type { ErasedHour, ErasureStore, UserSelection, UsersRange } from "../../cold.ts";
import { ERASED_COLUMNS, type FoundRow, ofUser, userCounts } from "../../sql/erasure.ts";
import { ofStreams } from "../../sql/range-sql.ts";
import { BEFORE_ALL_ROWS } from "../../sql/rows.ts";
import type { SqliteDatabase } from "./database.ts";

/** One transaction's worth: about 5 ms, for which a flush waits. */
const ROWS_PER_PIECE = 1_000;

type Values = (string | number)[];

export function erasureRole(database: SqliteDatabase): ErasureStore {
  return {
    ...userCounts(database.sql),
    eraseUserRows: (selection, hour) => eraseUserRows(database, selection, hour),
    async eraseUserDeadLetters(selection) {
      const what = "erase a user's dead letters";
      await database.overwriteDeleted(what);
      return await database.transaction(what, (writing) => eraseUserDeadLetters(writing, selection));
    },
    erasedRows: (range) => database.read("list erased rows", (reading) => listErased(reading, range)),
  };
}

async function eraseUserRows(database: SqliteDatabase, selection: UserSelection, hour: number): Promise<ErasedCounts> {
  const what = `erase a user's rows of hour ${hour}`;
  await database.overwriteDeleted(what);
  let erased = NOTHING_ERASED;
  for (let last: FoundRow | undefined; ; ) {
    const after = last;
    const rows = await database.read(what, (reading) => findUserRows(reading, selection, hour, after));
    if (rows.length > 0) {
      const piece = await database.transaction(what, (writing) => eraseRows(writing, hour, rows));
      erased = addErased(erased, piece);
    }
    if (rows.length < ROWS_PER_PIECE) return erased;
    last = rows.at(-1);
  }
}

/** In primary-key order, after `after`; fewer than ROWS_PER_PIECE if these are the last. */
function findUserRows(
  database: Database,
  selection: UserSelection,
  hour: number,
  after: FoundRow | undefined,
): FoundRow[] {
  const { sql, values } = ofUser(selection, String);
  const { stream, writer, seq, ordinal } = after ?? { ...BEFORE_ALL_ROWS, stream: "" };
  const query = database.query<FoundRow, Values>(
    `SELECT stream, writer, seq, ordinal, kind FROM events
     WHERE hour = ? AND ${sql} AND (stream, writer, seq, ordinal) > (?, ?, ?, ?)
     ORDER BY stream, writer, seq, ordinal LIMIT ${ROWS_PER_PIECE}`,
  );
  return query.all(hour, ...values, stream, writer, seq, ordinal);
}

const DELETE_ROW = "DELETE FROM events WHERE hour = ? AND stream = ? AND writer = ? AND seq = ? AND ordinal = ?";

/** Call it within a transaction. Returns what it deleted, since a concurrent erasure may have been faster. */
function eraseRows(database: Database, hour: number, rows: readonly FoundRow[]): ErasedCounts {
  let [clicks, impressions] = [0, 0];
  for (const [stream, ofStream] of Map.groupBy(rows, (row) => row.stream)) {
    const deleted = { click: 0, impression: 0 };
    for (const { writer, seq, ordinal, kind } of ofStream) {
      deleted[kind] += database.query(DELETE_ROW).run(hour, stream, writer, seq, ordinal).changes;
    }
    note(database, { hour, stream }, deleted.click, deleted.impression, 0);
    clicks += deleted.click;
    impressions += deleted.impression;
  }
  return { ...NOTHING_ERASED, clicks, impressions };
}

function note(
  database: Database,
  { hour, stream }: HourKey,
  clicks: number,
  impressions: number,
  deadLetters: number,
): void {
  if (clicks + impressions + deadLetters === 0) return;
  const add = `INSERT INTO erased_events (hour, stream, clicks, impressions, dead_letters) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (hour, stream) DO UPDATE SET clicks = clicks + excluded.clicks,
      impressions = impressions + excluded.impressions, dead_letters = dead_letters + excluded.dead_letters`;
  database.query(add).run(hour, stream, clicks, impressions, deadLetters);
}

/** Call it within a transaction; dead letters are few. */
function eraseUserDeadLetters(database: Database, selection: UserSelection): HourKey[] {
  const { sql, values } = ofUser(selection, String);
  const query = `DELETE FROM dead_letters WHERE ${sql} RETURNING hour, stream`;
  const erased = database.query<HourKey, Values>(query).all(...values);
  for (const key of erased) note(database, key, 0, 0, 1);
  return erased;
}

export function readErased(database: Database, { hour, stream }: HourKey): ErasedCounts {
  const query = `SELECT ${ERASED_COLUMNS} FROM erased_events WHERE hour = ? AND stream = ?`;
  return database.query<ErasedCounts, [number, string]>(query).get(hour, stream) ?? NOTHING_ERASED;
}

function listErased(database: Database, { hours, streams }: UsersRange): ErasedHour[] {
  const { sql, values } = ofStreams(streams);
  const query = `SELECT hour, ${ERASED_COLUMNS} FROM erased_events
    WHERE hour IN (SELECT value FROM json_each(?)) ${sql} ORDER BY hour`;
  return database.query<ErasedHour, Values>(query).all(JSON.stringify(hours), ...values);
}
