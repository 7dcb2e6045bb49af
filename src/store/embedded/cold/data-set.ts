/** The table `data_set` in SQLite. */
import type { Database } from "bun:sqlite";
import { type DataSet, newDataSet } from "../../cold.ts";

const READ = "SELECT identity, user_key AS userKey FROM data_set";

/** Call it within a transaction. */
export function ensureDataSet(database: Database): DataSet {
  const { identity, userKey } = newDataSet();
  const insert = "INSERT INTO data_set (id, identity, user_key) VALUES (1, ?, ?) ON CONFLICT DO NOTHING";
  database.query(insert).run(identity, userKey);
  return readDataSet(database);
}

/** Throws if there is none yet, in which case nothing was ever stored. */
export function readDataSet(database: Database): DataSet {
  const found = database.query<DataSet, []>(READ).get();
  if (found === null) throw new Error("the data set has no key yet");
  return found;
}
