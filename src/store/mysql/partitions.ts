/**
 * The partitions of `events`: one per day (UTC), added a few days ahead.
 *
 * Invariant: every hour has a partition, even if this never runs: `past` takes what is older than the first day, `pmax`
 * what is newer than the last. A partition holds all hours from the previous bound to its own, so it includes preceding
 * days without a partition.
 */
import { DAY_MS, HOUR_MS } from "../../domain/event.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import type { MysqlSession } from "./connection/sql-session.ts";
import { Upkeep } from "./upkeep.ts";

const DAYS_AHEAD = 3;
/** Splitting `pmax` locks the table briefly; this limits the wait for that lock. */
const TABLE_LOCK_WAIT_S = 1;

interface Partition {
  readonly name: string;
  /** May be MAXVALUE. */
  readonly bound: string;
}

/** Accepts the output of any server, however it quotes. */
const PARTITION = /PARTITION \W?(\w+)\W? VALUES LESS THAN \W?(\w+)/g;

export class PartitionKeeper {
  readonly #database: MysqlDatabase;
  readonly #now: () => number;
  #checkedAt = Number.NEGATIVE_INFINITY;
  readonly #upkeep = new Upkeep();

  constructor(database: MysqlDatabase, now: () => number) {
    this.#database = database;
    this.#now = now;
  }

  /** Why future days will have no partition of their own; undefined if they will. */
  get problem(): string | undefined {
    return this.#upkeep.problem;
  }

  /** Never rejects: `pmax` takes rows without a partition, and days pass before that happens. */
  async maintain(): Promise<void> {
    const now = this.#now();
    if (now - this.#checkedAt < HOUR_MS) return;
    this.#checkedAt = now;
    await this.#upkeep.attempt(this.#database.briefly("add partitions", ensurePartitions, now));
  }
}

/**
 * In order of their bounds. Not from information_schema.PARTITIONS: reading it while a partition was created listed
 * none, and has crashed MariaDB 10.11 (SIGSEGV). This waits for the table's lock.
 */
export async function listPartitions(session: MysqlSession): Promise<Partition[]> {
  const [table] = await session.rows<{ "Create Table": string }>("SHOW CREATE TABLE events");
  return Array.from(table!["Create Table"].matchAll(PARTITION), ([, name, bound]) => ({ name: name!, bound: bound! }));
}

/** Throws if another instance was splitting at the same time, or the table was busy. */
export async function ensurePartitions(session: MysqlSession, now: number): Promise<void> {
  const bounds = (await listPartitions(session)).map(({ bound }) => Number(bound));
  const missing = missingPartitions(bounds.filter(Number.isFinite), now);
  if (missing.length === 0) return;
  await session.run(`SET lock_wait_timeout = ${TABLE_LOCK_WAIT_S}`);
  const parts = [...missing, "PARTITION pmax VALUES LESS THAN MAXVALUE"];
  await session.run(`ALTER TABLE events REORGANIZE PARTITION pmax INTO (${parts.join(", ")})`);
}

/**
 * Drops the oldest partition, with its rows, if all its hours are before `hour`; returns whether it did. Drops only
 * one, since this locks the table. Throws if the table is read for longer than TABLE_LOCK_WAIT_S.
 */
export async function dropOldestPartition(session: MysqlSession, hour: number): Promise<boolean> {
  const [oldest] = await listPartitions(session);
  // For MAXVALUE this is NaN, which is not before anything.
  if (!(Number(oldest!.bound) <= hour)) return false;
  await session.run(`SET lock_wait_timeout = ${TABLE_LOCK_WAIT_S}`);
  await session.run(`ALTER TABLE events DROP PARTITION \`${oldest!.name}\``);
  return true;
}

function missingPartitions(bounds: readonly number[], now: number): string[] {
  const today = now - (now % DAY_MS);
  const missing: string[] = [];
  if (bounds.length === 0) missing.push(partition("past", today));
  const lastBound = Math.max(today, ...bounds);
  for (let day = lastBound; day <= today + DAYS_AHEAD * DAY_MS; day += DAY_MS) {
    missing.push(partition(partitionName(day), day + DAY_MS));
  }
  return missing;
}

function partition(name: string, bound: number): string {
  return `PARTITION ${name} VALUES LESS THAN (${bound})`;
}

export function partitionName(day: number): string {
  return `p${new Date(day).toISOString().slice(0, 10).replaceAll("-", "")}`;
}
