/** Messages from a broker that could not become events, set aside in MySQL. */
import type { Poison, PoisonStore, StoredPoison } from "../cold.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import { isoTime, type MysqlSession } from "./connection/sql-session.ts";

/**
 * Characters of bodies per statement: below any server's max_allowed_packet, even with every byte escaped. A single
 * body above the server's limit can't be stored: its message stays with the broker, and the log says why.
 */
const INSERT_MAX_CHARS = 300_000;
const COLUMNS = "digest, origin, message_id, position, event_id, body, reason";
const INSERT = `INSERT INTO poison (${COLUMNS}) VALUES ? ON DUPLICATE KEY UPDATE digest = digest`;
const SELECT = `SELECT poison AS number, origin, message_id AS messageId, position, event_id AS eventId, body,
  reason, ${isoTime("set_aside_at")} AS setAsideAt FROM poison`;

interface PoisonRow extends Pick<StoredPoison, "number" | "reason" | "setAsideAt"> {
  readonly origin: Buffer;
  readonly messageId: Buffer | null;
  readonly position: number | null;
  readonly eventId: Buffer | null;
  readonly body: Buffer;
}

export function poisonRole(database: MysqlDatabase): PoisonStore {
  return {
    async setAsidePoison(poison) {
      if (poison.length === 0) return;
      await database.briefly("set poison aside", insertPoison, poison);
    },
    poison: (afterNumber, limit) => database.alone("list poison", listPoison, afterNumber, limit),
    dropPoison: (number) => database.alone(`drop poison ${number}`, dropPoison, number),
  };
}

async function insertPoison(session: MysqlSession, poison: readonly Poison[]): Promise<void> {
  await session.run("START TRANSACTION");
  for (let from = 0; from < poison.length; ) {
    let to = from;
    let chars = 0;
    do chars += poison[to++]!.body.length;
    while (to < poison.length && chars + poison[to]!.body.length <= INSERT_MAX_CHARS);
    await session.run(INSERT, [poison.slice(from, to).map(valuesOf)]);
    from = to;
  }
  await session.run("COMMIT");
}

function valuesOf({ digest, origin, messageId, position, eventId, body, reason }: Poison) {
  const ids = [messageId ?? null, position ?? null, eventId ?? null];
  return [Buffer.from(digest, "hex"), origin, ...ids, body, reason];
}

async function listPoison(session: MysqlSession, afterNumber: number, limit: number): Promise<StoredPoison[]> {
  const query = `${SELECT} WHERE poison > ? ORDER BY poison LIMIT ?`;
  const rows = await session.rows<PoisonRow>(query, [afterNumber, limit]);
  return rows.map(({ origin, messageId, position, eventId, body, ...row }) => ({
    ...row,
    origin: origin.toString(),
    messageId: messageId?.toString(),
    position: position ?? undefined,
    eventId: eventId?.toString(),
    body: body.toString(),
  }));
}

async function dropPoison(session: MysqlSession, number: number): Promise<boolean> {
  return (await session.matched("DELETE FROM poison WHERE poison = ?", [number])) > 0;
}
