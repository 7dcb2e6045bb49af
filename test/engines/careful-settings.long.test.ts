/**
 * The contract of cold stores on a server with a careful operator's settings: another SQL mode, isolation level and
 * time zone, small packets, required primary keys, a row-based binary log, and a user that must connect by TLS with a
 * password that the server does not remember from earlier connections.
 */
import { afterAll, expect, test } from "bun:test";
import type { MysqlTls } from "../../src/store/mysql/connection/sql-session.ts";
import { coldStoreContract } from "../contract/cold/contract/contract.ts";
import { describeColdMysql } from "../contract/cold/mysql/mysql-setup.ts";
import { batchOf, click, impression, NOON, rejectionOf } from "../contract/cold/setup.ts";
import { newerServer } from "../harness/debian/newer-servers.ts";
import { type Certificates, makeCertificates } from "../harness/servers/certificates.ts";
import type { MariaDbServer } from "../harness/servers/servers.ts";

const SETTINGS = [
  ...["--sql-mode=ANSI,ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "--transaction-isolation=READ-COMMITTED"],
  ...["--max-allowed-packet=1M", "--default-time-zone=+05:45"],
  ...["--server-id=1", "--log-bin=log", "--binlog-format=ROW"],
];
const PASSWORD = "a \\ 'careful\" password: ü";

const isMysql = () => newerServer("mariadb") !== undefined;
let users = 0;

function loginWith(condition: string) {
  return async (server: MariaDbServer, url: string): Promise<string> => {
    const login = new URL(url);
    const database = login.pathname.slice(1);
    users += 1;
    const plugin = isMysql() ? "WITH caching_sha2_password BY" : "BY";
    // By the mode of this server a backslash is one, and a quote is doubled.
    const password = PASSWORD.replaceAll("'", "''");
    await server.query(`CREATE USER u${users}@'127.0.0.1' IDENTIFIED ${plugin} '${password}' ${condition}`);
    await server.query(`GRANT ALL ON ${database}.* TO u${users}@'127.0.0.1'`);
    login.username = `u${users}`;
    login.password = encodeURIComponent(PASSWORD);
    return login.href;
  };
}

let certificates: Certificates | undefined;
afterAll(() => certificates?.delete());

async function carefulServer() {
  certificates = await makeCertificates();
  const { caFile, certFile, keyFile } = certificates;
  const primaryKeys = isMysql() ? "--sql-require-primary-key=ON" : "--innodb-force-primary-key=ON";
  const tls: MysqlTls = { ca: await Bun.file(caFile).text() };
  const files = [`--ssl-ca=${caFile}`, `--ssl-cert=${certFile}`, `--ssl-key=${keyFile}`];
  return { args: [...SETTINGS, primaryKeys, ...files], tls, login: loginWith("REQUIRE SSL") };
}

describeColdMysql((mysql) => {
  coldStoreContract("MySQL, set up carefully", () => mysql.open(), { largestPoisonChars: 200_000 });

  test("rows and sketches of the largest size are stored, in packets that the server takes", async () => {
    const harness = await mysql.open();
    try {
      await mysql.server.query("FLUSH PRIVILEGES");
      const store = harness.store();
      await store.open();
      // In a statement each quote takes two bytes.
      const long = (text: string, i: number) => `${"'".repeat(250)}${text}${i}`;
      const largest = Array.from({ length: 3_000 }, (_, i) => ({ ...click(long("u", i)), id: long("i", i) }));
      expect(await store.flush("writer-a", [batchOf(1, largest)])).toBe(3_000);
      // So many users of each kind make both sketches of an hour dense.
      const streams = Array.from({ length: 30 }, (_, i) => `stream-${i}`);
      const dense = streams.flatMap((stream) =>
        Array.from({ length: 4_000 }, (_, i) => [click(`c${i}`, NOON, stream), impression(`v${i}`, NOON, stream)]),
      );
      expect(await store.flush("writer-a", [batchOf(2, dense.flat())])).toBe(240_000);
      for (const stream of streams) expect((await store.read({ stream, hour: NOON }))?.clicks).toBe(4_000);
    } finally {
      await harness.end();
    }
  });

  test("a user that has to come by TLS is refused in the clear", async () => {
    const harness = await mysql.open();
    try {
      const error = await rejectionOf(harness.storeWith({ tls: undefined }).open());
      expect(error.message).toContain("Access denied");
    } finally {
      await harness.end();
    }
  });
}, carefulServer);

describeColdMysql(
  (mysql) => {
    test("a password that the server does not remember is taken without TLS, too", async () => {
      const harness = await mysql.open();
      try {
        for (let round = 0; round < 2; round++) {
          await mysql.server.query("FLUSH PRIVILEGES");
          await harness.store().open();
        }
      } finally {
        await harness.end();
      }
    });
  },
  async () => ({ args: SETTINGS, login: loginWith("") }),
);
