/**
 * Flushes into MySQL.
 *
 * Invariant: a flush is one transaction that begins by locking the writer's row. Another flush of the same writer (a
 * retry after a lost answer, or an adopter of its journal) waits until the first is settled, and sees its watermark.
 */
import { countEvents, type JournaledBatch } from "../../../domain/event.ts";
import { type FlushStore, flushName, WriterSealedError } from "../../cold.ts";
import { rowPieces } from "../../sql/event-rows.ts";
import { type HourAddition, hourAdditions } from "../../sql/hour-rows.ts";
import { UnfoldedHours } from "../../sql/unfolded-hours.ts";
import type { MysqlDatabase } from "../connection/database.ts";
import type { MysqlSession } from "../connection/sql-session.ts";
import { setAside } from "../dead-letters.ts";
import { appendParts, foldHours } from "../hours.ts";
import type { PartitionKeeper } from "../partitions.ts";
import { insertRows, type RefusedRow } from "../rows.ts";
import type { Upkeep } from "../upkeep.ts";
import { insertIds } from "./flushed-ids.ts";
import {
  beginEpoch,
  createWriter,
  isOfEpoch,
  lockOrCreateWriter,
  lockWriter,
  type NamedWriter,
  readEpoch,
  writersOf,
} from "./writers.ts";

/** An INSERT's text is built without yielding: 1,000 rows take about 1 ms. */
const DEFAULT_ROWS_PER_INSERT = 1_000;

const SEAL = "UPDATE writers SET sealed = 1, seq = IF(events = 0, GREATEST(seq, ?), seq) WHERE id = ?";

export interface FlushPieces {
  readonly rowsPerInsert?: number | undefined;
  /** How many parts an hour may have before a flush folds them. */
  readonly partsPerHour?: number | undefined;
}

export function flushRole(
  database: MysqlDatabase,
  partitions: PartitionKeeper,
  folding: Upkeep,
  { rowsPerInsert = DEFAULT_ROWS_PER_INSERT, partsPerHour }: FlushPieces,
): FlushStore {
  const unfoldedOf: UnfoldedHours[] = [];
  return {
    async flush(writer, batches, shard = 0, epoch = undefined) {
      if (batches.length === 0) return 0;
      const named = { name: writer, shard, epoch };
      const flushed = await database.flush(flushName(writer, batches), store, named, batches, rowsPerInsert);
      unfoldedOf[flushed.shard] ??= new UnfoldedHours(partsPerHour);
      const hours = unfoldedOf[flushed.shard]!.append(flushed.additions);
      if (hours.length > 0) await folding.attempt(database.flush("fold hours", foldHours, flushed.shard, hours));
      void partitions.maintain();
      return flushed.eventCount;
    },
    watermark: (writer) =>
      database.flush(`read the watermark of writer ${writer}`, async (session) => {
        await session.run("START TRANSACTION");
        const row = await lockWriter(session, writer);
        await session.run("ROLLBACK");
        return row?.seq ?? 0;
      }),
    seal: (writer, shard = 0, skippedSeq = 0) =>
      database.flush(`seal writer ${writer}`, async (session) => {
        await session.run("START TRANSACTION");
        const { id } = await lockOrCreateWriter(session, { name: writer, shard });
        await session.run(SEAL, [skippedSeq, id]);
        await session.run("COMMIT");
      }),
    epoch: (shard = 0) => database.read("read its epoch", readEpoch, shard),
    beginEpoch: (from, shard = 0) => database.flush(`begin the epoch after ${from}`, beginEpoch, shard, from),
    writersOf: (epoch, sealedWithinMs, shard = 0) =>
      database.read(`list the writers of epoch ${epoch}`, writersOf, shard, epoch, sealedWithinMs),
  };
}

async function createInEpoch(session: MysqlSession, writer: NamedWriter) {
  const { epoch } = writer;
  if (epoch !== undefined && !(await isOfEpoch(session, writer.shard, epoch))) {
    await session.run("ROLLBACK");
    throw new WriterSealedError(`writer ${writer.name} is of epoch ${epoch}, which has ended`);
  }
  return await createWriter(session, writer);
}

interface Flushed {
  readonly shard: number;
  readonly additions: readonly HourAddition[];
  readonly eventCount: number;
}

async function store(
  session: MysqlSession,
  writer: NamedWriter,
  batches: readonly JournaledBatch[],
  rowsPerInsert: number,
): Promise<Flushed> {
  await session.run("START TRANSACTION");
  const row = (await lockWriter(session, writer.name)) ?? (await createInEpoch(session, writer));
  const { id, seq, sealed, shard } = row;
  const fresh = batches.filter((batch) => batch.seq > seq);
  const last = fresh.at(-1);
  if (last === undefined || sealed === 1) {
    await session.run("ROLLBACK");
    if (last !== undefined) throw new WriterSealedError(`writer ${writer.name} is sealed at batch ${seq}`);
    return { shard, additions: [], eventCount: 0 };
  }
  const refused: RefusedRow[] = [];
  for (const piece of rowPieces(id, fresh, rowsPerInsert)) {
    refused.push(...(await insertRows(session, piece)));
  }
  if (refused.length > 0) await setAside(session, refused);
  await insertIds(session, { writer: id, seq: last.seq, shard }, fresh);
  const refusedRows = refused.map(({ row }) => row);
  const additions = hourAdditions(fresh, refusedRows);
  await appendParts(session, shard, { writer: id, seq: last.seq }, additions);
  const eventCount = countEvents(fresh);
  const move = "UPDATE writers SET seq = ?, events = events + ? WHERE id = ?";
  await session.run(move, [last.seq, eventCount, id]);
  await session.run("COMMIT");
  return { shard, additions, eventCount };
}
