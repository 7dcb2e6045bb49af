/**
 * Rows that SQLite refused.
 * Invariant: a dead letter is written in the transaction that moves the watermark past its batch, and deleted in the
 * one that makes it a row. So an event is always exactly one of the two.
 */
import type { Database } from "bun:sqlite";
import type { Event, HourKey } from "../../../domain/event.ts";
import { UserHash } from "../../../domain/unique-users/user-hash.ts";
import type { DeadLetter, DeadLetterStore, ReplayResult } from "../../cold.ts";
import { EVENT_COLUMNS, type EventRow } from "../../sql/event-rows.ts";
import { additionOf, totalsOf } from "../../sql/hour-rows.ts";
import type { ListedRow } from "../../sql/row-page.ts";
import { readDataSet } from "./data-set.ts";
import type { SqliteDatabase } from "./database.ts";
import { foldHour } from "./hours.ts";
import { insertRow } from "./rows.ts";

const INSERT = `INSERT INTO dead_letters (${EVENT_COLUMNS}, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const SELECT = `SELECT dead_letter AS number, ${EVENT_COLUMNS}, reason, set_aside_at AS setAsideAt
  FROM dead_letters`;

type DeadLetterRow = HourKey & ListedRow & Omit<DeadLetter, "event">;

export function deadLetterRole(database: SqliteDatabase): DeadLetterStore {
  return {
    deadLetterCount: () => database.read("count dead letters", (reading) => countDeadLetters(reading)),
    deadLetters: (afterNumber, limit) =>
      database.read("list dead letters", (reading) => listDeadLetters(reading, afterNumber, limit)),
    replayDeadLetter: (number) =>
      database.transaction(`replay dead letter ${number}`, (writing) => replayDeadLetter(writing, number)),
    dropDeadLetter: (number) =>
      database.transaction(`drop dead letter ${number}`, (writing) => dropDeadLetter(writing, number)),
  };
}

export function setAside(database: Database, row: EventRow, reason: string): void {
  database.query(INSERT).run(...row, reason);
}

export function countDeadLetters(database: Database, key?: HourKey): number {
  const ofHour = key === undefined ? "" : "WHERE hour = ? AND stream = ?";
  const query = database.query<{ count: number }, (string | number)[]>(
    `SELECT COUNT(*) AS count FROM dead_letters ${ofHour}`,
  );
  return query.get(...(key === undefined ? [] : [key.hour, key.stream]))!.count;
}

function listDeadLetters(database: Database, afterNumber: number, limit: number): DeadLetter[] {
  const query = database.query<DeadLetterRow, [number, number]>(
    `${SELECT} WHERE dead_letter > ? ORDER BY dead_letter LIMIT ?`,
  );
  return query.all(afterNumber, limit).map((row) => {
    const { number, reason, setAsideAt } = row;
    return { number, reason, setAsideAt, event: eventOf(row) };
  });
}

function replayDeadLetter(database: Database, number: number): ReplayResult {
  const row = database.query<DeadLetterRow, [number]>(`${SELECT} WHERE dead_letter = ?`).get(number);
  if (row === null) return { status: "unknown" };
  const { hour, stream, writer, seq, ordinal, at, kind, user, id } = row;
  const reason = insertRow(database, [hour, stream, writer, seq, ordinal, at, kind, user, id]);
  if (reason !== undefined) return { status: "refused", reason };
  const hash = new UserHash(readDataSet(database).userKey);
  foldHour(database, row, [totalsOf(additionOf(eventOf(row), hash))]);
  dropDeadLetter(database, number);
  return { status: "replayed" };
}

function dropDeadLetter(database: Database, number: number): boolean {
  return database.query("DELETE FROM dead_letters WHERE dead_letter = ?").run(number).changes > 0;
}

function eventOf({ stream, at, kind, user, id }: DeadLetterRow): Event {
  return { stream, at, kind, user, id: id ?? undefined };
}
