/** The cold store for a place. */

import { readPem } from "../settings/pem-file.ts";
import type { ColdStore } from "./cold.ts";
import { embeddedColdStore } from "./embedded/cold-store.ts";
import { mysqlColdStore } from "./mysql/cold-store.ts";
import type { ColdPlace } from "./thread/messages.ts";

export interface ColdSettings {
  readonly dataDir: string;
  readonly mysqlUrl: string | undefined;
  /** Of the hot store, whose parts are kept apart in the cold one: 1 if it is left out, or embedded. */
  readonly redisShards?: number | undefined;
  readonly mysqlReadUrl?: string | undefined;
  readonly isMysqlTls?: boolean | undefined;
  readonly mysqlCaFile?: string | undefined;
}

/** Throws ConfigError if the certificates can't be read. */
export function coldPlaceOf(settings: ColdSettings): ColdPlace {
  const { dataDir, mysqlUrl, redisShards: shards, isMysqlTls, mysqlCaFile } = settings;
  if (mysqlUrl === undefined || isMysqlTls !== true) return { dataDir, mysqlUrl, shards };
  const mysqlTls = { ca: mysqlCaFile && readPem("MYSQL_CA_FILE", mysqlCaFile) };
  return { dataDir, mysqlUrl, shards, mysqlTls };
}

/** The same, with a replica for reads of the past, if there is one. */
export function coldPlaceWithReplicaOf(settings: ColdSettings): ColdPlace {
  return { ...coldPlaceOf(settings), mysqlReadUrl: settings.mysqlReadUrl };
}

/** Nothing is connected yet. */
export function coldStoreAt(place: ColdPlace, now: () => number): ColdStore {
  const { dataDir, mysqlUrl: url, mysqlReadUrl: readUrl, mysqlTls: tls, shards } = place;
  if (url === undefined) return embeddedColdStore({ dataDir });
  return mysqlColdStore({ url, readUrl, tls, shards, now });
}
