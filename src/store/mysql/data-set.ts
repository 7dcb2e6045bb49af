/** The table `data_set` in MySQL. */
import { type DataSet, newDataSet } from "../cold.ts";
import type { MysqlSession } from "./connection/sql-session.ts";

const READ = "SELECT identity, user_key AS userKey FROM data_set WHERE id = 1";

export async function ensureDataSet(session: MysqlSession): Promise<DataSet> {
  const found = await readDataSet(session);
  if (found !== undefined) return found;
  const { identity, userKey } = newDataSet();
  const insert = "INSERT IGNORE INTO data_set (id, identity, user_key) VALUES (1, ?, ?)";
  await session.run(insert, [identity, Buffer.from(userKey)]);
  const made = await readDataSet(session);
  if (made === undefined) throw new Error("the data set has no row just after it was written");
  return made;
}

async function readDataSet(session: MysqlSession): Promise<DataSet | undefined> {
  const [row] = await session.rows<{ identity: string; userKey: Buffer }>(READ);
  return row && { identity: row.identity, userKey: Uint8Array.from(row.userKey) };
}
