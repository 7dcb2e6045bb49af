/** Into how many shards the data in MySQL is divided, and which a writer, and so its rows, are of. */
import type { RowKey } from "../cold.ts";
import type { MysqlSession } from "./link.ts";

/** The writer by its id in the database. */
type OfWriter = Pick<RowKey, "writer">;

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

/**
 * Answers what tells the shard of one of these rows: its writer's, which never changes, so that no lock is needed. Rows
 * whose writer is not known are of shard 0.
 */
export async function shardsOf(
  session: MysqlSession,
  rows: readonly OfWriter[],
): Promise<(row: OfWriter) => number> {
  if (rows.length === 0) return () => 0;
  const ids = [...new Set(rows.map(({ writer }) => writer))];
  const query = "SELECT id, shard FROM writers WHERE id IN (?)";
  const writers = await session.rows<{ id: number; shard: number }>(query, [ids]);
  const shards = new Map(writers.map(({ id, shard }) => [id, shard]));
  return ({ writer }) => shards.get(writer) ?? 0;
}
