/** A MariaDB for tests of the cold store, looked into from outside. */
import { afterAll, beforeAll } from "bun:test";
import { type Connection, createConnection } from "mysql2/promise";
import type { ColdStore } from "../../../../src/store/cold/cold-store.ts";
import { type MysqlColdStoreOptions, mysqlColdStore } from "../../../../src/store/mysql/cold-store.ts";
import { describeWithServers, type MariaDbServer, startMariaDb } from "../../../harness/servers/servers.ts";
import {
  type Harness,
  NOON,
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
  /** With other settings than store()'s, or through another port. */
  storeWith(settings: Partial<MysqlColdStoreOptions>): ColdStore;
}

/** The MariaDB of one file of tests. */
export class ColdMysql {
  server!: MariaDbServer;

  async start(): Promise<void> {
    this.server = await startMariaDb();
  }

  async stop(): Promise<void> {
    await this.server?.stop();
  }

  async open(): Promise<MysqlHarness> {
    const url = await this.server.createDatabase();
    return mysqlHarness(url, await connectClient(url));
  }
}

async function connectClient(url: string): Promise<Connection> {
  const client = await createConnection({ uri: url, charset: "utf8mb4_bin" });
  // The server is killed under it.
  client.on("error", () => {});
  return client;
}

function mysqlHarness(url: string, firstClient: Connection): MysqlHarness {
  let client = firstClient;
  const stores: ColdStore[] = [];
  const query = async <Row>(sql: string) => (await client.query(sql))[0] as Row[];
  const storeWith = (settings: Partial<MysqlColdStoreOptions>) => {
    const store = mysqlColdStore({ url, now: () => NOON, ...settings });
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
    store: () => storeWith({}),
    async events() {
      type BytesRow = Omit<StoredEvent, "user" | "id"> & { user: Buffer; id: Buffer | null };
      const rows = await query<BytesRow>(SELECT_EVENTS);
      return rows.map((row) => ({ ...row, user: row.user.toString(), id: row.id?.toString() ?? null }));
    },
    hours: () => query(SELECT_HOURS),
    writers: () => query(SELECT_WRITERS),
    run: async (sql) => void (await query(sql)),
    async end() {
      await Promise.all(stores.map((store) => store.close()));
      client.destroy();
    },
  };
}

export function describeColdMysql(body: (mysql: ColdMysql) => void): void {
  describeWithServers("cold store: MySQL", ["mariadb"], () => {
    const mysql = new ColdMysql();
    beforeAll(() => mysql.start());
    afterAll(() => mysql.stop());
    body(mysql);
  });
}
