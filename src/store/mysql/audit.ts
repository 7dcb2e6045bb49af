/** What the tables of MySQL come to, counted from the rows themselves; and the rows. */
import type { HourKey } from "../../domain/event.ts";
import { registerOf } from "../../domain/sketch.ts";
import { UserSketches } from "../../domain/user-sketches.ts";
import { rebuiltHour } from "../aggregate.ts";
import type { ColdHour, HourAudit, RowKey, RowPage, StoredEvents } from "../cold.ts";
import { BEFORE_ALL_ROWS, type ListedRow, pageOf } from "../sql/row-page.ts";
import { countHourDeadLetters } from "./dead-letters.ts";
import { readErased } from "./erasure.ts";
import { lockHour, readHour, replaceHour } from "./hours.ts";
import type { MysqlSession } from "./link.ts";
import { noteChange } from "./progress.ts";
import { lockKept, readKept } from "./retention.ts";
import { IS_BEHIND, placeOf } from "./row-place.ts";
import { shardsOf } from "./shards.ts";

/** About 20 ms of reading, and 1 MB. */
const ROWS_PER_READ = 10_000;

interface CountedRow extends Omit<RowKey, "writer"> {
  readonly kind: "click" | "impression";
  readonly user: Buffer;
}

/** In a session of its own: it changes how that reads. */
export async function auditHour(session: MysqlSession, key: HourKey, shard: number): Promise<HourAudit> {
  await session.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
  await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT");
  const aggregate = await readHour(session, key, [shard]);
  const rows = await recountHour(session, key, shard);
  const deadLetters = await countHourDeadLetters(session, key, shard);
  const erased = await readErased(session, key, shard);
  await session.run("COMMIT");
  // Not of the snapshot: a partition that was dropped after its start is missing from it all the same.
  const kept = await readKept(session);
  return { aggregate, rows, deadLetters, erased, kept };
}

/** From the rows of the shard's writers, one after the other. */
async function recountHour(
  session: MysqlSession,
  key: HourKey,
  shard: number,
): Promise<ColdHour | undefined> {
  const [users, counts] = [new UserSketches(), { click: 0, impression: 0 }];
  for (const writer of await writersOf(session, key, shard)) {
    await eachRow(session, key, writer, ({ kind, user }) => {
      counts[kind] += 1;
      users.add(registerOf(user.toString()), kind === "click");
    });
  }
  const { click: clicks, impression: impressions } = counts;
  return clicks + impressions === 0 ? undefined : { clicks, impressions, users };
}

/**
 * Those that have rows of the hour: from one to the next by the primary key. DISTINCT may read all rows, of which a
 * partitioned table has many.
 */
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

/** By the primary key from where the last piece ended: constant memory, however many rows there are. */
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
 * False if the hour's rows are not kept. Until the end no more are said to be dropped, and none are erased.
 *
 * A flush into this hour writes its rows before it comes to the lock taken here, but commits them after. It is
 * not seen by the reads, each of which sees what is committed at that moment, and adds to the new aggregate.
 */
export async function rebuildHour(session: MysqlSession, key: HourKey, shard: number): Promise<boolean> {
  await session.run("START TRANSACTION");
  const { rowsFrom } = await lockKept(session);
  if (key.hour < rowsFrom) {
    await session.run("ROLLBACK");
    return false;
  }
  await lockHour(session, key, shard);
  const stored = await readHour(session, key, [shard]);
  const erased = await readErased(session, key, shard);
  await replaceHour(session, key, shard, rebuiltHour(await recountHour(session, key, shard), erased, stored));
  await noteChange(session);
  await session.run("COMMIT");
  return true;
}

export async function listRows(
  session: MysqlSession,
  { stream, hour }: HourKey,
  after: RowKey | undefined,
  limit: number,
): Promise<RowPage> {
  const query = `SELECT writer, seq, ordinal, at, kind, user, id FROM events
    WHERE hour = ? AND stream = ? AND ${IS_BEHIND} ORDER BY writer, seq, ordinal LIMIT ?`;
  const place = placeOf(after ?? BEFORE_ALL_ROWS);
  type BytesRow = Omit<ListedRow, "user" | "id"> & { user: Buffer; id: Buffer | null };
  const rows = await session.rows<BytesRow>(query, [hour, stream, ...place, limit]);
  const texts = rows.map((row) => ({ ...row, user: row.user.toString(), id: row.id?.toString() ?? null }));
  return pageOf(stream, texts, limit);
}

export async function listHourKeys(session: MysqlSession): Promise<HourKey[]> {
  const rows = await session.rows<{ hour: number; stream: Buffer }>(`
    SELECT hour, CAST(stream AS BINARY) AS stream FROM hourly
    UNION SELECT DISTINCT hour, CAST(stream AS BINARY) FROM events
    UNION SELECT hour, stream FROM dead_letters
    ORDER BY hour, stream`);
  return rows.map(({ hour, stream }) => ({ hour, stream: stream.toString() }));
}

export async function countStoredEvents(
  session: MysqlSession,
  writers: readonly string[],
): Promise<StoredEvents> {
  // One statement, so that it is of one instant. No writer has an empty name.
  const query = `SELECT writer, events FROM writers WHERE writer IN (?)
    UNION ALL SELECT '', CAST(COALESCE(SUM(events), 0) AS UNSIGNED) FROM writers`;
  const rows = await session.rows<{ writer: string; events: number }>(query, [["", ...writers]]);
  const byWriter = new Map(rows.map(({ writer, events }) => [writer, Number(events)]));
  const total = byWriter.get("") ?? 0;
  byWriter.delete("");
  return { total, byWriter };
}
