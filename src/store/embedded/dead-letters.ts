/**
 * Rows that SQLite refused. Invariant: a dead letter is written in the transaction that moves the watermark
 * over its batch, and goes in the one that makes it a row, so that at any time it is one or the other.
 */
import { type Database, SQLiteError } from "bun:sqlite";
import type { Event, HourKey, Kind } from "../../domain/event.ts";
import { errorText } from "../../runtime/deadline.ts";
import { additionOf, EVENT_COLUMNS, type EventRow } from "../aggregate.ts";
import type { DeadLetter, ReplayResult } from "../cold.ts";
import { addToHour } from "./hours.ts";

const INSERT_EVENT = `INSERT INTO events (${EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const INSERT = `INSERT INTO dead_letters (${EVENT_COLUMNS}, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const SELECT = `SELECT dead_letter AS number, ${EVENT_COLUMNS}, reason, set_aside_at AS setAsideAt
  FROM dead_letters`;
/** A broken constraint (also what a trigger raises), a value of the wrong type, one that is too long. */
const REFUSED_DATA = /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/;

interface DeadLetterRow {
  readonly number: number;
  readonly hour: number;
  readonly stream: string;
  readonly writer: number;
  readonly seq: number;
  readonly ordinal: number;
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
  readonly id: string | null;
  readonly reason: string;
  readonly setAsideAt: string;
}

/** What SQLite said if it refused the row; undefined if it took it. */
export function insertRow(database: Database, row: EventRow): string | undefined {
  try {
    database.query(INSERT_EVENT).run(...row);
    return undefined;
  } catch (error) {
    if (error instanceof SQLiteError && REFUSED_DATA.test(error.code ?? "")) return errorText(error);
    throw error;
  }
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

export function listDeadLetters(database: Database, afterNumber: number, limit: number): DeadLetter[] {
  const query = database.query<DeadLetterRow, [number, number]>(
    `${SELECT} WHERE dead_letter > ? ORDER BY dead_letter LIMIT ?`,
  );
  return query.all(afterNumber, limit).map((row) => {
    const { number, reason, setAsideAt } = row;
    return { number, reason, setAsideAt, event: eventOf(row) };
  });
}

/** Within a transaction. */
export function replayDeadLetter(database: Database, number: number): ReplayResult {
  const row = database.query<DeadLetterRow, [number]>(`${SELECT} WHERE dead_letter = ?`).get(number);
  if (row === null) return { status: "unknown" };
  const { hour, stream, writer, seq, ordinal, at, kind, user, id } = row;
  const reason = insertRow(database, [hour, stream, writer, seq, ordinal, at, kind, user, id]);
  if (reason !== undefined) return { status: "refused", reason };
  addToHour(database, additionOf(eventOf(row)));
  dropDeadLetter(database, number);
  return { status: "replayed" };
}

export function dropDeadLetter(database: Database, number: number): boolean {
  return database.query("DELETE FROM dead_letters WHERE dead_letter = ?").run(number).changes > 0;
}

function eventOf({ stream, at, kind, user, id }: DeadLetterRow): Event {
  return { stream, at, kind, user, id: id ?? undefined };
}
