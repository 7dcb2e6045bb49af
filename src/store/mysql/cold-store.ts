/** Wires the cold store in MySQL or MariaDB: both accept all of its statements. */
import type { ColdStore } from "../cold.ts";
import { keyRole } from "../sql/api-keys.ts";
import { poisonRole } from "../sql/poison.ts";
import { auditRole } from "./audit.ts";
import { MysqlDatabase, type MysqlDatabaseOptions } from "./connection/database.ts";
import { ensureDataSet } from "./data-set.ts";
import { deadLetterRole } from "./dead-letters.ts";
import { durabilityWarnings } from "./durability.ts";
import { erasureRole } from "./erasure.ts";
import { type FlushPieces, fixShardCount, flushRole, readShardCount } from "./flush/flush.ts";
import { idRole } from "./flush/flushed-ids.ts";
import { migrateSchema } from "./migrate-schema.ts";
import { PartitionKeeper } from "./partitions.ts";
import { insertPoison } from "./poison.ts";
import { readRole } from "./reads.ts";
import { retentionRole } from "./sweep.ts";
import { Upkeep } from "./upkeep.ts";

export interface MysqlColdStoreOptions extends MysqlDatabaseOptions, FlushPieces {
  readonly now: () => number;
}

/** Another server may have taken over. */
const WARNINGS_KNOWN_MS = 5_000;

export function mysqlColdStore(options: MysqlColdStoreOptions): ColdStore {
  const database = new MysqlDatabase(options);
  const partitions = new PartitionKeeper(database, options.now);
  const folding = new Upkeep();
  let warnings: readonly string[] | undefined;
  let warnedMs = 0;
  return {
    name: "MySQL",
    isInDataDir: false,
    description: database.description,
    async open() {
      if (warnings === undefined) {
        await migrateSchema(database);
        await partitions.maintain();
      } else if (performance.now() - warnedMs < WARNINGS_KNOWN_MS) {
        return warnings;
      }
      warnings = await database.read("read its durability settings", durabilityWarnings);
      warnedMs = performance.now();
      return warnings;
    },
    dataSet: () => database.read("read its identity", ensureDataSet),
    shardCount: () => database.read("read its number of shards", readShardCount),
    fixShardCount: (count) => database.read("set its number of shards", fixShardCount, count),
    async upkeep() {
      await partitions.maintain();
      return { partitions: partitions.problem, folding: folding.problem };
    },
    close: () => database.close(),
    ...flushRole(database, folding, options),
    ...idRole(database),
    ...readRole(database),
    ...auditRole(database),
    ...retentionRole(database),
    ...erasureRole(database),
    ...deadLetterRole(database),
    async setAsidePoison(poison) {
      if (poison.length > 0) await database.briefly("set poison aside", insertPoison, poison);
    },
    ...poisonRole(database.sqlOn("alone")),
    ...keyRole(database.sqlOn("read")),
  };
}
