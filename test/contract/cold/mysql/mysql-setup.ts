/** A MariaDB for tests of the cold store, inspected from outside. */
import { afterAll, beforeAll } from "bun:test";
import { type Connection, createConnection } from "mysql2/promise";
import type { ColdStore } from "../../../../src/store/cold.ts";
import { type MysqlColdStoreOptions, mysqlColdStore } from "../../../../src/store/mysql/cold-store.ts";
import type { MysqlTls } from "../../../../src/store/mysql/connection/sql-session.ts";
import { describeWithServers, type MariaDbServer, startMariaDb } from "../../../harness/servers/servers.ts";
import { type StoredHour, wholeHours } from "../../../harness/service/stored.ts";
import {
  type Harness,
  NOON,
  PARTS_PER_HOUR,
  SELECT_EVENTS,
  SELECT_HOURS,
  SELECT_WRITERS,
  type StoredEvent,
} from "../setup.ts";

export interface MysqlHarness extends Harness {
  readonly url: string;
  /** After the server was started again. */
  reconnect(): Promise<void>;
  query<Row>(sql: string): Promise<Row[]>;
  /** A store with other settings than store()'s, or through another port. */
  storeWith(settings: Partial<MysqlColdStoreOptions>): ColdStore;
}

/** The default, 1 s, can be too short for a machine that is busy with other tests. */
const READ_TIMEOUT_MS = 10_000;

export interface ColdMysqlOptions {
  readonly args?: readonly string[];
  readonly tls?: MysqlTls;
  /** Answers the URL that the store has of a database, if that is not root's. */
  readonly login?: (server: MariaDbServer, url: string) => Promise<string>;
}

/** The MariaDB of one file of tests. */
export class ColdMysql {
  server!: MariaDbServer;
  #options: ColdMysqlOptions = {};

  async start(options: ColdMysqlOptions = {}): Promise<void> {
    this.#options = options;
    this.server = await startMariaDb({ args: options.args ?? [] });
  }

  async stop(): Promise<void> {
    await this.server?.stop();
  }

  async open(): Promise<MysqlHarness> {
    const url = await this.server.createDatabase();
    const { tls, login = async () => url } = this.#options;
    return mysqlHarness(url, await connectClient(url), { url: await login(this.server, url), tls });
  }
}

async function connectClient(url: string): Promise<Connection> {
  const client = await createConnection({ uri: url, charset: "utf8mb4_bin" });
  // The server is killed under it.
  client.on("error", () => {});
  return client;
}

function mysqlHarness(
  url: string,
  firstClient: Connection,
  ofStores: Pick<MysqlColdStoreOptions, "url" | "tls">,
): MysqlHarness {
  let client = firstClient;
  const stores: ColdStore[] = [];
  const query = async <Row>(sql: string) => (await client.query(sql))[0] as Row[];
  const storeWith = (settings: Partial<MysqlColdStoreOptions>) => {
    const store = mysqlColdStore({ ...ofStores, now: () => NOON, partsPerHour: PARTS_PER_HOUR, ...settings });
    stores.push(store);
    return store;
  };
  return {
    url,
    async reconnect() {
      client.destroy();
      client = await connectClient(url);
    },
    query,
    storeWith,
    store: () => storeWith({ readTimeoutMs: READ_TIMEOUT_MS }),
    async events() {
      type BytesRow = Omit<StoredEvent, "user" | "id"> & { user: Buffer; id: Buffer | null };
      const rows = await query<BytesRow>(SELECT_EVENTS);
      return rows.map((row) => ({ ...row, user: row.user.toString(), id: row.id?.toString() ?? null }));
    },
    hours: async () => wholeHours(await query<StoredHour>(SELECT_HOURS)),
    hourParts: () => query(SELECT_HOURS),
    writers: () => query(SELECT_WRITERS),
    run: async (sql) => void (await query(sql)),
    async end() {
      await Promise.all(stores.map((store) => store.close()));
      client.destroy();
    },
  };
}

export function describeColdMysql(
  body: (mysql: ColdMysql) => void,
  options: () => Promise<ColdMysqlOptions> = async () => ({}),
): void {
  describeWithServers("cold store: MySQL", ["mariadb"], () => {
    const mysql = new ColdMysql();
    beforeAll(async () => mysql.start(await options()));
    afterAll(() => mysql.stop());
    body(mysql);
  });
}
