/** Messages from a broker that could not become events, listed and dropped in MySQL or SQLite. */
import type { Poison, PoisonStore, StoredPoison } from "../cold.ts";
import type { Sql, SqlSession, SqlText } from "./sql-runner.ts";

export const POISON_COLUMNS = "digest, origin, message_id, position, event_id, body, reason";
const DROP = "DELETE FROM poison WHERE poison = ?";

interface PoisonRow extends Pick<StoredPoison, "number" | "reason" | "setAsideAt"> {
  readonly origin: SqlText;
  readonly messageId: SqlText | null;
  readonly position: number | null;
  readonly eventId: SqlText | null;
  readonly body: SqlText;
}

export function poisonRole({ read, change, isoTime }: Sql): Omit<PoisonStore, "setAsidePoison"> {
  const select = `SELECT poison AS number, origin, message_id AS messageId, position, event_id AS eventId, body,
    reason, ${isoTime("set_aside_at")} AS setAsideAt FROM poison WHERE poison > ? ORDER BY poison LIMIT ?`;
  return {
    poison: (afterNumber, limit) => read("list poison", (session) => listPoison(session, select, afterNumber, limit)),
    dropPoison: (number) =>
      change(`drop poison ${number}`, async (session) => (await session.matched(DROP, [number])) > 0),
  };
}

async function listPoison(session: SqlSession, select: string, after: number, limit: number): Promise<StoredPoison[]> {
  const rows = await session.rows<PoisonRow>(select, [after, limit]);
  return rows.map(({ origin, messageId, position, eventId, body, ...row }) => ({
    ...row,
    origin: origin.toString(),
    messageId: messageId?.toString(),
    position: position ?? undefined,
    eventId: eventId?.toString(),
    body: body.toString(),
  }));
}

/** The values in the order of the columns. */
export function poisonValues<Digest>(digest: Digest, { origin, messageId, position, eventId, body, reason }: Poison) {
  return [digest, origin, messageId ?? null, position ?? null, eventId ?? null, body, reason];
}
