/** The cold store for a place. */
import type { ColdStore } from "./cold.ts";
import { embeddedColdStore } from "./cold-embedded.ts";
import { mysqlColdStore } from "./cold-mysql.ts";
import type { ColdPlace } from "./cold-thread-messages.ts";
import { readPem } from "./pem-file.ts";

export interface ColdSettings {
  readonly dataDir: string;
  readonly mysqlUrl: string | undefined;
  readonly mysqlReadUrl?: string | undefined;
  readonly isMysqlTls?: boolean | undefined;
  readonly mysqlCaFile?: string | undefined;
}

/** Throws ConfigError if the certificates can't be read. */
export function coldPlaceOf({ dataDir, mysqlUrl, isMysqlTls, mysqlCaFile }: ColdSettings): ColdPlace {
  if (mysqlUrl === undefined || isMysqlTls !== true) return { dataDir, mysqlUrl };
  return { dataDir, mysqlUrl, mysqlTls: { ca: mysqlCaFile && readPem("MYSQL_CA_FILE", mysqlCaFile) } };
}

/** The same, with a replica for reads of the past, if there is one. */
export function coldPlaceWithReplicaOf(settings: ColdSettings): ColdPlace {
  return { ...coldPlaceOf(settings), mysqlReadUrl: settings.mysqlReadUrl };
}

/** Nothing is connected yet. */
export function coldStoreAt(place: ColdPlace, now: () => number): ColdStore {
  const { dataDir, mysqlUrl: url, mysqlReadUrl: readUrl, mysqlTls: tls } = place;
  return url === undefined ? embeddedColdStore({ dataDir }) : mysqlColdStore({ url, readUrl, tls, now });
}
