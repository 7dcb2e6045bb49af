/**
 * The table `epochs` in MySQL.
 *
 * Invariant: a writer that has no row yet gets one only while its epoch's row is locked. So whoever begins the next
 * epoch has either sealed it, or made it find out that its own has ended.
 */
import type { MysqlSession } from "../connection/sql-session.ts";

interface EpochRow {
  readonly epoch: number;
}

const READ = "SELECT epoch FROM epochs WHERE shard = ?";

export async function readEpoch(session: MysqlSession, shard: number): Promise<number> {
  return (await session.rows<EpochRow>(READ, [shard]))[0]?.epoch ?? 0;
}

/** Within a transaction: until its end no other epoch begins. */
export async function isOfEpoch(session: MysqlSession, shard: number, epoch: number): Promise<boolean> {
  const [row] = await session.rows<EpochRow>(`${READ} LOCK IN SHARE MODE`, [shard]);
  return (row?.epoch ?? 0) === epoch;
}

export async function beginEpoch(session: MysqlSession, shard: number, from: number): Promise<boolean> {
  await session.run("INSERT IGNORE INTO epochs (shard, epoch) VALUES (?, 0)", [shard]);
  await session.run("START TRANSACTION");
  const [row] = await session.rows<EpochRow>(`${READ} FOR UPDATE`, [shard]);
  if (row?.epoch !== from) {
    await session.run("ROLLBACK");
    return false;
  }
  // Without a lock on those of other shards, whose flushes would be waited for.
  const query = "SELECT id FROM writers WHERE shard = ? AND sealed = 0";
  const open = await session.rows<{ id: number }>(query, [shard]);
  for (const { id } of open) await session.run("UPDATE writers SET sealed = 1 WHERE id = ?", [id]);
  await session.run("UPDATE epochs SET epoch = epoch + 1 WHERE shard = ?", [shard]);
  await session.run("COMMIT");
  return true;
}
