/**
 * The cold store as seen by one shard: its own writers, and its own parts of hours.
 *
 * Invariant: nothing is stored, and no hour is considered known, before the database has confirmed this process's
 * number of shards (ids and hours are bound to their shard) and that the hot store belongs to it.
 */
import type { HourKey, JournaledBatch } from "../domain/event.ts";
import { ConfigError } from "../settings/settings.ts";
import type { ColdConnection, ColdStore, DataSet, IdRowKey } from "./cold.ts";
import { COLD_FILE, JOURNAL_FILE } from "./embedded/files.ts";
import type { HotStore } from "./hot.ts";

export type ColdShard = ReturnType<typeof coldShard>;

/** Throws ConfigError if the database has another number of shards. The first caller sets the number. */
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

export class OtherDatabaseError extends ConfigError {}

/** `hot`: the data set that the hot store belongs to, if known. Throws OtherDatabaseError if it is not this one's. */
export async function refuseOtherDatabase(cold: ColdConnection, hot: DataSet | undefined): Promise<void> {
  if (hot === undefined) return;
  const own = await cold.dataSet();
  if (own.identity === hot.identity) return;
  const found = `of database ${hot.identity}, but ${cold.description} is ${own.identity} (its table data_set)`;
  throw new OtherDatabaseError(
    cold.isInDataDir
      ? `${JOURNAL_FILE} and ${COLD_FILE} in DATA_DIR do not belong together: the journal holds events ${found}, ` +
          `which is new if the file was missing. Put back the ${COLD_FILE} or ${JOURNAL_FILE} that belongs to the ` +
          "other one; or move both away, and what is beside them with these names, to begin anew"
      : `REDIS_URL and MYSQL_URL do not belong together: Redis holds data ${found}. Correct one of them, or set ` +
          "REDIS_URL to an empty Redis if this database's own is lost",
  );
}

/**
 * Throws ConfigError if one of two files that belong together is older than the other, as after the restoration of one.
 * Every start begins an epoch: the hot store announces it, the cold store begins it, and the hot store is initialized.
 */
export async function refuseOtherTime(cold: Pick<ColdStore, "epoch">, hot: HotStore): Promise<void> {
  const known = await hot.epochs?.();
  if (known === undefined) return;
  const { initialized, announced } = known;
  const epoch = await cold.epoch();
  if (epoch >= initialized && epoch <= announced) return;
  const [older, lacks] =
    epoch < initialized
      ? [COLD_FILE, "events that were stored since, while the journal knows their ids"]
      : [JOURNAL_FILE, "ids that were counted since, and possibly events that were not stored yet"];
  const found = `the journal was last used in epoch ${initialized}, ${COLD_FILE} in ${epoch} (their tables epochs)`;
  throw new ConfigError(
    `${JOURNAL_FILE} and ${COLD_FILE} in DATA_DIR are not of the same time: ${found}. ${older} is older and lacks ` +
      `${lacks}. Put back the file that belongs to the other one, or both from one backup; or, to go on without what ` +
      `only the journal holds, move ${JOURNAL_FILE} away, and what is beside it with this name`,
  );
}

function otherThanBefore(hot: DataSet, before: DataSet): OtherDatabaseError {
  return new OtherDatabaseError(
    `REDIS_URL now leads to data of database ${hot.identity}, no longer to that of ${before.identity}`,
  );
}

export function coldShard(cold: ColdStore, shard: number, shards: number) {
  let isChecked = false;
  let mismatch: OtherDatabaseError | undefined;
  let ofHot: DataSet | undefined;
  return {
    /** True if the hot store belongs to another database, as far as known. */
    get isHotOfOther(): boolean {
      return mismatch !== undefined;
    },
    /** Throws OtherDatabaseError if isHotOfOther, without asking the database again. */
    refuseOther(): void {
      if (mismatch !== undefined) throw mismatch;
    },
    /** Throws ConfigError. */
    async open(): Promise<void> {
      await cold.open();
      if (isChecked) return;
      await fixShards(cold, shards);
      const compared = ofHot;
      try {
        await refuseOtherDatabase(cold, compared);
      } catch (error) {
        if (error instanceof OtherDatabaseError && compared === ofHot) mismatch = error;
        throw error;
      }
      if (compared !== ofHot) return;
      mismatch = undefined;
      isChecked = true;
    },
    /** `hot`: the database that the hot store belongs to; undefined if it is empty. */
    expectDataSet(hot: DataSet | undefined): void {
      if (ofHot?.identity === hot?.identity) return;
      // One that belongs to another database than before is refused unless this database says that it is its own.
      mismatch = ofHot && hot && otherThanBefore(hot, ofHot);
      ofHot = hot;
      isChecked = false;
    },
    flush: (writer: string, batches: readonly JournaledBatch[], epoch: number) =>
      cold.flush(writer, batches, shard, epoch),
    watermark: (writer: string) => cold.watermark(writer),
    seal: (writer: string, skippedSeq?: number) => cold.seal(writer, shard, skippedSeq),
    epoch: () => cold.epoch(shard),
    beginEpoch: (from: number, to?: number) => cold.beginEpoch(from, shard, to),
    writersOf: (epoch: number, sealedWithinMs: number) => cold.writersOf(epoch, sealedWithinMs, shard),
    /** Of all writers of the shard, and of one of them. Both include dead letters. */
    async storedEvents(writer?: string) {
      const { total, byWriter } = await cold.storedEvents(writer === undefined ? [] : [writer], shard);
      return { total, ofWriter: byWriter.get(writer ?? "") ?? 0 };
    },
    read: (key: HourKey) => cold.read(key, [shard]),
    // Over all shards: one look at the end of the primary key. An hour wrongly taken as absent costs a hydration.
    newestHour: () => cold.newestHour(),
    dataSet: () => cold.dataSet(),
    time: () => cold.time(),
    flushedIds: (sinceMs: number, before: IdRowKey | undefined) => cold.flushedIds(sinceMs, before, shard),
  };
}
