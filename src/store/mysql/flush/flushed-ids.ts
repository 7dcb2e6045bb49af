/**
 * The table `flushed_ids` in MySQL: the compressed ids of each flush, in pieces that fit into any server's statement.
 */
import type { JournaledBatch } from "../../../domain/event.ts";
import type { IdPage, IdRowKey, IdStore, StoredIds } from "../../cold.ts";
import type { MysqlDatabase } from "../connection/database.ts";
import type { MysqlSession } from "../connection/sql-session.ts";

/** About 2 MB of text. A row has fewer ids. */
const IDS_PER_PAGE = 20_000;
const ROWS_PER_PAGE = 500;
/** Each has up to 150 KB. */
const ROWS_PER_DELETE = 200;

/** Never runs backwards, so that a later flush cannot look earlier than a former one. */
const TIME = `GREATEST(CAST(UNIX_TIMESTAMP(CURRENT_TIMESTAMP(3)) * 1000 AS UNSIGNED),
  COALESCE((SELECT MAX(flushed_at) FROM flushed_ids), 0))`;
const INSERT =
  "INSERT INTO flushed_ids (flushed_at, writer, seq, piece, shard, id_count, ids) VALUES (?, ?, ?, ?, ?, ?, ?)";
/** Repeats flushed_at because MySQL cannot use a row comparison as a range of the primary key. */
const FROM = `FROM flushed_ids WHERE shard = ? AND flushed_at BETWEEN ? AND ?
  AND (flushed_at, writer, seq, piece) < (?, ?, ?, ?)
  ORDER BY flushed_at DESC, writer DESC, seq DESC, piece DESC LIMIT ?`;
const BEHIND_ALL: IdRowKey = { flushedAtMs: Number.MAX_SAFE_INTEGER, writer: 0, seq: 0, piece: 0 };

interface KeyRow extends Omit<IdRowKey, "flushedAtMs"> {
  readonly flushed_at: number;
  readonly id_count: number;
}

interface IdRow {
  readonly age: string;
  readonly ids: Buffer;
}

interface FlushedBy {
  readonly writer: number;
  readonly seq: number;
  readonly shard: number;
}

export function idRole(database: MysqlDatabase): IdStore {
  return {
    time: () => database.read("read its clock", readTime),
    flushedIds: (sinceMs, before = BEHIND_ALL, shard = 0) =>
      database.briefly("read ids", readPage, shard, sinceMs, before),
    forgetFlushedIds: (beforeMs) => database.briefly("delete ids", forget, beforeMs),
  };
}

async function forget(session: MysqlSession, beforeMs: number): Promise<boolean> {
  const where = "WHERE flushed_at < ? ORDER BY flushed_at, writer, seq, piece LIMIT ?";
  const deleted = await session.matched(`DELETE FROM flushed_ids ${where}`, [beforeMs, ROWS_PER_DELETE]);
  return deleted === ROWS_PER_DELETE;
}

/** Must run within the transaction of the flush. */
export async function insertIds(
  session: MysqlSession,
  { writer, seq, shard }: FlushedBy,
  batches: readonly JournaledBatch[],
): Promise<void> {
  let piece = 0;
  let time: number | undefined;
  for (const { idCount, body } of idPieces(batches)) {
    time ??= await readTime(session);
    await session.run(INSERT, [time, writer, seq, piece, shard, idCount, Buffer.from(body)]);
    piece += 1;
  }
}

async function readTime(session: MysqlSession): Promise<number> {
  const [row] = await session.rows<{ now: string }>(`SELECT ${TIME} AS now`);
  return Number(row!.now);
}

async function readPage(session: MysqlSession, shard: number, sinceMs: number, before: IdRowKey): Promise<IdPage> {
  const { flushedAtMs, writer, seq, piece } = before;
  const values = [shard, sinceMs, flushedAtMs, flushedAtMs, writer, seq, piece];
  const keys = await session.rows<KeyRow>(`SELECT flushed_at, writer, seq, piece, id_count ${FROM}`, [
    ...values,
    ROWS_PER_PAGE,
  ]);
  if (keys.length === 0) return { ids: [], next: undefined };
  const count = rowsOfPage(keys);
  const select = `SELECT ${TIME} - flushed_at AS age, ids ${FROM}`;
  const rows = await session.rows<IdRow>(select, [...values, count]);
  const last = keys[count - 1]!;
  const isLast = count === keys.length && keys.length < ROWS_PER_PAGE;
  return {
    ids: rows.flatMap(({ age, ids }) => idsIn(ids, Number(age))),
    next: isLast ? undefined : { flushedAtMs: last.flushed_at, writer: last.writer, seq: last.seq, piece: last.piece },
  };
}

/** How many of these rows one page takes: at least one. */
function rowsOfPage(keys: readonly KeyRow[]): number {
  let ids = 0;
  const end = keys.findIndex(({ id_count }) => {
    ids += id_count;
    return ids > IDS_PER_PAGE;
  });
  return end === -1 ? keys.length : Math.max(1, end);
}

/**
 * A character takes at most 3 bytes, which in the worst case do not compress, and a statement has 2 digits per byte.
 */
const PIECE_MAX_CHARS = 150_000;

interface IdPiece {
  readonly idCount: number;
  readonly body: Uint8Array;
}

type IdsOfStream = [stream: string, ids: string[]];

/** The body is JSON: [[stream, [id, …]], …]. */
function* idPieces(batches: readonly JournaledBatch[]): Generator<IdPiece> {
  let [streams, idCount, chars] = [[] as IdsOfStream[], 0, 0];
  for (const { groups } of batches) {
    for (const { stream, ids } of groups) {
      let ofStream: string[] | undefined;
      for (const id of ids ?? []) {
        if (id === null) continue;
        if (chars + id.length > PIECE_MAX_CHARS) {
          yield encode(streams, idCount);
          [streams, idCount, chars, ofStream] = [[], 0, 0, undefined];
        }
        if (ofStream === undefined) {
          ofStream = [];
          streams.push([stream, ofStream]);
          chars += stream.length;
        }
        ofStream.push(id);
        idCount += 1;
        chars += id.length;
      }
    }
  }
  if (idCount > 0) yield encode(streams, idCount);
}

function encode(streams: readonly IdsOfStream[], idCount: number): IdPiece {
  return { idCount, body: Bun.zstdCompressSync(JSON.stringify(streams)) };
}

function idsIn(body: Uint8Array, ageMs: number): StoredIds[] {
  const streams = JSON.parse(Bun.zstdDecompressSync(body).toString()) as IdsOfStream[];
  return streams.map(([stream, ids]) => ({ stream, ids, ageMs }));
}
