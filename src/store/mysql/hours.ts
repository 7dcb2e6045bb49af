/**
 * Rows of `hourly` in MySQL. A shard's hour is the sum of its rows: the first one (writer and seq 0), and the parts
 * that flushes have appended since the last folding.
 * Invariant: changing the first row of an hour, or deleting a part, requires a lock on the first row, so that no merge
 * is lost.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import { type HourTotals, sumOfHours } from "../../domain/hour-range.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import { HOUR_COLUMNS, type HourAddition, type HourRow, hourOfRow, type PartPlace, totalsOf } from "../sql/hours.ts";
import { type MysqlSession, quote } from "./connection/sql-session.ts";

/** Two sketches take 24 KB, 48 KB as text: a statement with these stays below STATEMENT_MAX_BYTES. */
const HOURS_PER_STATEMENT = 20;
const PARTS_MAX_CHARS = 500_000;
const HOURLY_COLUMNS = "hour, stream, shard, writer, seq, clicks, impressions, viewers_sketch, clickers_sketch";

/** `shards` defaults to all. */
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

/** Over all shards: reads the primary key from its end. */
export async function readNewestHour(session: MysqlSession): Promise<number | undefined> {
  const rows = await session.rows<{ hour: number }>("SELECT hour FROM hourly ORDER BY hour DESC LIMIT 1");
  return rows[0]?.hour;
}

/** Reads one entry per stream of the index by stream. */
export async function listStreams(session: MysqlSession, limit: number): Promise<string[]> {
  const query = "SELECT DISTINCT stream FROM hourly ORDER BY stream LIMIT ?";
  return (await session.rows<{ stream: string }>(query, [limit])).map(({ stream }) => stream);
}

/** Call it within a transaction. No other flush waits for these rows. `additions` are in primary-key order. */
export async function appendParts(
  session: MysqlSession,
  shard: number,
  { writer, seq }: PartPlace,
  additions: readonly HourAddition[],
): Promise<void> {
  let [rows, length] = [[] as string[], 0];
  const insert = async () => {
    if (rows.length > 0) await session.run(`INSERT INTO hourly (${HOURLY_COLUMNS}) VALUES ${rows.join()}`);
    [rows, length] = [[], 0];
  };
  for (const addition of additions) {
    const row = rowText([shard, writer, seq], addition, totalsOf(addition));
    if (length + row.length > PARTS_MAX_CHARS) await insert();
    rows.push(row);
    length += row.length;
  }
  await insert();
}

function rowText(
  part: readonly number[],
  { hour, stream }: HourKey,
  { clicks, impressions, users }: HourTotals,
): string {
  const { viewers, clickers } = users.encode();
  const sketches = `x'${viewers.toString("hex")}',x'${clickers.toString("hex")}'`;
  return `(${hour},${quote(stream)},${part.join()},${clicks},${impressions},${sketches})`;
}

/** The seq of each writer's last part: all its earlier parts were committed before. */
type LastParts = Map<number, number>;

interface Folded extends HourKey {
  clicks: number;
  impressions: number;
  readonly users: UserSketches;
  readonly parts: LastParts;
}

/**
 * Merges the parts of each hour into its first row. `keys` are in primary-key order.
 *
 * Not part of a flush's transaction: a DELETE may run as a scan, which waits for the parts of uncommitted flushes.
 * Those wait for nothing here. Two of these transactions may deadlock with each other.
 */
export async function foldHours(session: MysqlSession, shard: number, keys: readonly HourKey[]): Promise<void> {
  for (let i = 0; i < keys.length; i += HOURS_PER_STATEMENT) {
    await session.run("START TRANSACTION");
    await foldPiece(session, shard, keys.slice(i, i + HOURS_PER_STATEMENT));
    await session.run("COMMIT");
  }
}

async function foldPiece(session: MysqlSession, shard: number, keys: readonly HourKey[]): Promise<void> {
  await lockHours(session, shard, keys);
  const hours = new Map<string, Folded>();
  const places = keys.map((key) => `(${placeText(key, shard)})`).join(" OR ");
  const query = `SELECT hour, stream, writer, seq, ${HOUR_COLUMNS} FROM hourly WHERE ${places}`;
  await session.each<HourKey & HourRow & PartPlace>(query, [], (row) => addRow(hours, row));
  const rows = Array.from(hours.values(), (hour) => rowText([shard, 0, 0], hour, hour));
  await session.run(`INSERT INTO hourly (${HOURLY_COLUMNS}) VALUES ${rows.join()} ON DUPLICATE KEY UPDATE
    clicks = VALUES(clicks), impressions = VALUES(impressions),
    viewers_sketch = VALUES(viewers_sketch), clickers_sketch = VALUES(clickers_sketch)`);
  await deleteParts(session, shard, [...hours.values()]);
}

function addRow(hours: Map<string, Folded>, row: HourKey & HourRow & PartPlace): void {
  const { hour, stream, writer, seq } = row;
  const { clicks, impressions, users } = hourOfRow(row);
  const sums = hours.getOrInsertComputed(hourKeyName(stream, hour), () => {
    return { hour, stream, clicks: 0, impressions: 0, users: new UserSketches(), parts: new Map() };
  });
  sums.clicks += clicks;
  sums.impressions += impressions;
  sums.users.merge(users);
  if (writer !== 0) sums.parts.set(writer, Math.max(seq, sums.parts.get(writer) ?? 0));
}

type HourParts = HourKey & { readonly parts: LastParts };

/** Deletes by ranges: one condition per part takes three times as long. */
async function deleteParts(session: MysqlSession, shard: number, hours: readonly HourParts[]): Promise<void> {
  const places = hours.flatMap((hour) => {
    const ofHour = placeText(hour, shard);
    return Array.from(hour.parts, ([writer, seq]) => `(${ofHour} AND writer = ${writer} AND seq <= ${seq})`);
  });
  if (places.length > 0) await session.run(`DELETE FROM hourly WHERE ${places.join(" OR ")}`);
}

/** Adds to the hour's first row, and locks it. Call it within a transaction. */
export async function addToHour(session: MysqlSession, shard: number, addition: HourAddition): Promise<void> {
  await lockHours(session, shard, [addition]);
  const query = `SELECT ${HOUR_COLUMNS} FROM hourly WHERE ${placeText(addition, shard)} AND writer = 0 AND seq = 0`;
  const [first] = await session.rows<HourRow>(query);
  const sum = sumOfHours([hourOfRow(first!), totalsOf(addition)])!;
  await session.run(`REPLACE INTO hourly (${HOURLY_COLUMNS}) VALUES ${rowText([shard, 0, 0], addition, sum)}`);
}

function placeText({ hour, stream }: HourKey, shard: number): string {
  return `hour = ${hour} AND stream = ${quote(stream)} AND shard = ${shard}`;
}

/** Until the transaction ends, nobody else folds, replaces or erases from these hours. Creates missing first rows. */
export async function lockHours(session: MysqlSession, shard: number, keys: readonly HourKey[]): Promise<void> {
  const rows = keys.map(({ hour, stream }) => `(${hour},${quote(stream)},${shard},0,0,0,0,'','')`);
  const insert = `INSERT INTO hourly (${HOURLY_COLUMNS}) VALUES ${rows.join()}`;
  await session.run(`${insert} ON DUPLICATE KEY UPDATE clicks = clicks`);
}

/** Requires lockHours() in the same transaction. Parts of batches above their writer's watermark stay. */
export async function replaceHour(
  session: MysqlSession,
  key: HourKey,
  shard: number,
  counted: HourTotals | undefined,
  watermarks: ReadonlyMap<number, number>,
): Promise<void> {
  const query = `SELECT DISTINCT writer FROM hourly WHERE ${placeText(key, shard)}`;
  const writers = (await session.rows<Pick<PartPlace, "writer">>(query)).map(({ writer }) => writer);
  const parts = new Map(writers.map((writer) => [writer, watermarks.get(writer) ?? 0]));
  await deleteParts(session, shard, [{ ...key, parts }]);
  if (counted === undefined) return;
  await session.run(`INSERT INTO hourly (${HOURLY_COLUMNS}) VALUES ${rowText([shard, 0, 0], key, counted)}`);
}
