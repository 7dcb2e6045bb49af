/**
 * The cold store as one shard uses it: its own writers, and its own parts of hours.
 *
 * Invariant: nothing is stored, and no hour is taken as known, before the database has confirmed the number of shards
 * that this process is set to: ids and hours are bound to their shard.
 */
import type { JournaledBatch } from "../../domain/batch.ts";
import type { HourKey } from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import { ConfigError } from "../../settings/settings.ts";
import type { ColdConnection, ColdStore } from "./cold-store.ts";
import type { DataSet } from "./data-set.ts";

/** Methods as in ColdStore. */
export interface ColdShard {
  open(): Promise<void>;
  flush(writer: string, batches: readonly JournaledBatch[]): Promise<number>;
  watermark(writer: string): Promise<number>;
  seal(writer: string): Promise<void>;
  /** Dead letters included. */
  storedEvents(writer: string): Promise<number>;
  read(key: HourKey): Promise<HourTotals | undefined>;
  newestHour(): Promise<number | undefined>;
  dataSet(): Promise<DataSet>;
}

/** Throws ConfigError if the database has another number of shards. The first caller sets it. */
export async function fixShards(cold: ColdConnection, shards: number): Promise<void> {
  refuseOtherCount(cold, shards, await cold.fixShardCount(shards));
}

/** Like fixShards(), but sets nothing. */
export async function checkShards(cold: ColdConnection, shards: number): Promise<void> {
  refuseOtherCount(cold, shards, (await cold.shardCount()) ?? shards);
}

function refuseOtherCount(cold: ColdConnection, shards: number, found: number): void {
  if (found === shards) return;
  throw new ConfigError(
    `REDIS_SHARDS is ${shards}, but the data in ${cold.description} is divided into ${found}, permanently, since ` +
      `event ids and hours are bound to their shard: set REDIS_SHARDS=${found}; or start with an empty database and ` +
      "an empty Redis, and transfer the events with 'hourglass export' and 'hourglass import'",
  );
}

export function coldShard(cold: ColdStore, shard: number, shards: number): ColdShard {
  let isChecked = false;
  return {
    async open() {
      await cold.open();
      if (isChecked) return;
      await fixShards(cold, shards);
      isChecked = true;
    },
    flush: (writer, batches) => cold.flush(writer, batches, shard),
    watermark: (writer) => cold.watermark(writer),
    seal: (writer) => cold.seal(writer, shard),
    storedEvents: async (writer) => (await cold.storedEvents([writer])).byWriter.get(writer) ?? 0,
    read: (key) => cold.read(key, [shard]),
    // Of all shards, which is one look at the end of the primary key: an hour that is taken as absent and was empty
    // costs one hydration.
    newestHour: () => cold.newestHour(),
    dataSet: () => cold.dataSet(),
  };
}
