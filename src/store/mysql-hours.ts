/**
 * The table `hourly`: counts and sketches that grow by what a flush adds.
 * Invariant: a row is locked before its sketch is read, so that no merge is lost between instances.
 */
import type { HourKey } from "../count/event.ts";
import { Sketch } from "../count/sketch.ts";
import { type HourAddition, mergedSketch } from "./aggregate.ts";
import type { ColdHour } from "./cold.ts";
import type { MysqlSession } from "./mysql-link.ts";

/** A sketch is 12 KB, 24 KB as text: a statement with 50 stays below 1.5 MB, and below every packet limit. */
const HOURS_PER_STATEMENT = 50;
const COLUMNS = "hour, stream, clicks, impressions, unique_users, users_sketch";

interface HourRow {
  readonly clicks: number;
  readonly impressions: number;
  readonly users_sketch: Buffer;
}

export async function readHour(
  session: MysqlSession,
  { stream, hour }: HourKey,
): Promise<ColdHour | undefined> {
  const query = "SELECT clicks, impressions, users_sketch FROM hourly WHERE hour = ? AND stream = ?";
  const [row] = await session.rows<HourRow>(query, [hour, stream]);
  if (row === undefined) return undefined;
  return { clicks: row.clicks, impressions: row.impressions, sketch: Sketch.decode(row.users_sketch) };
}

/** Within a transaction. `additions` are in the order of the primary key. */
export async function addToHours(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  for (let i = 0; i < additions.length; i += HOURS_PER_STATEMENT) {
    const piece = additions.slice(i, i + HOURS_PER_STATEMENT);
    await addCounts(session, piece);
    await mergeSketches(session, piece);
  }
}

/** Creates the rows that are missing, and leaves all of them locked. */
async function addCounts(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  const noSketch = Buffer.alloc(0);
  const rows = additions.map(({ hour, stream, clicks, impressions }) => {
    return [hour, stream, clicks, impressions, 0, noSketch];
  });
  const upsert = `INSERT INTO hourly (${COLUMNS}) VALUES ? ON DUPLICATE KEY UPDATE
    clicks = clicks + VALUES(clicks), impressions = impressions + VALUES(impressions)`;
  await session.run(upsert, [rows]);
}

async function mergeSketches(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  const rows: (number | string | Buffer)[][] = [];
  for (const addition of additions) {
    const { hour, stream } = addition;
    const sketch = mergedSketch(await readLockedSketch(session, addition), addition);
    rows.push([hour, stream, 0, 0, sketch.count(), sketch.encode()]);
  }
  const upsert = `INSERT INTO hourly (${COLUMNS}) VALUES ? ON DUPLICATE KEY UPDATE
    unique_users = VALUES(unique_users), users_sketch = VALUES(users_sketch)`;
  await session.run(upsert, [rows]);
}

/**
 * One row a statement: only a lookup by the whole key is sure to lock that row alone. A range over several
 * may be answered by a scan, which waits for rows of other flushes and deadlocks with them.
 */
async function readLockedSketch(session: MysqlSession, { hour, stream }: HourKey): Promise<Uint8Array> {
  const query = "SELECT users_sketch FROM hourly WHERE hour = ? AND stream = ? FOR UPDATE";
  const [row] = await session.rows<{ users_sketch: Buffer }>(query, [hour, stream]);
  if (row === undefined)
    throw new Error(`hour ${hour} of stream ${stream} has no row just after it was written`);
  return row.users_sketch;
}

/** Within a transaction: from here on every flush into this hour waits. */
export async function lockHour(session: MysqlSession, { hour, stream }: HourKey): Promise<void> {
  const create = `INSERT INTO hourly (${COLUMNS}) VALUES (?, ?, 0, 0, 0, '') ON DUPLICATE KEY UPDATE
    clicks = clicks`;
  await session.run(create, [hour, stream]);
}

export async function replaceHour(
  session: MysqlSession,
  { hour, stream }: HourKey,
  counted: ColdHour | undefined,
): Promise<void> {
  if (counted === undefined) {
    await session.run("DELETE FROM hourly WHERE hour = ? AND stream = ?", [hour, stream]);
    return;
  }
  const { clicks, impressions, sketch } = counted;
  const update = `UPDATE hourly SET clicks = ?, impressions = ?, unique_users = ?, users_sketch = ?
    WHERE hour = ? AND stream = ?`;
  await session.run(update, [clicks, impressions, sketch.count(), sketch.encode(), hour, stream]);
}
