/**
 * Flushes into SQLite.
 * Invariant: a flush is one transaction, and yields to the event loop between pieces.
 */
import type { Database } from "bun:sqlite";
import { countEvents, type JournaledBatch } from "../../../domain/event.ts";
import { letOthersRun } from "../../../runtime/clock.ts";
import { type FlushStore, WriterSealedError } from "../../cold.ts";
import { hourAdditions, totalsOf } from "../../sql/hours.ts";
import { type EventRow, flushName, rowPieces } from "../../sql/rows.ts";
import { UnfoldedHours } from "../../sql/unfolded-hours.ts";
import type { SqliteDatabase } from "./database.ts";
import { setAside } from "./dead-letters.ts";
import { appendPart, foldHour } from "./hours.ts";
import { insertRow } from "./rows.ts";

/** About 1 ms of inserts. */
const ROWS_PER_PIECE = 500;
/** Up to 1 ms: the largest sketches take 50 µs. */
const PARTS_PER_PIECE = 20;

const SEAL_WRITER = `UPDATE writers
  SET sealed = 1, seq = CASE WHEN events = 0 THEN max(seq, ?) ELSE seq END WHERE writer = ?`;
const SEAL_ALL = "UPDATE writers SET sealed = 1 WHERE sealed = 0";
const MOVE_EPOCH = "INSERT INTO epochs (shard, epoch) VALUES (0, ?) ON CONFLICT DO UPDATE SET epoch = excluded.epoch";
const CREATE_WRITER = "INSERT INTO writers (writer, seq) VALUES (?, 0) ON CONFLICT DO NOTHING";
const MOVE_WATERMARK = `
  UPDATE writers SET seq = ?, events = events + ?, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ') WHERE id = ?`;

interface WriterRow {
  readonly id: number;
  readonly seq: number;
  readonly sealed: number;
}

export function flushRole(database: SqliteDatabase, partsPerHour?: number): FlushStore {
  const unfolded = new UnfoldedHours(partsPerHour);
  return {
    async flush(writer, batches, _shard = 0, epoch = undefined) {
      if (batches.length === 0) return 0;
      const what = flushName(writer, batches);
      return await database.transaction(what, (writing) => store(writing, writer, epoch, batches, unfolded));
    },
    // A transaction waits for the flush in progress.
    watermark: (writer) =>
      database.transaction(`read the watermark of writer ${writer}`, (writing) => {
        return readWriter(writing, writer)?.seq ?? 0;
      }),
    seal: (writer, _shard, skippedSeq = 0) =>
      database.transaction(`seal writer ${writer}`, (writing) => {
        writing.query(CREATE_WRITER).run(writer);
        writing.query(SEAL_WRITER).run(skippedSeq, writer);
      }),
    epoch: () => database.transaction("read its epoch", readEpoch),
    beginEpoch: (from, _shard, to = from + 1) =>
      database.transaction(`begin the epoch after ${from}`, (writing) => {
        if (readEpoch(writing) !== from) return false;
        writing.query(SEAL_ALL).run();
        writing.query(MOVE_EPOCH).run(to);
        return true;
      }),
    // A lost data set is initialized again at every start.
    writersOf: async () => new Map(),
  };
}

async function store(
  database: Database,
  writer: string,
  epoch: number | undefined,
  batches: readonly JournaledBatch[],
  unfolded: UnfoldedHours,
): Promise<number> {
  database.query(CREATE_WRITER).run(writer);
  const { id, seq, sealed } = readWriter(database, writer)!;
  const fresh = batches.filter((batch) => batch.seq > seq);
  const last = fresh.at(-1);
  if (last === undefined) return 0;
  if (sealed === 1) throw new WriterSealedError(`writer ${writer} is sealed at batch ${seq}`);
  if (epoch !== undefined && readEpoch(database) !== epoch)
    throw new WriterSealedError(`writer ${writer} is of epoch ${epoch}, which has ended`);
  const refused: EventRow[] = [];
  for (const piece of rowPieces(id, fresh, ROWS_PER_PIECE)) {
    for (const row of piece.rows()) {
      const reason = insertRow(database, row);
      if (reason === undefined) continue;
      setAside(database, row, reason);
      refused.push(row);
    }
    await letOthersRun();
  }
  const additions = hourAdditions(fresh, refused);
  for (const [i, addition] of additions.entries()) {
    appendPart(database, addition, totalsOf(addition), { writer: id, seq: last.seq });
    if (i % PARTS_PER_PIECE === 0) await letOthersRun();
  }
  for (const key of unfolded.append(additions)) {
    foldHour(database, key);
    await letOthersRun();
  }
  const eventCount = countEvents(fresh);
  database.query(MOVE_WATERMARK).run(last.seq, eventCount, id);
  return eventCount;
}

function readEpoch(database: Database): number {
  return database.query<{ epoch: number }, []>("SELECT epoch FROM epochs").get()?.epoch ?? 0;
}

function readWriter(database: Database, writer: string): WriterRow | null {
  return database.query<WriterRow, [string]>("SELECT id, seq, sealed FROM writers WHERE writer = ?").get(writer);
}
