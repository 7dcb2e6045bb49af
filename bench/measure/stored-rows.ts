/**
 * Fills the events table as if millions of events had arrived before: the server generates the rows from a sequence in
 * primary-key order, so that nothing is sent or sorted.
 */
import type { Connection, RowDataPacket } from "mysql2/promise";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Sketch } from "../../src/domain/unique-users/sketch.ts";
import { registerOf } from "../../test/harness/pipeline/test-users.ts";
import { type Candidate, withCandidate } from "../candidates.ts";
import type { Parameters } from "../parameters.ts";
import { openMysql, type Stores } from "./stores.ts";

/** The hours that new events go to, so that these go into trees that are as large as they get. */
const HOURS = 24;
const STREAM = "default";
const USERS = 1_000_000;
const USERS_IN_SKETCH = 100_000;
/** A usual batch. */
const ROWS_PER_BATCH = 200;
const MILLION = 1_000_000;

export interface StoreRowsContext {
  readonly parameters: Parameters;
  readonly say: (text: string) => void;
}

/** Into tables that the service, which is `which`, has made itself. */
export async function storeRows(
  which: Candidate,
  stores: Stores,
  { parameters, say }: StoreRowsContext,
): Promise<void> {
  const { storedRows } = parameters;
  await withCandidate(which, stores, parameters, async () => {});
  const startMs = performance.now();
  await fill(stores.mariaDb!.url, storedRows);
  const rate = storedRows / MILLION / ((performance.now() - startMs) / 1_000);
  say(`${storedRows} rows stored beforehand, ${rate.toFixed(2)} M rows/s`);
}

/** Uses one session: two could deadlock where their hours meet in the key. */
async function fill(url: string, rowCount: number): Promise<void> {
  const mysql = await openMysql(url);
  try {
    const writer = await createWriter(mysql, rowCount);
    const sketch = sketchOfMany();
    const newestHour = hourOf(Date.now());
    const rowsPerHour = Math.ceil(rowCount / HOURS);
    // Rows of a sequence in the order of the key need no check that they differ.
    await mysql.query("SET unique_checks = 0, foreign_key_checks = 0");
    for (let back = HOURS - 1; back >= 0; back--) {
      await fillHour(mysql, { hour: newestHour - back * HOUR_MS, rowsPerHour, writer, sketch });
    }
  } finally {
    mysql.destroy();
  }
}

async function createWriter(mysql: Connection, events: number): Promise<number> {
  const seq = Math.ceil(events / ROWS_PER_BATCH);
  const insert = "INSERT INTO writers (writer, seq, events, sealed) VALUES ('stored-before', ?, ?, 1)";
  await mysql.query(insert, [seq, events]);
  const [rows] = await mysql.query<RowDataPacket[]>("SELECT id FROM writers WHERE writer = 'stored-before'");
  return Number(rows[0]!["id"]);
}

interface HourToFill {
  readonly hour: number;
  readonly rowsPerHour: number;
  readonly writer: number;
  readonly sketch: Sketch;
}

async function fillHour(mysql: Connection, { hour, rowsPerHour, writer, sketch }: HourToFill): Promise<void> {
  const select = `
    SELECT ?, ?, ?, n.seq DIV ${ROWS_PER_BATCH}, n.seq MOD ${ROWS_PER_BATCH}, ? + n.seq MOD ${HOUR_MS},
      IF(n.seq MOD 10 = 0, 'click', 'impression'), CONCAT('user-', n.seq * 7919 MOD ${USERS})
    FROM seq_1_to_${rowsPerHour} AS n`;
  const columns = "hour, stream, writer, seq, ordinal, at, kind, user";
  await mysql.query(`INSERT INTO events (${columns}) ${select}`, [hour, STREAM, writer, hour]);
  const clicks = Math.floor(rowsPerHour / 10);
  const counts = [hour, STREAM, clicks, rowsPerHour - clicks, sketch.encode(), sketch.encode()];
  const hourly = "hour, stream, clicks, impressions, viewers_sketch, clickers_sketch";
  await mysql.query(`INSERT INTO hourly (${hourly}) VALUES (?)`, [counts]);
}

function sketchOfMany(): Sketch {
  const sketch = new Sketch();
  for (let n = 0; n < USERS_IN_SKETCH; n++) sketch.add(registerOf(`user-${n}`));
  return sketch;
}
