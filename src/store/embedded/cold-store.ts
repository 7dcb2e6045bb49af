/** Wires the cold store in SQLite: one shard, in the file `cold.sqlite` of `dataDir`. */
import type { ColdStore } from "../cold.ts";
import { keyRole } from "../sql/api-keys.ts";
import { poisonRole } from "../sql/poison.ts";
import { auditRole } from "./cold/audit.ts";
import { ensureDataSet } from "./cold/data-set.ts";
import { SqliteDatabase } from "./cold/database.ts";
import { deadLetterRole } from "./cold/dead-letters.ts";
import { erasureRole } from "./cold/erasure.ts";
import { flushRole } from "./cold/flush.ts";
import { insertPoison } from "./cold/poison.ts";
import { readRole } from "./cold/reads.ts";
import { retentionRole } from "./cold/sweep.ts";

interface EmbeddedColdStoreOptions {
  readonly dataDir: string;
  /** How many parts an hour may have before a flush folds them. */
  readonly partsPerHour?: number | undefined;
}

export function embeddedColdStore({ dataDir, partsPerHour }: EmbeddedColdStoreOptions): ColdStore {
  const database = new SqliteDatabase(dataDir);
  return {
    name: "SQLite",
    isInDataDir: true,
    description: database.description,
    async open() {
      await database.open();
      // Each connection sets what durability needs.
      return [];
    },
    dataSet: () => database.transaction("read its identity", ensureDataSet),
    // No other process uses it.
    shardCount: async () => 1,
    fixShardCount: async () => 1,
    // There are no partitions, and flushes fold.
    upkeep: async () => ({}),
    close: () => database.close(),
    // The embedded hot store keeps its ids in its own journal file, so it never reads them from here.
    time: async () => Date.now(),
    flushedIds: async () => ({ ids: [], next: undefined }),
    forgetFlushedIds: async () => false,
    ...flushRole(database, partsPerHour),
    ...readRole(database),
    ...auditRole(database),
    ...retentionRole(database),
    ...erasureRole(database),
    ...deadLetterRole(database),
    setAsidePoison: (poison) => database.transaction("set poison aside", (writing) => insertPoison(writing, poison)),
    ...poisonRole(database.sql),
    ...keyRole(database.sql),
  };
}
