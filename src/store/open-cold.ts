/** The cold store for a place. */
import type { ColdStore } from "./cold.ts";
import { embeddedColdStore } from "./cold-embedded.ts";
import { mysqlColdStore } from "./cold-mysql.ts";
import type { ColdPlace } from "./cold-thread-messages.ts";
import { readPem } from "./pem-file.ts";

export interface ColdSettings {
  readonly dataDir: string;
  readonly mysqlUrl: string | undefined;
  readonly isMysqlTls?: boolean | undefined;
  readonly mysqlCaFile?: string | undefined;
}

/** Throws ConfigError if the certificates can't be read. */
export function coldPlaceOf({ dataDir, mysqlUrl, isMysqlTls, mysqlCaFile }: ColdSettings): ColdPlace {
  if (mysqlUrl === undefined || isMysqlTls !== true) return { dataDir, mysqlUrl };
  return { dataDir, mysqlUrl, mysqlTls: { ca: mysqlCaFile && readPem("MYSQL_CA_FILE", mysqlCaFile) } };
}

/** Nothing is connected yet. */
export function coldStoreAt({ dataDir, mysqlUrl, mysqlTls }: ColdPlace, now: () => number): ColdStore {
  if (mysqlUrl === undefined) return embeddedColdStore({ dataDir });
  return mysqlColdStore({ url: mysqlUrl, tls: mysqlTls, now });
}
