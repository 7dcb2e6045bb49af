/** Messages from a broker that could not become events, set aside in SQLite. */
import type { Database } from "bun:sqlite";
import { letOthersRun } from "../../../runtime/clock.ts";
import type { Poison } from "../../cold.ts";
import { POISON_COLUMNS, poisonValues } from "../../sql/poison.ts";

/** Each may have a body of megabytes, though few do. */
const PER_PIECE = 50;

const INSERT = `INSERT INTO poison (${POISON_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`;

export async function insertPoison(database: Database, poison: readonly Poison[]): Promise<void> {
  for (const [i, piece] of poison.entries()) {
    database.query(INSERT).run(...poisonValues(piece.digest, piece));
    if (i % PER_PIECE === PER_PIECE - 1) await letOthersRun();
  }
}
