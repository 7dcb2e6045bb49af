/**
 * Rows that SQLite refused.
 * Invariant: a dead letter is written in the transaction that moves the watermark past its batch, and deleted in the
 * one that makes it a row. So an event is always exactly one of the two.
 */
import type { Database } from "bun:sqlite";
import { UserHash } from "../../../domain/unique-users/user-hash.ts";
import type { DeadLetterStore, ReplayResult, UsersRange } from "../../cold.ts";
import { type DeadLetterRow, deadLetterLists, eventOf, selectDeadLetters } from "../../sql/dead-letters.ts";
import { additionOf, totalsOf } from "../../sql/hours.ts";
import { ofStreams } from "../../sql/range-sql.ts";
import { EVENT_COLUMNS, type EventRow } from "../../sql/rows.ts";
import { readDataSet } from "./data-set.ts";
import { isoTime, type SqliteDatabase } from "./database.ts";
import { foldHour } from "./hours.ts";
import { insertRow } from "./rows.ts";

const INSERT = `INSERT INTO dead_letters (${EVENT_COLUMNS}, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const SELECT = selectDeadLetters({ isoTime });

export function deadLetterRole(database: SqliteDatabase): DeadLetterStore {
  return {
    ...deadLetterLists(database.sql),
    deadLetterCount: (range) => database.read("count dead letters", (reading) => countDeadLetters(reading, range)),
    replayDeadLetter: (number) =>
      database.transaction(`replay dead letter ${number}`, (writing) => replayDeadLetter(writing, number)),
  };
}

export function setAside(database: Database, row: EventRow, reason: string): void {
  database.query(INSERT).run(...row, reason);
}

export function countDeadLetters(database: Database, range?: UsersRange): number {
  const { sql, values } = range === undefined ? { sql: "", values: [] } : ofStreams(range.streams);
  const ofRange = range === undefined ? "" : `WHERE hour IN (SELECT value FROM json_each(?)) ${sql}`;
  const query = database.query<{ count: number }, (string | number)[]>(
    `SELECT COUNT(*) AS count FROM dead_letters ${ofRange}`,
  );
  return query.get(...(range === undefined ? [] : [JSON.stringify(range.hours), ...values]))!.count;
}

function replayDeadLetter(database: Database, number: number): ReplayResult {
  const row = database.query<DeadLetterRow, [number]>(`${SELECT} WHERE dead_letter = ?`).get(number);
  if (row === null) return { status: "unknown" };
  const { hour, writer, seq, ordinal } = row;
  const event = eventOf(row);
  const { stream, at, kind, user, id = null } = event;
  const reason = insertRow(database, [hour, stream, writer, seq, ordinal, at, kind, user, id]);
  if (reason !== undefined) return { status: "refused", reason };
  const hash = new UserHash(readDataSet(database).userKey);
  foldHour(database, { hour, stream }, [totalsOf(additionOf(event, hash))]);
  database.query("DELETE FROM dead_letters WHERE dead_letter = ?").run(number);
  return { status: "replayed" };
}
