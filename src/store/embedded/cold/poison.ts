/** Messages from a broker that could not become events, set aside in SQLite. */
import type { Database } from "bun:sqlite";
import { letOthersRun } from "../../../runtime/yield.ts";
import type { Poison, PoisonStore, StoredPoison } from "../../cold.ts";
import type { SqliteDatabase } from "./database.ts";

/** A body may have megabytes, though few do. */
const PER_PIECE = 50;

const INSERT = `INSERT INTO poison (digest, origin, message_id, position, event_id, body, reason)
  VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`;
const SELECT = `SELECT poison AS number, origin, message_id AS messageId, position, event_id AS eventId, body,
  reason, set_aside_at AS setAsideAt FROM poison WHERE poison > ? ORDER BY poison LIMIT ?`;

interface PoisonRow extends Omit<StoredPoison, "messageId" | "position" | "eventId"> {
  readonly messageId: string | null;
  readonly position: number | null;
  readonly eventId: string | null;
}

export function poisonRole(database: SqliteDatabase): PoisonStore {
  return {
    setAsidePoison: (poison) =>
      database.transaction("set poison aside", async (writing) => {
        for (const [i, piece] of poison.entries()) {
          insertPoison(writing, piece);
          if (i % PER_PIECE === PER_PIECE - 1) await letOthersRun();
        }
      }),
    poison: (afterNumber, limit) => database.read("list poison", (reading) => listPoison(reading, afterNumber, limit)),
    dropPoison: (number) => database.transaction(`drop poison ${number}`, (writing) => dropPoison(writing, number)),
  };
}

function insertPoison(database: Database, piece: Poison): void {
  const { digest, origin, messageId, position, eventId, body, reason } = piece;
  const ids = [messageId ?? null, position ?? null, eventId ?? null];
  database.query(INSERT).run(digest, origin, ...ids, body, reason);
}

function listPoison(database: Database, afterNumber: number, limit: number): StoredPoison[] {
  const rows = database.query<PoisonRow, [number, number]>(SELECT).all(afterNumber, limit);
  return rows.map(({ messageId, position, eventId, ...row }) => ({
    ...row,
    messageId: messageId ?? undefined,
    position: position ?? undefined,
    eventId: eventId ?? undefined,
  }));
}

function dropPoison(database: Database, number: number): boolean {
  return database.query("DELETE FROM poison WHERE poison = ?").run(number).changes > 0;
}
