/**
 * Deletes expired data from MySQL: whole days as partitions, the rest in pieces.
 *
 * Invariant: `retention` holds the new bounds before anything is deleted, and moving them waits for a rebuild, which
 * relies on the rows. So a reader who misses rows always finds the reason there.
 */
import { HOUR_MS } from "../../domain/event.ts";
import type { RetentionBounds } from "../../domain/retention-bounds.ts";
import type { RetentionStore, Swept } from "../cold.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import type { MysqlSession } from "./connection/sql-session.ts";
import { dropOldestPartition } from "./partitions.ts";

/** About 30 ms; nothing else locks these rows. */
const ROWS_PER_PIECE = 2_000;
/** Rows of up to 12 KB. */
const AGGREGATES_PER_PIECE = 200;
const LETTERS_PER_PIECE = 1_000;
/** A clock that is wrong by years would drop everything. */
const CLOCK_AHEAD_MAX_MS = HOUR_MS;

const NOTHING_SWEPT = { partitions: 0, rows: 0, aggregates: 0, deadLetters: 0 };

const READ = "SELECT rows_from, aggregates_from FROM retention WHERE id = 1";

interface RetentionRow {
  readonly rows_from: number;
  readonly aggregates_from: number;
}

export function retentionRole(database: MysqlDatabase): RetentionStore {
  return {
    retained: () => database.read("read the retention bounds", readBounds),
    sweep: (bounds, now) =>
      database.alone("delete expired data", sweep, database.lockName("hourglass-retention"), bounds, now),
  };
}

export async function readBounds(session: MysqlSession): Promise<RetentionBounds> {
  return boundsOf(await session.rows<RetentionRow>(READ));
}

/** Until the transaction ends, the bounds do not move. */
export async function lockBounds(session: MysqlSession): Promise<RetentionBounds> {
  return boundsOf(await session.rows<RetentionRow>(`${READ} FOR UPDATE`));
}

function boundsOf([row]: readonly RetentionRow[]): RetentionBounds {
  return { rowsFrom: row?.rows_from ?? 0, aggregatesFrom: row?.aggregates_from ?? 0 };
}

/** Requires its own session: if it fails, the lock `lockName` ends with the session. */
async function sweep(session: MysqlSession, lockName: string, wanted: RetentionBounds, now: number): Promise<Swept> {
  const [lock] = await session.rows<{ got: number | null }>("SELECT GET_LOCK(?, 0) AS got", [lockName]);
  // Another instance is sweeping.
  if (lock?.got !== 1) return { ...NOTHING_SWEPT, isDone: true };
  await refuseClockAhead(session, now);
  const swept = await sweepPiece(session, wanted);
  // The server may notice the session's end too late for the next piece.
  await session.rows("SELECT RELEASE_LOCK(?)", [lockName]);
  return swept;
}

async function sweepPiece(session: MysqlSession, { rowsFrom, aggregatesFrom }: RetentionBounds): Promise<Swept> {
  const move = `UPDATE retention SET rows_from = GREATEST(rows_from, ?),
    aggregates_from = GREATEST(aggregates_from, ?) WHERE id = 1`;
  await session.run(move, [rowsFrom, aggregatesFrom]);
  // They may be later than `wanted`: another instance may retain less.
  const bounds = await readBounds(session);
  if (await dropOldestPartition(session, bounds.rowsFrom)) {
    return { ...NOTHING_SWEPT, partitions: 1, isDone: false };
  }
  return await deletePiece(session, bounds);
}

async function refuseClockAhead(session: MysqlSession, now: number): Promise<void> {
  const query = "SELECT CAST(UNIX_TIMESTAMP() AS UNSIGNED) AS seconds";
  const [row] = await session.rows<{ seconds: number }>(query);
  const aheadMs = now - (row?.seconds ?? 0) * 1_000;
  if (aheadMs <= CLOCK_AHEAD_MAX_MS) return;
  const aheadS = Math.round(aheadMs / 1_000);
  throw new Error(`this machine's clock is ${aheadS} s ahead of the database's: set both, nothing was deleted`);
}

/**
 * Deletes what was in no dropped partition: hours before the first one, and events flushed after their day was dropped.
 */
async function deletePiece(session: MysqlSession, { rowsFrom, aggregatesFrom }: RetentionBounds): Promise<Swept> {
  const rows = await session.matched(
    "DELETE FROM events WHERE hour < ? ORDER BY hour, stream, writer, seq, ordinal LIMIT ?",
    [rowsFrom, ROWS_PER_PIECE],
  );
  const deadLetters = await session.matched(
    "DELETE FROM dead_letters WHERE hour < ? ORDER BY hour, dead_letter LIMIT ?",
    [rowsFrom, LETTERS_PER_PIECE],
  );
  const erased = await session.matched(
    "DELETE FROM erased_events WHERE hour < ? ORDER BY hour, stream, shard LIMIT ?",
    [rowsFrom, ROWS_PER_PIECE],
  );
  const aggregates = await session.matched(
    "DELETE FROM hourly WHERE hour < ? ORDER BY hour, stream, shard, writer, seq LIMIT ?",
    [aggregatesFrom, AGGREGATES_PER_PIECE],
  );
  const isDone =
    rows < ROWS_PER_PIECE &&
    deadLetters < LETTERS_PER_PIECE &&
    erased < ROWS_PER_PIECE &&
    aggregates < AGGREGATES_PER_PIECE;
  return { ...NOTHING_SWEPT, rows, aggregates, deadLetters, isDone };
}
