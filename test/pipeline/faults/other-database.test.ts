/** A Redis that belongs to another database, which turns out only once both stores answer. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  describeWithServers,
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
} from "../../harness/servers/servers.ts";
import { type Service, startService } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";

describeWithServers("a Redis of another database", ["redis", "mariadb"], () => {
  let redis: RedisServer;
  let mariaDb: MariaDbServer;
  let services: Service[];
  let ownersUrl: string;
  const at = Date.now();

  const start = async (mysqlUrl: string, readyPath?: string) => {
    const settings = { REDIS_URL: redis.url, MYSQL_URL: mysqlUrl };
    const service = await startService(readyPath === undefined ? { settings } : { settings, readyPath });
    services.push(service);
    return service;
  };
  const newDatabase = async () => {
    // One that createDatabase() makes has the same identity as all others.
    await mariaDb.query("CREATE DATABASE another");
    return mariaDb.urlLike("mysql://host/another");
  };
  const post = ({ url }: Service) => fetch(`${url}/analytics?timestamp=${at}&user=ada&click`, { method: "POST" });
  const clicksAt = async ({ url }: Service) => {
    const answer = await fetch(`${url}/analytics?timestamp=${at}&format=json`);
    const { clicks } = (await answer.json()) as { clicks: number };
    return { clicks, isDegraded: answer.headers.has("hourglass-degraded") };
  };
  const readiness = async ({ url }: Service) => {
    const answer = await fetch(`${url}/readyz`);
    const { reason } = (await answer.json()) as { reason?: string };
    return { status: answer.status, reason };
  };

  beforeEach(async () => {
    services = [];
    [redis, mariaDb] = await Promise.all([startRedis(), startMariaDb()]);
    ownersUrl = await mariaDb.createDatabase();
    const owner = await start(ownersUrl);
    expect((await post(owner)).status).toBe(204);
    await owner.kill("SIGTERM");
  });

  afterEach(async () => {
    await Promise.all([redis, mariaDb, ...services].map((server) => server?.stop()));
  });

  /** It refuses events by name, logs both databases once, and shows nothing of the other one. */
  const expectRefused = async (service: Service) => {
    await waitFor("it to be not ready for that", async () => {
      const { status, reason } = await readiness(service);
      return status === 503 && reason === "other_database";
    });
    await waitFor("an event to be refused for that", async () => {
      const refused = await post(service);
      expect(refused.status).toBe(503);
      return (await refused.text()).includes('"other_database"');
    });
    expect(await clicksAt(service)).toEqual({ clicks: 0, isDegraded: true });
    const { stores } = (await (await fetch(`${service.url}/ledger`)).json()) as { stores: object };
    expect(stores).toEqual({ unavailable: "hot_store_away" });
    const lines = service.log().split("\n");
    const errors = lines.filter((line) => line.includes('"level":50') && line.includes("do not belong together"));
    expect(errors).toHaveLength(1);
  };

  test("that was down at the start is neither read nor written", async () => {
    await redis.kill();
    const service = await start(await newDatabase(), "/livez");
    await redis.start();
    await expectRefused(service);
    await service.stop();
    expect(await clicksAt(await start(ownersUrl))).toEqual({ clicks: 1, isDegraded: false });
  });

  test("is neither read nor written once a database that was down at the start says so", async () => {
    const mysqlUrl = await newDatabase();
    mariaDb.pause();
    try {
      const service = await start(mysqlUrl);
      mariaDb.resume();
      await expectRefused(service);
    } finally {
      mariaDb.resume();
    }
  });
});
