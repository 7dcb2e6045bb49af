/** How many rows per second MySQL stores in the table of events from one session that only inserts. */
import type { Connection } from "mysql2/promise";
import { hourOf } from "../../src/domain/event.ts";
import { openMysql } from "./stores.ts";

/** The most rows that the service puts into one statement. */
const ROWS_PER_STATEMENT = 10_000;
const USERS = 1_000_000;
const COLUMNS = "hour, stream, writer, seq, ordinal, at, kind, user";

export async function measureBulkInsert(url: string, durationMs: number): Promise<number> {
  const mysql = await openMysql(url);
  try {
    await mysql.query("DROP TABLE IF EXISTS events_alone");
    await mysql.query("CREATE TABLE events_alone LIKE events");
    return await insertFor(mysql, durationMs);
  } finally {
    mysql.destroy();
  }
}

async function insertFor(mysql: Connection, durationMs: number): Promise<number> {
  const hour = hourOf(Date.now());
  let statement = statementOf(hour, 1);
  let statements = 0;
  const startMs = performance.now();
  do {
    const inserted = mysql.query(statement);
    statements += 1;
    // Put together while the server is busy with the one before.
    statement = statementOf(hour, statements + 1);
    await inserted;
  } while (performance.now() - startMs < durationMs);
  return (statements * ROWS_PER_STATEMENT * 1_000) / (performance.now() - startMs);
}

function statementOf(hour: number, seq: number): string {
  const rows = Array.from({ length: ROWS_PER_STATEMENT }, (_, ordinal) => {
    const user = (seq * ROWS_PER_STATEMENT + ordinal * 7_919) % USERS;
    const kind = ordinal % 10 === 0 ? "click" : "impression";
    return `(${hour},'default',1,${seq},${ordinal},${hour + ordinal},'${kind}','user-${user}')`;
  });
  return `INSERT INTO events_alone (${COLUMNS}) VALUES ${rows.join(",")}`;
}
