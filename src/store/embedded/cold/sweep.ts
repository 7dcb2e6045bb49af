/**
 * Deletes expired data from SQLite, in pieces. The file does not shrink: new rows reuse its free pages, so it stays at
 * the size of the retained data. (An incremental vacuum would move pages of the whole file to its front, to free space
 * that is needed again an hour later.)
 *
 * Invariant: the new bounds are committed to `retention` before the first piece is deleted, so a reader who misses rows
 * can find out why there.
 */
import type { Database } from "bun:sqlite";
import { laterBounds, type RetentionBounds } from "../../../domain/retention-bounds.ts";
import type { RetentionStore, Swept } from "../../cold.ts";
import type { SqliteDatabase } from "./database.ts";

/** About 5 ms, for which a flush waits. */
const ROWS_PER_PIECE = 2_000;
/** Each with some rows, of up to 24 KB. */
const HOURS_PER_PIECE = 100;
const LETTERS_PER_PIECE = 500;

/** A piece's last row in primary-key order, so that deleted rows are adjacent. */
const END_OF_PIECE = `
  SELECT hour, stream, writer, seq, ordinal FROM events WHERE hour < ?
  ORDER BY hour, stream, writer, seq, ordinal LIMIT 1 OFFSET ${ROWS_PER_PIECE - 1}`;
const DELETE_PIECE = "DELETE FROM events WHERE (hour, stream, writer, seq, ordinal) <= (?, ?, ?, ?, ?) AND hour < ?";

interface Place {
  readonly hour: number;
  readonly stream: string;
  readonly writer: number;
  readonly seq: number;
  readonly ordinal: number;
}

export function retentionRole(database: SqliteDatabase): RetentionStore {
  return {
    retained: () => database.read("read the retention bounds", readBounds),
    async sweep(bounds) {
      const areNew = await database.transaction("note the retention bounds", (writing) => noteBounds(writing, bounds));
      const swept = await database.transaction("delete expired data", deletePiece);
      return areNew ? { ...swept, isDone: false } : swept;
    },
  };
}

export function readBounds(database: Database): RetentionBounds {
  const query = database.query<RetentionBounds, []>(
    "SELECT rows_from AS rowsFrom, aggregates_from AS aggregatesFrom FROM retention",
  );
  return query.get()!;
}

/** False if the bounds are already recorded. */
function noteBounds(database: Database, wanted: RetentionBounds): boolean {
  const before = readBounds(database);
  const { rowsFrom, aggregatesFrom } = laterBounds(before, wanted);
  if (rowsFrom === before.rowsFrom && aggregatesFrom === before.aggregatesFrom) return false;
  database.query("UPDATE retention SET rows_from = ?, aggregates_from = ?").run(rowsFrom, aggregatesFrom);
  return true;
}

function deletePiece(database: Database): Swept {
  const { rowsFrom, aggregatesFrom } = readBounds(database);
  const deadLetters = database
    .query(
      `DELETE FROM dead_letters WHERE dead_letter IN
         (SELECT dead_letter FROM dead_letters WHERE hour < ? ORDER BY hour LIMIT ${LETTERS_PER_PIECE})`,
    )
    .run(rowsFrom).changes;
  const aggregates = database
    .query(
      `DELETE FROM hourly WHERE (hour, stream) IN
         (SELECT DISTINCT hour, stream FROM hourly WHERE hour < ? ORDER BY hour, stream LIMIT ${HOURS_PER_PIECE})`,
    )
    .run(aggregatesFrom).changes;
  const rows = deleteRows(database, rowsFrom);
  const isDone = rows < ROWS_PER_PIECE && deadLetters < LETTERS_PER_PIECE && aggregates < HOURS_PER_PIECE;
  // A small table: one row per hour of a stream in which a user was forgotten.
  if (isDone) database.query("DELETE FROM erased_events WHERE hour < ?").run(rowsFrom);
  return { partitions: 0, rows, aggregates, deadLetters, isDone };
}

function deleteRows(database: Database, rowsFrom: number): number {
  const end = database.query<Place, [number]>(END_OF_PIECE).get(rowsFrom);
  if (end === null) return database.query("DELETE FROM events WHERE hour < ?").run(rowsFrom).changes;
  const { hour, stream, writer, seq, ordinal } = end;
  return database.query(DELETE_PIECE).run(hour, stream, writer, seq, ordinal, rowsFrom).changes;
}
