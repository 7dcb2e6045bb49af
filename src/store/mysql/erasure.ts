/**
 * Finds and deletes a user's rows in MySQL, and records their numbers.
 *
 * Invariant: a row is deleted in the transaction that adds it to `erased_events`, so rows plus erased rows always equal
 * the aggregate. The transaction locks the hour like a rebuild, so neither sees the other half done.
 */
import type { HourKey, Kind } from "../../domain/event.ts";
import { addErased, type ErasedCounts, NOTHING_ERASED } from "../../domain/retention-bounds.ts";
import type { ErasedHour, ErasureStore, RowKey, UserSelection, UsersRange } from "../cold.ts";
import { ERASED_COLUMNS, type FoundRow, ofUser, userCounts } from "../sql/erasure.ts";
import { ofStreams } from "../sql/range-sql.ts";
import { BEFORE_ALL_ROWS } from "../sql/rows.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import { noteChange } from "./connection/flushed-position.ts";
import { type MysqlSession, userValue } from "./connection/sql-session.ts";
import { shardsOf } from "./flush/flush.ts";
import { lockHours } from "./hours.ts";
import { IS_AFTER, placeOf } from "./rows.ts";

/** One transaction takes about 20 ms, during which flushes into this hour wait. */
const ROWS_PER_PIECE = 1_000;
const ROWS_PER_DELETE = 250;
const LETTERS_PER_PIECE = 500;

interface FoundLetter {
  readonly number: number;
  readonly writer: number;
  readonly hour: number;
  readonly stream: Buffer;
}

const BEFORE_ALL_STREAMS = { ...BEFORE_ALL_ROWS, stream: "" };

export function erasureRole(database: MysqlDatabase): ErasureStore {
  return {
    ...userCounts(database.sqlOn("scan")),
    eraseUserRows: (selection, hour) =>
      database.scan(`erase a user's rows of hour ${hour}`, eraseUserRows, selection, hour),
    eraseUserDeadLetters: (selection) => database.scan("erase a user's dead letters", eraseUserDeadLetters, selection),
    erasedRows: (range) => database.read("list erased rows", listErased, range),
  };
}

async function eraseUserRows(session: MysqlSession, selection: UserSelection, hour: number): Promise<ErasedCounts> {
  const { sql, values } = ofUser(selection, userValue);
  // Finding them takes no lock, since flushes may be using the hour. Rows never change.
  const query = `SELECT stream, writer, seq, ordinal, kind FROM events
    WHERE hour = ? AND ${sql} AND (stream > ? OR (stream = ? AND ${IS_AFTER}))
    ORDER BY stream, writer, seq, ordinal LIMIT ${ROWS_PER_PIECE}`;
  let erased = NOTHING_ERASED;
  let last: Pick<FoundRow, "stream" | keyof RowKey> = BEFORE_ALL_STREAMS;
  for (;;) {
    const place = [last.stream, last.stream, ...placeOf(last)];
    const rows = await session.rows<FoundRow>(query, [hour, ...values, ...place]);
    const end = rows.at(-1);
    if (end === undefined) return erased;
    erased = addErased(erased, await erasePiece(session, hour, rows));
    if (rows.length < ROWS_PER_PIECE) return erased;
    last = end;
  }
}

/** Locks hours in primary-key order, like every transaction. */
async function erasePiece(session: MysqlSession, hour: number, rows: readonly FoundRow[]): Promise<ErasedCounts> {
  let erased = NOTHING_ERASED;
  const shardOf = await shardsOf(session, rows);
  await session.run("START TRANSACTION");
  for (const [stream, ofStream] of Map.groupBy(rows, (row) => row.stream)) {
    const parts = Map.groupBy(ofStream, shardOf);
    for (const [shard, part] of [...parts].sort(([a], [b]) => a - b)) {
      erased = addErased(erased, await erasePart(session, { hour, stream, shard }, part));
    }
  }
  await noteChange(session);
  await session.run("COMMIT");
  return erased;
}

interface PartKey extends HourKey {
  readonly shard: number;
}

async function erasePart(session: MysqlSession, key: PartKey, rows: readonly FoundRow[]): Promise<ErasedCounts> {
  await lockHours(session, key.shard, [key]);
  const clicks = await deleteRows(session, key, rows, "click");
  const impressions = await deleteRows(session, key, rows, "impression");
  const counts = { ...NOTHING_ERASED, clicks, impressions };
  await note(session, key, counts);
  return counts;
}

/** Returns how many it deleted, since a concurrent erasure may have been faster. */
async function deleteRows(
  session: MysqlSession,
  { hour, stream }: HourKey,
  found: readonly FoundRow[],
  kind: Kind,
): Promise<number> {
  const rows = found.filter((row) => row.kind === kind);
  let deleted = 0;
  for (let i = 0; i < rows.length; i += ROWS_PER_DELETE) {
    const keys = rows.slice(i, i + ROWS_PER_DELETE).map(({ writer, seq, ordinal }) => {
      return `(writer = ${writer} AND seq = ${seq} AND ordinal = ${ordinal})`;
    });
    const sql = `DELETE FROM events WHERE hour = ? AND stream = ? AND (${keys.join(" OR ")})`;
    deleted += await session.matched(sql, [hour, stream]);
  }
  return deleted;
}

async function note(session: MysqlSession, { hour, stream, shard }: PartKey, counts: ErasedCounts): Promise<void> {
  const { clicks, impressions, deadLetters } = counts;
  if (clicks + impressions + deadLetters === 0) return;
  await session.run(
    `INSERT INTO erased_events (hour, stream, shard, clicks, impressions, dead_letters) VALUES (?, ?, ?, ?, ?, ?)
     ON DUPLICATE KEY UPDATE clicks = clicks + VALUES(clicks), impressions = impressions + VALUES(impressions),
       dead_letters = dead_letters + VALUES(dead_letters)`,
    [hour, stream, shard, clicks, impressions, deadLetters],
  );
}

async function eraseUserDeadLetters(session: MysqlSession, selection: UserSelection): Promise<HourKey[]> {
  const { sql, values } = ofUser(selection, userValue);
  const query = `SELECT dead_letter AS number, hour, stream, writer FROM dead_letters WHERE ${sql}
    ORDER BY dead_letter LIMIT ${LETTERS_PER_PIECE}`;
  const erased: HourKey[] = [];
  for (;;) {
    const letters = await session.rows<FoundLetter>(query, values);
    if (letters.length === 0) return erased;
    const shardOf = await shardsOf(session, letters);
    await session.run("START TRANSACTION");
    for (const letter of letters) {
      const { number, hour } = letter;
      // Already gone if it was just replayed or dropped; a replayed one is found among the rows.
      const count = await session.matched("DELETE FROM dead_letters WHERE dead_letter = ?", [number]);
      if (count === 0) continue;
      const key = { hour, stream: letter.stream.toString() };
      await note(session, { ...key, shard: shardOf(letter) }, { ...NOTHING_ERASED, deadLetters: 1 });
      erased.push(key);
    }
    await session.run("COMMIT");
  }
}

export async function readErased(
  session: MysqlSession,
  { hour, stream }: HourKey,
  shard: number,
): Promise<ErasedCounts> {
  const query = `SELECT ${ERASED_COLUMNS} FROM erased_events WHERE hour = ? AND stream = ? AND shard = ?`;
  return (await session.rows<ErasedHour>(query, [hour, stream, shard]))[0] ?? NOTHING_ERASED;
}

async function listErased(session: MysqlSession, { hours, streams }: UsersRange): Promise<ErasedHour[]> {
  const { sql, values } = ofStreams(streams);
  const query = `SELECT hour, ${ERASED_COLUMNS} FROM erased_events WHERE hour IN (?) ${sql} ORDER BY hour`;
  return await session.rows<ErasedHour>(query, [[...hours], ...values]);
}
