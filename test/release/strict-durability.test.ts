/** STRICT_DURABILITY=1: the service does not start on servers that may lose what they have acknowledged. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { freePort } from "../harness/servers/ports.ts";
import {
  describeWithServers,
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
} from "../harness/servers/servers.ts";
import { runCommand } from "../harness/service/command.ts";

describeWithServers("STRICT_DURABILITY", ["redis", "mariadb"], () => {
  let redis: RedisServer;
  let mariaDb: MariaDbServer;

  beforeAll(async () => {
    const args = ["--innodb-flush-log-at-trx-commit=2"];
    [redis, mariaDb] = await Promise.all([startRedis(), startMariaDb({ args })]);
  });

  afterAll(async () => {
    await Promise.all([redis?.stop(), mariaDb?.stop()]);
  });

  test("refuses a MySQL that may lose committed rows", async () => {
    const settings = {
      REDIS_URL: redis.url,
      MYSQL_URL: await mariaDb.createDatabase(),
      STRICT_DURABILITY: "1",
    };
    const result = await runCommand({ ...settings, PORT: String(await freePort()) }, "serve");
    expect(result.exitCode).toBe(2);
    expect(result.errors).toContain("STRICT_DURABILITY is 1, but: MySQL may lose about a second");
    expect(result.errors).toContain("innodb_flush_log_at_trx_commit is 2. Set it to 1.");
  });
});
