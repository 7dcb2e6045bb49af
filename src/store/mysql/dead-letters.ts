/**
 * Rows that MySQL refused.
 * Invariant: a dead letter is written in the transaction that moves the watermark past its batch, and deleted in the
 * one that makes it a row. So an event is always exactly one of the two.
 */
import type { HourKey } from "../../domain/event.ts";
import { UserHash } from "../../domain/unique-users/user-hash.ts";
import type { DeadLetterStore, ReplayResult, UsersRange } from "../cold.ts";
import { type DeadLetterRow, deadLetterLists, eventOf, selectDeadLetters } from "../sql/dead-letters.ts";
import { additionOf } from "../sql/hours.ts";
import { ofStreams } from "../sql/range-sql.ts";
import { EVENT_COLUMNS } from "../sql/rows.ts";
import type { SqlText } from "../sql/sql-runner.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import { noteChange } from "./connection/flushed-position.ts";
import { isoTime, type MysqlSession, quote } from "./connection/sql-session.ts";
import { ensureDataSet } from "./data-set.ts";
import { shardsOf } from "./flush/flush.ts";
import { addToHour } from "./hours.ts";

const SELECT = selectDeadLetters({ isoTime });

export function deadLetterRole(database: MysqlDatabase): DeadLetterStore {
  return {
    ...deadLetterLists(database.sqlOn("alone")),
    deadLetterCount: (range) => database.read("count dead letters", countDeadLetters, range),
    replayDeadLetter: (number) => database.alone(`replay dead letter ${number}`, replayDeadLetter, number),
  };
}

async function countDeadLetters(session: MysqlSession, range?: UsersRange): Promise<number> {
  const count = "SELECT COUNT(*) AS count FROM dead_letters";
  if (range === undefined) return (await session.rows<{ count: number }>(count))[0]!.count;
  const { sql, values } = ofStreams(range.streams);
  const ofRange = `${count} WHERE hour IN (?) ${sql}`;
  return (await session.rows<{ count: number }>(ofRange, [[...range.hours], ...values]))[0]!.count;
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
