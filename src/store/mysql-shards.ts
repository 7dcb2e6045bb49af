/** Into how many shards the data in MySQL is divided, and which a writer, and so its rows, are of. */
import type { MysqlSession } from "./mysql-link.ts";

const READ = "SELECT shard_count AS count FROM shards WHERE id = 1";

/** Undefined if nobody has said it yet. */
export async function readShardCount(session: MysqlSession): Promise<number | undefined> {
  const [found] = await session.rows<{ count: number }>(READ);
  return found?.count;
}

/** Answers what holds: of several who come first at once, all get the same. */
export async function fixShardCount(session: MysqlSession, count: number): Promise<number> {
  const found = await readShardCount(session);
  if (found !== undefined) return found;
  await session.run("INSERT IGNORE INTO shards (id, shard_count) VALUES (1, ?)", [count]);
  const fixed = await readShardCount(session);
  if (fixed === undefined) throw new Error("the number of shards has no row just after it was written");
  return fixed;
}

/** By the ids of the writers. It never changes: no lock is needed. */
export async function shardsOfWriters(
  session: MysqlSession,
  writers: readonly number[],
): Promise<ReadonlyMap<number, number>> {
  if (writers.length === 0) return new Map();
  const query = "SELECT id, shard FROM writers WHERE id IN (?)";
  const rows = await session.rows<{ id: number; shard: number }>(query, [[...writers]]);
  return new Map(rows.map(({ id, shard }) => [id, shard]));
}
