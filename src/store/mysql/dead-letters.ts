/**
 * Rows that MySQL refused.
 * Invariant: a dead letter is written in the transaction that moves the watermark past its batch, and deleted in the
 * one that makes it a row. So an event is always exactly one of the two.
 */
import type { HourKey } from "../../domain/event.ts";
import { UserHash } from "../../domain/unique-users/user-hash.ts";
import type { DeadLetterStore, ReplayResult } from "../cold.ts";
import { type DeadLetterRow, deadLetterLists, eventOf, selectDeadLetters } from "../sql/dead-letters.ts";
import { EVENT_COLUMNS } from "../sql/event-rows.ts";
import { additionOf } from "../sql/hour-rows.ts";
import type { SqlText } from "../sql/sql-runner.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import { noteChange } from "./connection/flushed-position.ts";
import { isoTime, type MysqlSession, quote } from "./connection/sql-session.ts";
import { ensureDataSet } from "./data-set.ts";
import { shardsOf } from "./flush/writers.ts";
import { addToHour } from "./hours.ts";
import type { RefusedRow } from "./rows.ts";

const REASON_MAX_CHARS = 500;
/** Each takes at most 1.5 KB. */
const ROWS_PER_INSERT = 250;

const SELECT = selectDeadLetters({ isoTime });

export function deadLetterRole(database: MysqlDatabase): DeadLetterStore {
  return {
    ...deadLetterLists(database.sqlOn("alone")),
    deadLetterCount: () => database.read("count dead letters", countDeadLetters),
    replayDeadLetter: (number) => database.alone(`replay dead letter ${number}`, replayDeadLetter, number),
  };
}

export async function setAside(session: MysqlSession, refused: readonly RefusedRow[]): Promise<void> {
  for (let i = 0; i < refused.length; i += ROWS_PER_INSERT) {
    const rows = refused.slice(i, i + ROWS_PER_INSERT).map(({ row, reason }) => {
      return [...row, reason.slice(0, REASON_MAX_CHARS)];
    });
    await session.run(`INSERT INTO dead_letters (${EVENT_COLUMNS}, reason) VALUES ?`, [rows]);
  }
}

async function countDeadLetters(session: MysqlSession): Promise<number> {
  const query = "SELECT COUNT(*) AS count FROM dead_letters";
  return (await session.rows<{ count: number }>(query))[0]?.count ?? 0;
}

export async function countHourDeadLetters(
  session: MysqlSession,
  { hour, stream }: HourKey,
  shard: number,
): Promise<number> {
  const query = `SELECT COUNT(*) AS count FROM dead_letters LEFT JOIN writers ON writers.id = dead_letters.writer
    WHERE hour = ? AND stream = ? AND COALESCE(shard, 0) = ?`;
  return (await session.rows<{ count: number }>(query, [hour, stream, shard]))[0]?.count ?? 0;
}

async function replayDeadLetter(session: MysqlSession, number: number): Promise<ReplayResult> {
  await session.run("START TRANSACTION");
  const [row] = await session.rows<DeadLetterRow>(`${SELECT} WHERE dead_letter = ? FOR UPDATE`, [number]);
  if (row === undefined) {
    await session.run("ROLLBACK");
    return { status: "unknown" };
  }
  const reason = await session.tryRun(`INSERT INTO events (${EVENT_COLUMNS}) VALUES ${rowText(row)}`);
  if (reason !== undefined) {
    await session.run("ROLLBACK");
    return { status: "refused", reason };
  }
  const shardOf = await shardsOf(session, [row]);
  const hash = new UserHash((await ensureDataSet(session)).userKey);
  await addToHour(session, shardOf(row), additionOf(eventOf(row), hash));
  await session.run("DELETE FROM dead_letters WHERE dead_letter = ?", [number]);
  await noteChange(session);
  await session.run("COMMIT");
  return { status: "replayed" };
}

function rowText({ hour, stream, writer, seq, ordinal, at, kind, user, id }: DeadLetterRow): string {
  const text = (value: SqlText) => quote(value.toString());
  const idText = id === null ? "NULL" : text(id);
  return `(${hour},${text(stream)},${writer},${seq},${ordinal},${at},${text(kind)},${text(user)},${idText})`;
}
