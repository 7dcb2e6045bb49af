/**
 * What is not kept any more, dropped from MySQL: whole days as partitions, all else in pieces.
 *
 * Invariant: `retention` says so before anything goes, and waits for whoever relies on the rows meanwhile (a
 * rebuild). So who misses rows and looks there finds out, whenever it looks.
 */
import { HOUR_MS } from "../../domain/event.ts";
import type { Kept } from "../../domain/retention-bounds.ts";
import type { Swept } from "../cold.ts";
import type { MysqlSession } from "./link.ts";
import { dropOldestPartition } from "./partitions.ts";

/** Some 30 ms: locks on rows that nobody writes to. */
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

export async function readKept(session: MysqlSession): Promise<Kept> {
  return keptOf(await session.rows<RetentionRow>(READ));
}

/** Within a transaction: until its end no more is said to be not kept. */
export async function lockKept(session: MysqlSession): Promise<Kept> {
  return keptOf(await session.rows<RetentionRow>(`${READ} FOR UPDATE`));
}

function keptOf([row]: readonly RetentionRow[]): Kept {
  return { rowsFrom: row?.rows_from ?? 0, aggregatesFrom: row?.aggregates_from ?? 0 };
}

/** In a session of its own: if it fails, the lock `lockName` is given up with that. */
export async function sweep(
  session: MysqlSession,
  lockName: string,
  wanted: Kept,
  now: number,
): Promise<Swept> {
  const [lock] = await session.rows<{ got: number | null }>("SELECT GET_LOCK(?, 0) AS got", [lockName]);
  // Another instance is at it.
  if (lock?.got !== 1) return { ...NOTHING_SWEPT, isDone: true };
  await refuseClockAhead(session, now);
  const swept = await sweepPiece(session, wanted);
  // The server notes the end of a session a moment later: too late for the next piece.
  await session.rows("SELECT RELEASE_LOCK(?)", [lockName]);
  return swept;
}

async function sweepPiece(session: MysqlSession, { rowsFrom, aggregatesFrom }: Kept): Promise<Swept> {
  const move = `UPDATE retention SET rows_from = GREATEST(rows_from, ?),
    aggregates_from = GREATEST(aggregates_from, ?) WHERE id = 1`;
  await session.run(move, [rowsFrom, aggregatesFrom]);
  // Perhaps more than was asked for: by an instance that keeps less.
  const kept = await readKept(session);
  if (await dropOldestPartition(session, kept.rowsFrom)) {
    return { ...NOTHING_SWEPT, partitions: 1, isDone: false };
  }
  return await deletePiece(session, kept);
}

async function refuseClockAhead(session: MysqlSession, now: number): Promise<void> {
  const query = "SELECT CAST(UNIX_TIMESTAMP() AS UNSIGNED) AS seconds";
  const [row] = await session.rows<{ seconds: number }>(query);
  const aheadMs = now - (row?.seconds ?? 0) * 1_000;
  if (aheadMs <= CLOCK_AHEAD_MAX_MS) return;
  const aheadS = Math.round(aheadMs / 1_000);
  throw new Error(
    `this machine's clock is ${aheadS} s ahead of the database's: set both, nothing was dropped`,
  );
}

/**
 * What no partition ends before: hours older than the first partition's day, and events that were acknowledged
 * before their day was dropped and flushed after it.
 */
async function deletePiece(session: MysqlSession, { rowsFrom, aggregatesFrom }: Kept): Promise<Swept> {
  const rows = await session.deleted(
    "DELETE FROM events WHERE hour < ? ORDER BY hour, stream, writer, seq, ordinal LIMIT ?",
    [rowsFrom, ROWS_PER_PIECE],
  );
  const deadLetters = await session.deleted(
    "DELETE FROM dead_letters WHERE hour < ? ORDER BY hour, dead_letter LIMIT ?",
    [rowsFrom, LETTERS_PER_PIECE],
  );
  const erased = await session.deleted(
    "DELETE FROM erased_events WHERE hour < ? ORDER BY hour, stream, shard LIMIT ?",
    [rowsFrom, ROWS_PER_PIECE],
  );
  const aggregates = await session.deleted(
    "DELETE FROM hourly WHERE hour < ? ORDER BY hour, stream, shard LIMIT ?",
    [aggregatesFrom, AGGREGATES_PER_PIECE],
  );
  const isDone =
    rows < ROWS_PER_PIECE &&
    deadLetters < LETTERS_PER_PIECE &&
    erased < ROWS_PER_PIECE &&
    aggregates < AGGREGATES_PER_PIECE;
  return { ...NOTHING_SWEPT, rows, aggregates, deadLetters, isDone };
}
