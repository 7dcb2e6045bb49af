/** What came from a queue and could not become an event, set aside in SQLite. */
import type { Database } from "bun:sqlite";
import type { Poison, StoredPoison } from "../cold.ts";

const INSERT = `INSERT INTO poison (digest, origin, message_id, position, event_id, body, reason)
  VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`;
const SELECT = `SELECT poison AS number, origin, message_id AS messageId, position, event_id AS eventId, body,
  reason, set_aside_at AS setAsideAt FROM poison WHERE poison > ? ORDER BY poison LIMIT ?`;

interface PoisonRow {
  readonly number: number;
  readonly origin: string;
  readonly messageId: string | null;
  readonly position: number | null;
  readonly eventId: string | null;
  readonly body: string;
  readonly reason: string;
  readonly setAsideAt: string;
}

export function insertPoison(database: Database, piece: Poison): void {
  const { digest, origin, messageId, position, eventId, body, reason } = piece;
  const ids = [messageId ?? null, position ?? null, eventId ?? null];
  database.query(INSERT).run(digest, origin, ...ids, body, reason);
}

export function listPoison(database: Database, afterNumber: number, limit: number): StoredPoison[] {
  const rows = database.query<PoisonRow, [number, number]>(SELECT).all(afterNumber, limit);
  return rows.map(({ messageId, position, eventId, ...row }) => ({
    ...row,
    messageId: messageId ?? undefined,
    position: position ?? undefined,
    eventId: eventId ?? undefined,
  }));
}

export function dropPoison(database: Database, number: number): boolean {
  return database.query("DELETE FROM poison WHERE poison = ?").run(number).changes > 0;
}
