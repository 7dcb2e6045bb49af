/**
 * The table `hourly`: counts and sketches that grow by what a flush adds.
 * Invariant: a row is locked before its sketch is read, so that no merge is lost between instances.
 */
import { type HourKey, hourKeyName } from "../count/event.ts";
import { UserSketches } from "../count/user-sketches.ts";
import { type HourAddition, raisedSketches, type StoredSketches } from "./aggregate.ts";
import type { ColdHour } from "./cold.ts";
import { type MysqlSession, quote } from "./mysql-link.ts";

/** Two sketches are 24 KB, 48 KB as text: a statement with 50 stays below 3 MB, and below every packet limit. */
const HOURS_PER_STATEMENT = 50;
const COLUMNS = "hour, stream, clicks, impressions, unique_users, viewers_sketch, clickers_sketch";
const SKETCHES = "viewers_sketch AS viewers, clickers_sketch AS clickers";

interface HourRow extends StoredSketches {
  readonly clicks: number;
  readonly impressions: number;
}

export async function readHour(
  session: MysqlSession,
  { stream, hour }: HourKey,
): Promise<ColdHour | undefined> {
  const query = `SELECT clicks, impressions, ${SKETCHES} FROM hourly WHERE hour = ? AND stream = ?`;
  const [row] = await session.rows<HourRow>(query, [hour, stream]);
  if (row === undefined) return undefined;
  const { clicks, impressions, viewers, clickers } = row;
  return { clicks, impressions, users: UserSketches.decode(viewers, clickers) };
}

/** Of the index by stream only one entry a stream is read. */
export async function listStreams(session: MysqlSession, limit: number): Promise<string[]> {
  const query = "SELECT DISTINCT stream FROM hourly ORDER BY stream LIMIT ?";
  return (await session.rows<{ stream: string }>(query, [limit])).map(({ stream }) => stream);
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
  const rows = additions.map(({ hour, stream, clicks, impressions }) => {
    return `(${hour},${quote(stream)},${clicks},${impressions},0,'','')`;
  });
  await session.run(`INSERT INTO hourly (${COLUMNS}) VALUES ${rows.join()} ON DUPLICATE KEY UPDATE
    clicks = clicks + VALUES(clicks), impressions = impressions + VALUES(impressions)`);
}

/** An hour that has long begun is often brought no register that would rise: nothing is written then. */
async function mergeSketches(session: MysqlSession, additions: readonly HourAddition[]): Promise<void> {
  const stored = await readSketches(session, additions);
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
    const key = `${hour},${quote(stream)}`;
    rows.push(`(${key},0,0,${uniqueUsers},${bytesText(viewers)},${bytesText(clickers)})`);
  }
  if (rows.length === 0) return;
  await session.run(`INSERT INTO hourly (${COLUMNS}) VALUES ${rows.join()} ON DUPLICATE KEY UPDATE
    unique_users = VALUES(unique_users),
    viewers_sketch = IF(VALUES(viewers_sketch) = '', viewers_sketch, VALUES(viewers_sketch)),
    clickers_sketch = IF(VALUES(clickers_sketch) = '', clickers_sketch, VALUES(clickers_sketch))`);
}

/** Nothing stands for a sketch that stays as it is: one that was raised has bytes. */
function bytesText(sketch: Buffer | undefined): string {
  return sketch === undefined ? "''" : `x'${sketch.toString("hex")}'`;
}

/**
 * The rows are locked already, so that a plain read sees what nobody else can change. A locking one over
 * several rows may be answered by a scan, which waits for rows of other flushes and deadlocks with them.
 */
async function readSketches(
  session: MysqlSession,
  additions: readonly HourAddition[],
): Promise<Map<string, StoredSketches>> {
  const keys = additions.map(({ hour, stream }) => `(${hour},${quote(stream)})`);
  const query = `SELECT hour, stream, ${SKETCHES} FROM hourly WHERE (hour, stream) IN (${keys.join()})`;
  const rows = await session.rows<HourKey & StoredSketches>(query);
  return new Map(rows.map((row) => [hourKeyName(row.stream, row.hour), row]));
}

/** Within a transaction: from here on every flush into this hour waits. */
export async function lockHour(session: MysqlSession, { hour, stream }: HourKey): Promise<void> {
  const create = `INSERT INTO hourly (${COLUMNS}) VALUES (?, ?, 0, 0, 0, '', '') ON DUPLICATE KEY UPDATE
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
  const { clicks, impressions, users } = counted;
  const { viewers, clickers } = users.encode();
  const update = `UPDATE hourly SET clicks = ?, impressions = ?, unique_users = ?, viewers_sketch = ?,
    clickers_sketch = ? WHERE hour = ? AND stream = ?`;
  await session.run(update, [clicks, impressions, users.count(), viewers, clickers, hour, stream]);
}
