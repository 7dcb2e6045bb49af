/**
 * A MySQL server's position, read from its table `writers`, to compare a replica with the primary.
 *
 * Invariant: every transaction that changes rows or aggregates, except retention, moves a row of `writers`: a flush
 * moves its writer's, anything else the row OTHER_CHANGES. A server applies a transaction completely or not at all. So
 * a server whose watermarks are all at least those of another has all the data that the other had, whatever the order
 * of its arrival.
 */
import type { MysqlSession } from "./sql-session.ts";

/** Not the name of any writer; it has no events. */
const OTHER_CHANGES = "(other changes)";

export interface Progress {
  /** The last batch of each unsealed writer. */
  readonly living: ReadonlyMap<string, number>;
  /** Sealed writers, whose last batches never change: how many, the sum of those batches, the highest id. */
  readonly sealed: { readonly count: number; readonly seqs: number; readonly lastId: number };
}

interface ProgressRow {
  readonly writer: string;
  readonly seq: number;
  readonly count: number;
  readonly lastId: number;
}

/** One statement reads a consistent state. No writer's name is empty. */
const READ = `SELECT writer, seq, 0 AS count, 0 AS lastId FROM writers WHERE sealed = 0
  UNION ALL SELECT '', CAST(COALESCE(SUM(seq), 0) AS UNSIGNED), COUNT(*), COALESCE(MAX(id), 0)
  FROM writers WHERE sealed = 1`;
/** The same writers on another server, sealed or not. */
const READ_AGAIN = `SELECT writer, seq, 0 AS count, 0 AS lastId FROM writers WHERE writer IN (?)
  UNION ALL SELECT '', CAST(COALESCE(SUM(seq), 0) AS UNSIGNED), COUNT(*), 0
  FROM writers WHERE id <= ? AND writer NOT IN (?)`;

/** Call it at the end of a transaction: all callers lock the same row. */
export async function noteChange(session: MysqlSession): Promise<void> {
  const note = "INSERT INTO writers (writer, seq) VALUES (?, 1) ON DUPLICATE KEY UPDATE seq = seq + 1";
  await session.run(note, [OTHER_CHANGES]);
}

export async function readProgress(session: MysqlSession): Promise<Progress> {
  return progressOf(await session.rows<ProgressRow>(READ));
}

/**
 * Whether this server has everything in `progress`. Sealed writers, one per process that ever ran, are compared by
 * number and sum. None of them is ever above its last batch, so the sums are equal only if every watermark is.
 */
export async function hasReached(session: MysqlSession, { living, sealed }: Progress): Promise<boolean> {
  const names = ["", ...living.keys()];
  const rows = await session.rows<ProgressRow>(READ_AGAIN, [names, sealed.lastId, names]);
  const here = progressOf(rows);
  if (here.sealed.count !== sealed.count || here.sealed.seqs !== sealed.seqs) return false;
  return living.entries().every(([writer, seq]) => (here.living.get(writer) ?? -1) >= seq);
}

function progressOf(rows: readonly ProgressRow[]): Progress {
  const living = new Map(rows.map(({ writer, seq }) => [writer, Number(seq)]));
  living.delete("");
  const { count = 0, seq = 0, lastId = 0 } = rows.find(({ writer }) => writer === "") ?? {};
  return { living, sealed: { count: Number(count), seqs: Number(seq), lastId: Number(lastId) } };
}
