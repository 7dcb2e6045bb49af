/** The reads of `verify` and `export` in MySQL: rows, and hours recounted from them. */
import type { HourKey } from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import { UserHash } from "../../domain/unique-users/user-hash.ts";
import type { AuditStore, HourAudit, RowKey } from "../cold.ts";
import { rebuiltHour } from "../sql/hours.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import { noteChange } from "./connection/flushed-position.ts";
import { isAlteredSinceSnapshot, type MysqlSession } from "./connection/sql-session.ts";
import { ensureDataSet } from "./data-set.ts";
import { countHourDeadLetters } from "./dead-letters.ts";
import { readErased } from "./erasure.ts";
import { readWatermarks, shardsOf } from "./flush/flush.ts";
import { lockHours, readHour, replaceHour } from "./hours.ts";
import { listRows } from "./rows.ts";
import { lockBounds, readBounds } from "./sweep.ts";

export function auditRole(database: MysqlDatabase): AuditStore {
  return {
    hourKeys: () => database.readPast("scan", "list hours", listHourKeys),
    rows: (key, after, limit) =>
      database.readPast("scan", `read rows of hour ${key.hour} of stream ${key.stream}`, (session) =>
        listRows(session, key, after, limit),
      ),
    async audit(key, shard = 0) {
      const what = `audit hour ${key.hour} of stream ${key.stream}`;
      const audit = () => database.alone(what, auditHour, key, shard);
      try {
        return await audit();
      } catch (error) {
        // A partition was added or dropped at that moment.
        if (!isAlteredSinceSnapshot(error instanceof Error && error.cause)) throw error;
        return await audit();
      }
    },
    rebuild: (key, shard = 0) =>
      database.alone(`rebuild hour ${key.hour} of stream ${key.stream}`, rebuildHour, key, shard),
  };
}

/** About 20 ms and 1 MB. */
const ROWS_PER_READ = 10_000;

interface CountedRow extends Omit<RowKey, "writer"> {
  readonly kind: "click" | "impression";
  readonly user: Buffer;
}

/** Requires its own session, since it changes the isolation level. */
async function auditHour(session: MysqlSession, key: HourKey, shard: number): Promise<HourAudit> {
  await session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
  await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT");
  const aggregate = await readHour(session, key, [shard]);
  const rows = await recountHour(session, key, shard);
  const deadLetters = await countHourDeadLetters(session, key, shard);
  const erased = await readErased(session, key, shard);
  await session.run("COMMIT");
  // Read after the snapshot: a partition dropped after the snapshot's start is missing from it too.
  const retained = await readBounds(session);
  return { aggregate, rows, deadLetters, erased, retained };
}

/** `watermarks`: the last batch to count, by writer; default: count all. */
async function recountHour(
  session: MysqlSession,
  key: HourKey,
  shard: number,
  watermarks?: ReadonlyMap<number, number>,
): Promise<HourTotals | undefined> {
  const hash = new UserHash((await ensureDataSet(session)).userKey);
  const [users, counts] = [new UserSketches(), { click: 0, impression: 0 }];
  for (const writer of await writersOf(session, key, shard)) {
    const last = watermarks === undefined ? Number.POSITIVE_INFINITY : (watermarks.get(writer) ?? 0);
    await eachRow(session, key, writer, ({ seq, kind, user }) => {
      if (seq > last) return;
      counts[kind] += 1;
      users.add(hash.registerOf(user.toString()), kind === "click");
    });
  }
  const { click: clicks, impression: impressions } = counts;
  return clicks + impressions === 0 ? undefined : { clicks, impressions, users };
}

/** The writers with rows in the hour. Jumps from one to the next in the primary key: DISTINCT may read all rows. */
async function writersOf(session: MysqlSession, { stream, hour }: HourKey, shard: number): Promise<number[]> {
  const query = `SELECT writer FROM events WHERE hour = ? AND stream = ? AND writer > ?
    ORDER BY writer LIMIT 1`;
  const found: { writer: number }[] = [];
  for (let last = 0; ; ) {
    const [next] = await session.rows<{ writer: number }>(query, [hour, stream, last]);
    if (next === undefined) break;
    last = next.writer;
    found.push(next);
  }
  const shardOf = await shardsOf(session, found);
  return found.filter((row) => shardOf(row) === shard).map(({ writer }) => writer);
}

/** Reads in primary-key order, in pieces, with constant memory. */
async function eachRow(
  session: MysqlSession,
  { stream, hour }: HourKey,
  writer: number,
  visit: (row: CountedRow) => void,
): Promise<void> {
  const query = `SELECT seq, ordinal, kind, user FROM events
    WHERE hour = ? AND stream = ? AND writer = ? AND (seq > ? OR (seq = ? AND ordinal > ?))
    ORDER BY seq, ordinal LIMIT ${ROWS_PER_READ}`;
  let [seq, ordinal] = [-1, 0];
  for (;;) {
    const rows = await session.rows<CountedRow>(query, [hour, stream, writer, seq, seq, ordinal]);
    for (const row of rows) visit(row);
    const end = rows.at(-1);
    if (end === undefined) return;
    ({ seq, ordinal } = end);
  }
}

/**
 * False if the hour's rows are not retained. Until the transaction ends, the bounds do not move and no row is erased.
 *
 * Flushes do not wait meanwhile. What they store from here on is above the watermarks read first, so those rows are not
 * counted and those parts of the aggregate stay.
 */
async function rebuildHour(session: MysqlSession, key: HourKey, shard: number): Promise<boolean> {
  await session.run("START TRANSACTION");
  const { rowsFrom } = await lockBounds(session);
  if (key.hour < rowsFrom) {
    await session.run("ROLLBACK");
    return false;
  }
  await lockHours(session, shard, [key]);
  const watermarks = await readWatermarks(session, shard);
  const stored = await readHour(session, key, [shard]);
  const erased = await readErased(session, key, shard);
  const rows = await recountHour(session, key, shard, watermarks);
  await replaceHour(session, key, shard, rebuiltHour(rows, erased, stored), watermarks);
  await noteChange(session);
  await session.run("COMMIT");
  return true;
}

async function listHourKeys(session: MysqlSession): Promise<HourKey[]> {
  const rows = await session.rows<{ hour: number; stream: Buffer }>(`
    SELECT hour, CAST(stream AS BINARY) AS stream FROM hourly
    UNION SELECT DISTINCT hour, CAST(stream AS BINARY) FROM events
    UNION SELECT hour, stream FROM dead_letters
    ORDER BY hour, stream`);
  return rows.map(({ hour, stream }) => ({ hour, stream: stream.toString() }));
}
