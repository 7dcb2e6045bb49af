/**
 * The table `hourly`: counts and sketches, one row for each shard's part of an hour.
 * Invariant: a row is locked before its sketch is read, so that no merge is lost between instances.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import { type HourTotals, sumOfHours } from "../../domain/hour-range.ts";
import {
  HOUR_COLUMNS,
  type HourAddition,
  type HourRow,
  hourOfRow,
  raisedSketches,
  SKETCH_COLUMNS,
  type StoredSketches,
} from "../sql/hour-rows.ts";
import { type MysqlSession, quote } from "./connection/sql-session.ts";

/** Two sketches are 24 KB, 48 KB as text: a statement with these is below STATEMENT_MAX_BYTES. */
const SKETCHES_PER_STATEMENT = 20;
const HOURS_PER_STATEMENT = 50;
const COLUMNS = "hour, stream, shard, clicks, impressions, unique_users, viewers_sketch, clickers_sketch";

/** Default: the parts of all shards. */
export async function readHour(
  session: MysqlSession,
  { stream, hour }: HourKey,
  shards?: readonly number[],
): Promise<HourTotals | undefined> {
  const ofShards = shards === undefined ? "" : "AND shard IN (?)";
  const query = `SELECT ${HOUR_COLUMNS} FROM hourly WHERE hour = ? AND stream = ? ${ofShards}`;
  const values = [hour, stream, ...(shards === undefined ? [] : [[...shards]])];
  return sumOfHours((await session.rows<HourRow>(query, values)).map(hourOfRow));
}

/** Of all shards, by the primary key from its end on. */
export async function readNewestHour(session: MysqlSession): Promise<number | undefined> {
  const rows = await session.rows<{ hour: number }>("SELECT hour FROM hourly ORDER BY hour DESC LIMIT 1");
  return rows[0]?.hour;
}

/** Reads one entry per stream of the index by stream. */
export async function listStreams(session: MysqlSession, limit: number): Promise<string[]> {
  const query = "SELECT DISTINCT stream FROM hourly ORDER BY stream LIMIT ?";
  return (await session.rows<{ stream: string }>(query, [limit])).map(({ stream }) => stream);
}

/** Within a transaction. `additions` are in the order of the primary key. */
export async function addToHours(
  session: MysqlSession,
  shard: number,
  additions: readonly HourAddition[],
): Promise<void> {
  for (let i = 0; i < additions.length; i += HOURS_PER_STATEMENT) {
    const piece = additions.slice(i, i + HOURS_PER_STATEMENT);
    await addCounts(session, shard, piece);
    await mergeSketches(session, shard, piece);
  }
}

/** Creates the rows that are missing, and leaves all of them locked. */
async function addCounts(session: MysqlSession, shard: number, additions: readonly HourAddition[]): Promise<void> {
  const rows = additions.map(({ hour, stream, clicks, impressions }) => {
    return `(${hour},${quote(stream)},${shard},${clicks},${impressions},0,'','')`;
  });
  await session.run(`INSERT INTO hourly (${COLUMNS}) VALUES ${rows.join()} ON DUPLICATE KEY UPDATE
    clicks = clicks + VALUES(clicks), impressions = impressions + VALUES(impressions)`);
}

/** Late in an hour a flush often raises no register: nothing is written then. */
async function mergeSketches(session: MysqlSession, shard: number, additions: readonly HourAddition[]): Promise<void> {
  const stored = await readSketches(session, shard, additions);
  const rows: string[] = [];
  for (const addition of additions) {
    const { hour, stream } = addition;
    const sketches = stored.get(hourKeyName(stream, hour));
    if (sketches === undefined) {
      throw new Error(`hour ${hour} of stream ${stream} has no row just after it was written`);
    }
    const raised = raisedSketches(sketches, addition);
    if (raised === undefined) continue;
    const { uniqueUsers, viewers, clickers } = raised;
    const key = `${hour},${quote(stream)},${shard}`;
    rows.push(`(${key},0,0,${uniqueUsers},${bytesText(viewers)},${bytesText(clickers)})`);
  }
  for (let i = 0; i < rows.length; i += SKETCHES_PER_STATEMENT) {
    const piece = rows.slice(i, i + SKETCHES_PER_STATEMENT);
    await session.run(`INSERT INTO hourly (${COLUMNS}) VALUES ${piece.join()} ON DUPLICATE KEY UPDATE
      unique_users = VALUES(unique_users),
      viewers_sketch = IF(VALUES(viewers_sketch) = '', viewers_sketch, VALUES(viewers_sketch)),
      clickers_sketch = IF(VALUES(clickers_sketch) = '', clickers_sketch, VALUES(clickers_sketch))`);
  }
}

/** No bytes stand for a sketch that does not change: one that was raised has bytes. */
function bytesText(sketch: Buffer | undefined): string {
  return sketch === undefined ? "''" : `x'${sketch.toString("hex")}'`;
}

/**
 * The rows are locked already, so a plain read suffices. A locking read of several rows may be executed as a scan,
 * which waits for rows of other flushes and deadlocks with them.
 */
async function readSketches(
  session: MysqlSession,
  shard: number,
  additions: readonly HourAddition[],
): Promise<Map<string, StoredSketches>> {
  const keys = additions.map(({ hour, stream }) => `(${hour},${quote(stream)},${shard})`);
  const query = `SELECT hour, stream, ${SKETCH_COLUMNS} FROM hourly WHERE (hour, stream, shard) IN (${keys.join()})`;
  const rows = await session.rows<HourKey & StoredSketches>(query);
  return new Map(rows.map((row) => [hourKeyName(row.stream, row.hour), row]));
}

/** Within a transaction: until its end every flush of the shard into this hour waits. */
export async function lockHour(session: MysqlSession, { hour, stream }: HourKey, shard: number): Promise<void> {
  const create = `INSERT INTO hourly (${COLUMNS}) VALUES (?, ?, ?, 0, 0, 0, '', '') ON DUPLICATE KEY UPDATE
    clicks = clicks`;
  await session.run(create, [hour, stream, shard]);
}

export async function replaceHour(
  session: MysqlSession,
  { hour, stream }: HourKey,
  shard: number,
  counted: HourTotals | undefined,
): Promise<void> {
  const place = [hour, stream, shard];
  if (counted === undefined) {
    await session.run("DELETE FROM hourly WHERE hour = ? AND stream = ? AND shard = ?", place);
    return;
  }
  const { clicks, impressions, users } = counted;
  const { viewers, clickers } = users.encode();
  const update = `UPDATE hourly SET clicks = ?, impressions = ?, unique_users = ?, viewers_sketch = ?,
    clickers_sketch = ? WHERE hour = ? AND stream = ? AND shard = ?`;
  await session.run(update, [clicks, impressions, users.count(), viewers, clickers, ...place]);
}
