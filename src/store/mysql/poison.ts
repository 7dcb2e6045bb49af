/** Messages from a broker that could not become events, set aside in MySQL. */
import type { Poison } from "../cold.ts";
import { POISON_COLUMNS, poisonValues } from "../sql/poison.ts";
import type { MysqlSession } from "./connection/sql-session.ts";

/**
 * Characters of bodies per statement: below any server's max_allowed_packet, even with every byte escaped. A single
 * body above the server's limit can't be stored: its message stays with the broker, and the log says why.
 */
const INSERT_MAX_CHARS = 300_000;
const INSERT = `INSERT INTO poison (${POISON_COLUMNS}) VALUES ? ON DUPLICATE KEY UPDATE digest = digest`;

export async function insertPoison(session: MysqlSession, poison: readonly Poison[]): Promise<void> {
  await session.run("START TRANSACTION");
  for (let from = 0; from < poison.length; ) {
    let to = from;
    let chars = 0;
    do chars += poison[to++]!.body.length;
    while (to < poison.length && chars + poison[to]!.body.length <= INSERT_MAX_CHARS);
    const rows = poison.slice(from, to).map((piece) => poisonValues(Buffer.from(piece.digest, "hex"), piece));
    await session.run(INSERT, [rows]);
    from = to;
  }
  await session.run("COMMIT");
}
