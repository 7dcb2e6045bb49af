/**
 * What one shard has to do with the cold store: its own writers, and hours as these alone make them.
 *
 * Invariant: nothing is stored, and no hour taken for known, before the database has said that its data is divided
 * into as many shards as this process thinks: ids and hours are bound to their shard.
 */

import type { JournaledBatch } from "../domain/batch.ts";
import type { HourKey } from "../domain/event.ts";
import { ConfigError } from "../settings/settings.ts";
import type { ColdHour, ColdStore } from "./cold.ts";

/** As ColdStore has them. */
export interface ColdShard {
  open(): Promise<void>;
  flush(writer: string, batches: readonly JournaledBatch[]): Promise<number>;
  watermark(writer: string): Promise<number>;
  seal(writer: string): Promise<void>;
  read(key: HourKey): Promise<ColdHour | undefined>;
  newestHour(): Promise<number | undefined>;
}

/** Throws ConfigError if the settings are for another database, or ColdUnavailableError. The first to ask decides. */
export async function fixShards(cold: ColdStore, shards: number): Promise<void> {
  refuseOtherCount(cold, shards, await cold.fixShardCount(shards));
}

/** The same, and decides nothing. */
export async function checkShards(cold: ColdStore, shards: number): Promise<void> {
  refuseOtherCount(cold, shards, (await cold.shardCount()) ?? shards);
}

function refuseOtherCount(cold: ColdStore, shards: number, found: number): void {
  if (found === shards) return;
  throw new ConfigError(
    `REDIS_SHARDS is ${shards}, but the data in ${cold.description} is divided into ${found}, for good, since event ` +
      `ids and hours are bound to their shard: set REDIS_SHARDS=${found}; or take an empty database and an empty ` +
      "Redis, and bring the events over with 'hourglass export' and 'hourglass import'",
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
    read: (key) => cold.read(key, [shard]),
    // Of all shards, which one look at the end of the primary key tells: an hour that is taken for absent and was
    // empty costs one hydration.
    newestHour: () => cold.newestHour(),
  };
}
