/**
 * How far a MySQL server has come, by its table `writers`: what a replica is compared with.
 *
 * Invariant: every transaction that changes rows or aggregates, except those of retention, moves a row of `writers`: a
 * flush that of its writer, everything else that of OTHER_CHANGES. A server applies a transaction whole or not at all.
 * So a server none of whose watermarks is below those of another has everything that the other had, in whatever order
 * it received it.
 */
import type { MysqlSession } from "./sql-session.ts";

/** No writer has such a name, and this one has no events. */
const OTHER_CHANGES = "(other changes)";

export interface Progress {
  /** The last batch of each writer that is not sealed. */
  readonly living: ReadonlyMap<string, number>;
  /** Sealed writers, whose last batch never changes: their number, the sum of those batches, the highest id. */
  readonly sealed: { readonly count: number; readonly seqs: number; readonly lastId: number };
}

interface ProgressRow {
  readonly writer: string;
  readonly seq: number;
  readonly count: number;
  readonly lastId: number;
}

/** One statement, so that it is of one instant. No writer has an empty name. */
const READ = `SELECT writer, seq, 0 AS count, 0 AS lastId FROM writers WHERE sealed = 0
  UNION ALL SELECT '', CAST(COALESCE(SUM(seq), 0) AS UNSIGNED), COUNT(*), COALESCE(MAX(id), 0)
  FROM writers WHERE sealed = 1`;
/** The same writers there, living or sealed. */
const READ_AGAIN = `SELECT writer, seq, 0 AS count, 0 AS lastId FROM writers WHERE writer IN (?)
  UNION ALL SELECT '', CAST(COALESCE(SUM(seq), 0) AS UNSIGNED), COUNT(*), 0
  FROM writers WHERE id <= ? AND writer NOT IN (?)`;

/** At the end of a transaction: all callers wait for each other here. */
export async function noteChange(session: MysqlSession): Promise<void> {
  const note = "INSERT INTO writers (writer, seq) VALUES (?, 1) ON DUPLICATE KEY UPDATE seq = seq + 1";
  await session.run(note, [OTHER_CHANGES]);
}

export async function readProgress(session: MysqlSession): Promise<Progress> {
  return progressOf(await session.rows<ProgressRow>(READ));
}

/**
 * Whether this server has everything that `progress` tells of. Sealed writers are compared by their number and sum,
 * since there is one for each process that ever was: none of their batches is ever above the last, so that the sum is
 * only the same if each is.
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
