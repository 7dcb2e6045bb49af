/**
 * Flushes into MySQL, and the tables `writers`, `shards` and `epochs`. A writer, and so its rows, belongs to one shard.
 *
 * Invariants:
 * - A flush is one transaction that begins by locking the writer's row. Another flush of the same writer (a retry after
 *   a lost answer, or an adopter of its journal) waits until the first is settled, and sees its watermark.
 * - A writer gets its row only while its epoch's row is locked. So the transaction that begins the next epoch either
 *   seals the writer, or makes it find that its own epoch has ended.
 */
import { countEvents, hasIds, type JournaledBatch } from "../../../domain/event.ts";
import { type FlushStore, type RowKey, WriterSealedError } from "../../cold.ts";
import { type HourAddition, hourAdditions } from "../../sql/hours.ts";
import { EVENT_COLUMNS, type EventRow, flushName, type RowPiece, rowPieces } from "../../sql/rows.ts";
import { UnfoldedHours } from "../../sql/unfolded-hours.ts";
import type { MysqlDatabase } from "../connection/database.ts";
import { type MysqlSession, quote, STATEMENT_MAX_BYTES } from "../connection/sql-session.ts";
import { appendParts, foldHours } from "../hours.ts";
import type { Upkeep } from "../upkeep.ts";
import { insertIds } from "./flushed-ids.ts";

/** An INSERT's text is built without yielding: 1,000 rows take about 1 ms. */
const DEFAULT_ROWS_PER_INSERT = 1_000;
const COLUMNS_WITHOUT_ID = EVENT_COLUMNS.replace(", id", "");
/** Their numbers in the column's ENUM (migrations/0001-tables.sql). */
const CLICK = 1;
const IMPRESSION = 2;
/** Per UTF-16 unit. */
const UTF8_BYTES_MAX = 3;
const REASON_MAX_CHARS = 500;
/** Each takes at most 1.5 KB. */
const REFUSED_PER_INSERT = 250;

const SEAL = "UPDATE writers SET sealed = 1, seq = IF(events = 0, GREATEST(seq, ?), seq) WHERE id = ?";

interface NamedWriter {
  readonly name: string;
  /** Shard and epoch apply to a new writer only; an existing one keeps its own. */
  readonly shard: number;
  readonly epoch?: number | undefined;
}

interface WriterRow {
  readonly id: number;
  readonly seq: number;
  readonly sealed: number;
  readonly shard: number;
  readonly epoch: number;
}

/** Refers to a writer by its id in the database. */
type OfWriter = Pick<RowKey, "writer">;

export interface FlushPieces {
  readonly rowsPerInsert?: number | undefined;
  /** How many parts an hour may have before a flush folds them. */
  readonly partsPerHour?: number | undefined;
}

export function flushRole(
  database: MysqlDatabase,
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
    beginEpoch: (from, shard = 0, to = from + 1) =>
      database.flush(`begin the epoch after ${from}`, beginEpoch, shard, from, to),
    writersOf: (epoch, sealedWithinMs, shard = 0) =>
      database.read(`list the writers of epoch ${epoch}`, writersOf, shard, epoch, sealedWithinMs),
  };
}

function ofEndedEpoch({ name, epoch }: NamedWriter): WriterSealedError {
  return new WriterSealedError(`writer ${name} is of epoch ${epoch}, which has ended`);
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
  const row = await lockOrCreateWriter(session, writer);
  const { id, seq, sealed, shard } = row;
  const fresh = batches.filter((batch) => batch.seq > seq);
  const last = fresh.at(-1);
  // An adopter may have stored the first batches in a later epoch, the beginning of which sealed other writers only.
  const isOver = writer.epoch !== undefined && row.epoch > writer.epoch;
  if (last === undefined || sealed === 1 || isOver) {
    await session.run("ROLLBACK");
    if (last === undefined) return { shard, additions: [], eventCount: 0 };
    throw isOver ? ofEndedEpoch(writer) : new WriterSealedError(`writer ${writer.name} is sealed at batch ${seq}`);
  }
  const refused: RefusedRow[] = [];
  for (const piece of rowPieces(id, fresh, rowsPerInsert)) {
    refused.push(...(await insertRows(session, piece)));
  }
  if (refused.length > 0) await setAside(session, refused);
  if (fresh.some(hasIds)) await insertIds(session, { writer: id, seq: last.seq, shard }, fresh);
  const refusedRows = refused.map(({ row }) => row);
  const additions = hourAdditions(fresh, refusedRows);
  await appendParts(session, shard, { writer: id, seq: last.seq }, additions);
  const eventCount = countEvents(fresh);
  const move = "UPDATE writers SET seq = ?, events = events + ? WHERE id = ?";
  await session.run(move, [last.seq, eventCount, id]);
  await session.run("COMMIT");
  return { shard, additions, eventCount };
}

interface RefusedRow {
  readonly row: EventRow;
  readonly reason: string;
}

/** Returns the rows that the server refuses, found by bisection. A statement that is too long is also halved. */
async function insertRows(session: MysqlSession, piece: RowPiece): Promise<RefusedRow[]> {
  const text = `INSERT INTO events ${insertText(piece)}`;
  const isShort = text.length * UTF8_BYTES_MAX <= STATEMENT_MAX_BYTES || Buffer.byteLength(text) <= STATEMENT_MAX_BYTES;
  if (piece.rowCount === 1 || isShort) {
    const reason = await session.tryRun(text);
    if (reason === undefined) return [];
    if (piece.rowCount === 1) return [{ row: piece.rows()[0]!, reason }];
  }
  const [left, right] = piece.halves();
  return [...(await insertRows(session, left)), ...(await insertRows(session, right))];
}

/**
 * "(hour, …) VALUES (…),(…)". Built here, since an array per row, which mysql2 walks value by value, costs 3 times as
 * much (1.2 µs per row). The server takes 5 µs to read and store a row, and 4 if its kind is a number and its id is not
 * a NULL.
 */
function insertText({ writerId, spans }: RowPiece): string {
  const haveIds = spans.some(({ placed }) => placed.group.ids !== null);
  let text = haveIds ? `(${EVENT_COLUMNS}) VALUES ` : `(${COLUMNS_WITHOUT_ID}) VALUES `;
  let separator = "";
  let [lastHour, lastStream, place] = [-1, "", ""];
  for (const { placed, from, to } of spans) {
    const { hour, stream, seq, firstOrdinal, group } = placed;
    const { ats, clickFlags, users, ids } = group;
    if (hour !== lastHour || stream !== lastStream) {
      [lastHour, lastStream, place] = [hour, stream, `(${hour},${quote(stream)},${writerId},`];
    }
    const key = `${place}${seq},`;
    for (let i = from; i < to; i++) {
      const kind = clickFlags[i] === true ? CLICK : IMPRESSION;
      text += `${separator}${key}${firstOrdinal + i},${ats[i]},${kind},${quote(users[i]!)}`;
      if (haveIds) text += `,${idLiteral(ids?.[i] ?? null)}`;
      text += ")";
      separator = ",";
    }
  }
  return text;
}

function idLiteral(id: string | null): string {
  return id === null ? "NULL" : quote(id);
}

/** Call it within the transaction that moves the watermark past these rows. */
async function setAside(session: MysqlSession, refused: readonly RefusedRow[]): Promise<void> {
  for (let i = 0; i < refused.length; i += REFUSED_PER_INSERT) {
    const rows = refused.slice(i, i + REFUSED_PER_INSERT).map(({ row, reason }) => {
      return [...row, reason.slice(0, REASON_MAX_CHARS)];
    });
    await session.run(`INSERT INTO dead_letters (${EVENT_COLUMNS}, reason) VALUES ?`, [rows]);
  }
}

async function lockWriter(session: MysqlSession, writer: string): Promise<WriterRow | undefined> {
  const query = "SELECT id, seq, sealed, shard, epoch FROM writers WHERE writer = ? FOR UPDATE";
  return (await session.rows<WriterRow>(query, [writer]))[0];
}

/**
 * Only for writers without a row does it insert one: the upsert would use up an id at every flush. If another flush
 * creates the same row, this waits for it and reads the result.
 */
async function lockOrCreateWriter(session: MysqlSession, writer: NamedWriter): Promise<WriterRow> {
  const { name, shard, epoch } = writer;
  const known = await lockWriter(session, name);
  if (known !== undefined) return known;
  if (epoch !== undefined && !(await isOfEpoch(session, shard, epoch))) {
    await session.run("ROLLBACK");
    throw ofEndedEpoch(writer);
  }
  const upsert = `INSERT INTO writers (writer, seq, shard, epoch) VALUES (?, 0, ?, ?)
    ON DUPLICATE KEY UPDATE seq = seq`;
  await session.run(upsert, [name, shard, epoch ?? 0]);
  const row = await lockWriter(session, name);
  if (row === undefined) throw new Error(`writer ${name} has no row just after it was written`);
  return row;
}

const READ_SHARD_COUNT = "SELECT shard_count AS count FROM shards WHERE id = 1";

/** Undefined if no instance has set it yet. */
export async function readShardCount(session: MysqlSession): Promise<number | undefined> {
  const [found] = await session.rows<{ count: number }>(READ_SHARD_COUNT);
  return found?.count;
}

/** Returns the number that holds: concurrent first callers all get the same. */
export async function fixShardCount(session: MysqlSession, count: number): Promise<number> {
  const found = await readShardCount(session);
  if (found !== undefined) return found;
  await session.run("INSERT IGNORE INTO shards (id, shard_count) VALUES (1, ?)", [count]);
  const fixed = await readShardCount(session);
  if (fixed === undefined) throw new Error("the number of shards has no row just after it was written");
  return fixed;
}

/** Returns the watermarks by writer id: all committed rows belong to batches up to these. */
export async function readWatermarks(session: MysqlSession, shard: number): Promise<Map<number, number>> {
  const query = "SELECT id, seq FROM writers WHERE shard = ?";
  const rows = await session.rows<Pick<WriterRow, "id" | "seq">>(query, [shard]);
  return new Map(rows.map(({ id, seq }) => [id, seq]));
}

/**
 * Returns a function from a row to the shard of its writer. A writer's shard never changes, so no lock is needed. Rows
 * of unknown writers belong to shard 0.
 */
export async function shardsOf(session: MysqlSession, rows: readonly OfWriter[]): Promise<(row: OfWriter) => number> {
  if (rows.length === 0) return () => 0;
  const ids = [...new Set(rows.map(({ writer }) => writer))];
  const query = "SELECT id, shard FROM writers WHERE id IN (?)";
  const writers = await session.rows<{ id: number; shard: number }>(query, [ids]);
  const shards = new Map(writers.map(({ id, shard }) => [id, shard]));
  return ({ writer }) => shards.get(writer) ?? 0;
}

interface EpochRow {
  readonly epoch: number;
}

const READ_EPOCH = "SELECT epoch FROM epochs WHERE shard = ?";

async function readEpoch(session: MysqlSession, shard: number): Promise<number> {
  return (await session.rows<EpochRow>(READ_EPOCH, [shard]))[0]?.epoch ?? 0;
}

/** Must run within a transaction: no other epoch begins before it ends. */
async function isOfEpoch(session: MysqlSession, shard: number, epoch: number): Promise<boolean> {
  const [row] = await session.rows<EpochRow>(`${READ_EPOCH} LOCK IN SHARE MODE`, [shard]);
  return (row?.epoch ?? 0) === epoch;
}

async function beginEpoch(session: MysqlSession, shard: number, from: number, to: number): Promise<boolean> {
  await session.run("INSERT IGNORE INTO epochs (shard, epoch) VALUES (?, 0)", [shard]);
  await session.run("START TRANSACTION");
  const [row] = await session.rows<EpochRow>(`${READ_EPOCH} FOR UPDATE`, [shard]);
  if (row?.epoch !== from) {
    await session.run("ROLLBACK");
    return false;
  }
  // Locking the writers of other shards would wait for their flushes.
  const query = "SELECT id FROM writers WHERE shard = ? AND sealed = 0";
  const open = await session.rows<{ id: number }>(query, [shard]);
  for (const { id } of open) await session.run("UPDATE writers SET sealed = 1 WHERE id = ?", [id]);
  await session.run("UPDATE epochs SET epoch = ? WHERE shard = ?", [to, shard]);
  await session.run("COMMIT");
  return true;
}

/** A sealed writer's last update was its sealing. */
const OF_EPOCH = `SELECT writer, seq FROM writers WHERE shard = ? AND epoch = ? AND events > 0
  AND (sealed = 0 OR updated_at > NOW(3) - INTERVAL ? SECOND) ORDER BY id DESC LIMIT 1000`;

async function writersOf(session: MysqlSession, shard: number, epoch: number, sealedWithinMs: number) {
  const rows = await session.rows<{ writer: string; seq: number }>(OF_EPOCH, [shard, epoch, sealedWithinMs / 1_000]);
  return new Map(rows.map(({ writer, seq }) => [writer, seq]));
}
