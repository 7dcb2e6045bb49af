/**
 * The tables `writers`, `shards` and `epochs` in MySQL. A writer, and so its rows, belongs to one shard.
 *
 * Invariant: a writer gets its row only while its epoch's row is locked. So the transaction that begins the next epoch
 * either seals the writer, or makes it find that its own epoch has ended.
 */
import type { RowKey } from "../../cold.ts";
import type { MysqlSession } from "../connection/sql-session.ts";

export interface NamedWriter {
  readonly name: string;
  /** Shard and epoch apply to a new writer only; an existing one keeps its own. */
  readonly shard: number;
  readonly epoch?: number | undefined;
}

interface WriterRow {
  readonly id: number;
  readonly seq: number;
  readonly sealed: number;
  readonly shard: number;
}

/** Refers to a writer by its id in the database. */
type OfWriter = Pick<RowKey, "writer">;

export async function lockWriter(session: MysqlSession, writer: string): Promise<WriterRow | undefined> {
  const query = "SELECT id, seq, sealed, shard FROM writers WHERE writer = ? FOR UPDATE";
  return (await session.rows<WriterRow>(query, [writer]))[0];
}

export async function lockOrCreateWriter(session: MysqlSession, writer: NamedWriter): Promise<WriterRow> {
  return (await lockWriter(session, writer.name)) ?? (await createWriter(session, writer));
}

/**
 * Only for writers without a row: for others the upsert would use up an id at every flush. If another flush creates the
 * same row, this waits for it and reads the result.
 */
export async function createWriter(session: MysqlSession, writer: NamedWriter): Promise<WriterRow> {
  const { name, shard, epoch = 0 } = writer;
  const upsert = `INSERT INTO writers (writer, seq, shard, epoch) VALUES (?, 0, ?, ?)
    ON DUPLICATE KEY UPDATE seq = seq`;
  await session.run(upsert, [name, shard, epoch]);
  const row = await lockWriter(session, name);
  if (row === undefined) throw new Error(`writer ${name} has no row just after it was written`);
  return row;
}

const READ_SHARD_COUNT = "SELECT shard_count AS count FROM shards WHERE id = 1";

/** Undefined if no instance has set it yet. */
export async function readShardCount(session: MysqlSession): Promise<number | undefined> {
  const [found] = await session.rows<{ count: number }>(READ_SHARD_COUNT);
  return found?.count;
}

/** Returns the number that holds: concurrent first callers all get the same. */
export async function fixShardCount(session: MysqlSession, count: number): Promise<number> {
  const found = await readShardCount(session);
  if (found !== undefined) return found;
  await session.run("INSERT IGNORE INTO shards (id, shard_count) VALUES (1, ?)", [count]);
  const fixed = await readShardCount(session);
  if (fixed === undefined) throw new Error("the number of shards has no row just after it was written");
  return fixed;
}

/** By writer id. All committed rows belong to batches up to these. */
export async function readWatermarks(session: MysqlSession, shard: number): Promise<Map<number, number>> {
  const query = "SELECT id, seq FROM writers WHERE shard = ?";
  const rows = await session.rows<Pick<WriterRow, "id" | "seq">>(query, [shard]);
  return new Map(rows.map(({ id, seq }) => [id, seq]));
}

/**
 * Returns a function from a row to the shard of its writer. A writer's shard never changes, so no lock is needed. Rows
 * of unknown writers belong to shard 0.
 */
export async function shardsOf(session: MysqlSession, rows: readonly OfWriter[]): Promise<(row: OfWriter) => number> {
  if (rows.length === 0) return () => 0;
  const ids = [...new Set(rows.map(({ writer }) => writer))];
  const query = "SELECT id, shard FROM writers WHERE id IN (?)";
  const writers = await session.rows<{ id: number; shard: number }>(query, [ids]);
  const shards = new Map(writers.map(({ id, shard }) => [id, shard]));
  return ({ writer }) => shards.get(writer) ?? 0;
}

interface EpochRow {
  readonly epoch: number;
}

const READ_EPOCH = "SELECT epoch FROM epochs WHERE shard = ?";

export async function readEpoch(session: MysqlSession, shard: number): Promise<number> {
  return (await session.rows<EpochRow>(READ_EPOCH, [shard]))[0]?.epoch ?? 0;
}

/** Must run within a transaction: no other epoch begins before it ends. */
export async function isOfEpoch(session: MysqlSession, shard: number, epoch: number): Promise<boolean> {
  const [row] = await session.rows<EpochRow>(`${READ_EPOCH} LOCK IN SHARE MODE`, [shard]);
  return (row?.epoch ?? 0) === epoch;
}

export async function beginEpoch(session: MysqlSession, shard: number, from: number): Promise<boolean> {
  await session.run("INSERT IGNORE INTO epochs (shard, epoch) VALUES (?, 0)", [shard]);
  await session.run("START TRANSACTION");
  const [row] = await session.rows<EpochRow>(`${READ_EPOCH} FOR UPDATE`, [shard]);
  if (row?.epoch !== from) {
    await session.run("ROLLBACK");
    return false;
  }
  // Locking the writers of other shards would wait for their flushes.
  const query = "SELECT id FROM writers WHERE shard = ? AND sealed = 0";
  const open = await session.rows<{ id: number }>(query, [shard]);
  for (const { id } of open) await session.run("UPDATE writers SET sealed = 1 WHERE id = ?", [id]);
  await session.run("UPDATE epochs SET epoch = epoch + 1 WHERE shard = ?", [shard]);
  await session.run("COMMIT");
  return true;
}

/** A sealed writer's last update was its sealing. */
const OF_EPOCH = `SELECT writer, seq FROM writers WHERE shard = ? AND epoch = ? AND events > 0
  AND (sealed = 0 OR updated_at > NOW(3) - INTERVAL ? SECOND) ORDER BY id DESC LIMIT 1000`;

export async function writersOf(session: MysqlSession, shard: number, epoch: number, sealedWithinMs: number) {
  const rows = await session.rows<{ writer: string; seq: number }>(OF_EPOCH, [shard, epoch, sealedWithinMs / 1_000]);
  return new Map(rows.map(({ writer, seq }) => [writer, seq]));
}
