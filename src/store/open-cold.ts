/** Opens the configured cold store, MySQL or SQLite, without loading the other's code. */
import { readPem } from "../settings/pem-file.ts";
import type { Config } from "../settings/settings.ts";
import type { ColdStore, OnReplicaChange } from "./cold.ts";
import type { MysqlTls } from "./mysql/connection/sql-session.ts";

/** Plain data, so that it can be sent to a thread. Without a URL: SQLite in `dataDir`. */
export interface ColdPlace {
  readonly dataDir: string;
  readonly mysqlUrl: string | undefined;
  readonly mysqlTls?: MysqlTls | undefined;
  /** Default 1. */
  readonly shards?: number | undefined;
  /** A replica for reads of past hours. */
  readonly mysqlReadUrl?: string | undefined;
}

export type ColdSettings = Pick<Config, "dataDir" | "mysqlUrl"> &
  Partial<Pick<Config, "redisShards" | "mysqlReadUrl" | "isMysqlTls" | "mysqlCaFile" | "isMysqlTlsForAnyHost">>;

/** Throws ConfigError if the certificates can't be read. */
export function coldPlaceOf(settings: ColdSettings): ColdPlace {
  const { dataDir, mysqlUrl, redisShards: shards, isMysqlTls, mysqlCaFile } = settings;
  const { isMysqlTlsForAnyHost: isForAnyHost = false } = settings;
  if (mysqlUrl === undefined || isMysqlTls !== true) return { dataDir, mysqlUrl, shards };
  const mysqlTls = { ca: mysqlCaFile && readPem("MYSQL_CA_FILE", mysqlCaFile), isForAnyHost };
  return { dataDir, mysqlUrl, shards, mysqlTls };
}

/** Like coldPlaceOf(), with the replica if there is one. */
export function coldPlaceWithReplicaOf(settings: ColdSettings): ColdPlace {
  return { ...coldPlaceOf(settings), mysqlReadUrl: settings.mysqlReadUrl };
}

/** Does not connect yet. */
export async function coldStoreAt(
  place: ColdPlace,
  now: () => number,
  onReplicaChange?: OnReplicaChange,
): Promise<ColdStore> {
  const { dataDir, mysqlUrl: url, mysqlReadUrl: readUrl, mysqlTls: tls, shards } = place;
  if (url === undefined) return (await import("./embedded/cold-store.ts")).embeddedColdStore({ dataDir });
  const { mysqlColdStore } = await import("./mysql/cold-store.ts");
  return mysqlColdStore({ url, readUrl, tls, shards, now, onReplicaChange });
}
