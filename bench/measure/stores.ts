/**
 * The Redis and MariaDB of one trial: fresh, with the same settings for every candidate (those of the tests:
 * `appendfsync everysec`, a sync per commit), on loopback.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Connection, createConnection } from "mysql2/promise";
import { createClient } from "redis";
import type { ServerKind } from "../../test/harness/servers/binaries.ts";
import { type MariaDbServer, type RedisServer, startMariaDb, startRedis } from "../../test/harness/servers/servers.ts";

export interface Stores {
  readonly redis: RedisServer | undefined;
  readonly mariaDb: MariaDbServer | undefined;
  close(): Promise<void>;
}

/** The servers that a candidate needs. */
export interface Needs {
  readonly needs: readonly ServerKind[];
  /** More than the usual ones. */
  readonly redisArgs?: readonly string[];
  /** Replaces MariaDB, as TEST_SQL_ENGINE does. */
  readonly sqlEngine?: string;
}

export async function openStores({ needs, redisArgs = [], sqlEngine }: Needs): Promise<Stores> {
  const starting = [
    needs.includes("redis") ? startRedis({ args: redisArgs }) : undefined,
    needs.includes("mariadb") ? withSqlEngine(sqlEngine, startMariaDb) : undefined,
  ] as const;
  const [redis, mariaDb] = await Promise.allSettled(starting);
  const stores = {
    redis: redis.status === "fulfilled" ? redis.value : undefined,
    mariaDb: mariaDb.status === "fulfilled" ? mariaDb.value : undefined,
    close: async () => void (await Promise.all([stores.redis?.stop(), stores.mariaDb?.stop()])),
  };
  const failed = [redis, mariaDb].find(({ status }) => status === "rejected");
  if (failed?.status !== "rejected") return stores;
  await stores.close();
  throw failed.reason;
}

/** The harness takes its engine from the environment. */
export function withSqlEngine<T>(engine: string | undefined, use: () => T): T {
  if (engine === undefined) return use();
  process.env["TEST_SQL_ENGINE"] = engine;
  const end = () => void delete process.env["TEST_SQL_ENGINE"];
  const used = use();
  if (used instanceof Promise) void used.then(end, end);
  else end();
  return used;
}

/** Bytes that Redis uses for data, without its own overhead. */
export async function redisBytes({ url }: RedisServer): Promise<number> {
  const client = createClient({ url, RESP: 2 });
  await client.connect();
  try {
    return Number(/^used_memory_dataset:(\d+)/m.exec(await client.info("memory"))?.[1]);
  } finally {
    client.destroy();
  }
}

/** The tables' files: rows, indexes and the room left in pages. */
export function mariaDbBytes({ dataDir }: MariaDbServer): number {
  return folderBytes(join(dataDir, "hourglass"));
}

export function folderBytes(folder: string): number {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  return files.reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}

/** A connection that stays open: asked often, it must cost the server next to nothing. */
export async function openMysql(url: string): Promise<Connection> {
  return await createConnection({ uri: url });
}
