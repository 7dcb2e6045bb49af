/**
 * STRICT_DURABILITY=1: the service does not start on servers that may lose what they have acknowledged, and ends when
 * such a server is the first to answer. Without it, the service logs what they may lose.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createClient } from "redis";
import { freePort } from "../harness/servers/ports.ts";
import {
  describeWithServers,
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
} from "../harness/servers/servers.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const ALWAYS = ["--appendfsync", "always"];
const NO_FILE = [...ALWAYS, "--appendonly", "no"];
/** It needs 20 ms for a key, answers after each 1,024 bytes, and loads for minutes unless the delay is taken away. */
const SLOW_TO_LOAD = [...ALWAYS, "--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
const KEYS_TO_LOAD = 10_000;

describeWithServers("STRICT_DURABILITY", ["redis", "mariadb"], () => {
  let durable: RedisServer;
  let mariaDb: MariaDbServer;
  let careless: MariaDbServer;

  beforeAll(async () => {
    [durable, mariaDb, careless] = await Promise.all([
      startRedis({ args: ALWAYS }),
      startMariaDb(),
      startMariaDb({ args: ["--innodb-flush-log-at-trx-commit=2"] }),
    ]);
  });

  afterAll(async () => {
    await Promise.all([durable?.stop(), mariaDb?.stop(), careless?.stop()]);
  });

  const serveStrictly = async (redisUrl: string, mysqlUrl?: string) => {
    const urls = { REDIS_URL: redisUrl, MYSQL_URL: mysqlUrl ?? (await mariaDb.createDatabase()) };
    return await runCommand({ ...urls, STRICT_DURABILITY: "1", PORT: String(await freePort()) }, "serve");
  };

  const withRedis = async (args: readonly string[], use: (redis: RedisServer) => Promise<void>) => {
    const redis = await startRedis({ args });
    try {
      await use(redis);
    } finally {
      await redis.stop();
    }
  };

  const withService = async (settings: Readonly<Record<string, string>>, use: (its: Service) => Promise<void>) => {
    const mysqlUrl = await mariaDb.createDatabase();
    const service = await startService({ settings: { MYSQL_URL: mysqlUrl, ...settings }, readyPath: "/livez" });
    try {
      await use(service);
    } finally {
      await service.stop();
    }
  };

  test("refuses a MySQL that may lose committed rows", async () => {
    const result = await serveStrictly(durable.url, await careless.createDatabase());
    expect(result.exitCode).toBe(2);
    expect(result.errors).toContain("STRICT_DURABILITY is 1, but: MySQL may lose about a second");
    expect(result.errors).toContain("innodb_flush_log_at_trx_commit is 2. Set it to 1.");
  });

  test("refuses a Redis that acknowledges before it has synced", async () => {
    await withRedis(["--appendfsync", "everysec", "--no-appendfsync-on-rewrite", "yes"], async (redis) => {
      const { exitCode, errors } = await serveStrictly(redis.url);
      expect(exitCode).toBe(2);
      expect(errors).toContain("its appendfsync is 'everysec'. Set 'appendfsync always'.");
      expect(errors).toContain("Set 'no-appendfsync-on-rewrite no'.");
    });
  });

  test("refuses a Redis that does not say when it syncs, and names the right for that", async () => {
    const admin = await createClient({ url: durable.url }).connect();
    await admin.sendCommand(["ACL", "SETUSER", "guest", "on", ">open-sesame", "~*", "&*", "+@all", "-config"]);
    const guestUrl = durable.url.replace("//", "//guest:open-sesame@");
    const { exitCode, errors } = await serveStrictly(guestUrl);
    expect(exitCode).toBe(2);
    expect(errors).toContain("Redis does not let this user read its 'appendfsync'. Allow +config|get.");
    await admin.sendCommand(["ACL", "SETUSER", "guest", "+config|get"]);
    admin.destroy();
    await withService({ REDIS_URL: guestUrl, STRICT_DURABILITY: "1" }, isReady);
  });

  test("ends when a Redis that was down at the start turns out to keep no file", async () => {
    await withRedis(NO_FILE, async (redis) => {
      await redis.kill();
      await withService({ REDIS_URL: redis.url, STRICT_DURABILITY: "1" }, async (service) => {
        await redis.start();
        await waitFor("the service to end", () => service.exitCode === 2);
        expect(service.log()).toContain("cannot start:\nSTRICT_DURABILITY is 1, but: Redis keeps no append-only file");
      });
    });
  });

  test("without it, what such a Redis may lose is logged when it first answers", async () => {
    await withRedis(NO_FILE, async (redis) => {
      await redis.kill();
      await withService({ REDIS_URL: redis.url }, async (service) => {
        await redis.start();
        await isReady(service);
        expect(service.log()).toContain("Redis keeps no append-only file");
      });
    });
  });

  test("ends when a MySQL that did not answer at the start turns out to lose committed rows", async () => {
    const settings = { REDIS_URL: durable.url, MYSQL_URL: await careless.createDatabase(), STRICT_DURABILITY: "1" };
    careless.pause();
    try {
      await withService(settings, async (service) => {
        careless.resume();
        await waitFor("the service to end", () => service.exitCode === 2);
        expect(service.log()).toContain("cannot start:\nSTRICT_DURABILITY is 1, but: MySQL may lose about a second");
      });
    } finally {
      careless.resume();
    }
  });

  const post = async ({ url }: Service) => {
    return (await fetch(`${url}/analytics?timestamp=${Date.now()}&user=ada&click`, { method: "POST" })).status;
  };
  const set = async (redis: RedisServer, name: string, value: string, isCut = false) => {
    const admin = await createClient({ url: redis.url }).connect();
    await admin.configSet(name, value);
    if (isCut) await admin.sendCommand(["CLIENT", "KILL", "TYPE", "normal"]);
    admin.destroy();
  };
  const setSync = (redis: RedisServer, appendfsync: string) => set(redis, "appendfsync", appendfsync, true);

  test("does not use a Redis that took over with other settings, until they are corrected", async () => {
    await withRedis(ALWAYS, async (redis) => {
      await withService({ REDIS_URL: redis.url, STRICT_DURABILITY: "1" }, async (service) => {
        await isReady(service);
        await setSync(redis, "everysec");
        await waitFor("events to be refused", async () => (await post(service)) === 503);
        await waitFor("it not to be ready", async () => (await fetch(`${service.url}/readyz`)).status === 503);
        await waitFor("a warning", () => service.log().includes("may lose its last second when its host crashes"));
        expect(service.exitCode).toBeNull();
        await setSync(redis, "always");
        await isReady(service);
        expect(await post(service)).toBe(204);
      });
    });
  });

  test("does not use a Redis whose settings were changed over kept connections, until they are corrected", async () => {
    await withRedis(ALWAYS, async (redis) => {
      const settings = { REDIS_URL: redis.url, STRICT_DURABILITY: "1", LEASE_MS: "1000" };
      await withService(settings, async (service) => {
        await isReady(service);
        for (const [name, value, right] of [
          ["maxmemory-policy", "allkeys-lru", "noeviction"],
          ["appendonly", "no", "yes"],
        ] as const) {
          await set(redis, name, value);
          await waitFor("events to be refused", async () => (await post(service)) === 503);
          await waitFor("a warning", () => service.log().includes(`Set '${name} ${right}'`));
          await set(redis, name, right);
          await isReady(service);
          await waitFor("events to be taken", async () => (await post(service)) === 204);
        }
      });
    });
  });

  test("without it, a change of Redis' settings over kept connections is logged once", async () => {
    await withRedis(ALWAYS, async (redis) => {
      await withService({ REDIS_URL: redis.url, LEASE_MS: "1000" }, async (service) => {
        await isReady(service);
        await set(redis, "maxmemory-policy", "allkeys-lru");
        await waitFor("a warning", () => service.log().includes("may evict the journal"));
        await set(redis, "appendfsync", "no");
        await waitFor("another", () => service.log().includes("may lose its last 30 seconds"));
        expect(service.log().split("may evict the journal")).toHaveLength(2);
      });
    });
  });

  test("without it, what a Redis may lose that took over is logged", async () => {
    await withRedis(ALWAYS, async (redis) => {
      await withService({ REDIS_URL: redis.url }, async (service) => {
        await isReady(service);
        await setSync(redis, "no");
        await waitFor("a warning", () => service.log().includes("may lose its last 30 seconds"));
        await isReady(service);
      });
    });
  });

  test("flushes nothing to a MySQL that took over with other settings, until they are corrected", async () => {
    const syncAt = (value: number) => careless.query(`SET GLOBAL innodb_flush_log_at_trx_commit = ${value}`);
    const flusher = async ({ url }: Service) => JSON.stringify(await (await fetch(`${url}/readyz`)).json());
    await syncAt(1);
    try {
      const settings = { REDIS_URL: durable.url, MYSQL_URL: await careless.createDatabase(), STRICT_DURABILITY: "1" };
      const admin = await createClient({ url: durable.url }).connect();
      await admin.flushAll();
      admin.destroy();
      await withService(settings, async (service) => {
        await isReady(service);
        await syncAt(2);
        await waitFor("flushes to fail", async () => {
          expect(await post(service)).toBe(204);
          return (await flusher(service)).includes("STRICT_DURABILITY is 1, but: MySQL may lose");
        });
        await syncAt(1);
        await waitFor("flushes to succeed", async () => (await flusher(service)).includes('"status":"ok"'));
      });
    } finally {
      await syncAt(2);
    }
  });

  test("takes a Redis that still loads its data for unavailable, and checks it when it has loaded", async () => {
    await withRedis(SLOW_TO_LOAD, async (redis) => {
      const admin = await createClient({ url: redis.url }).connect();
      const text = "x".repeat(500);
      await admin.mSet(Array.from({ length: KEYS_TO_LOAD }, (_, i): [string, string] => [`other:${i}`, text]));
      // Read in pieces between which it answers, as single commands are not.
      await admin.sendCommand(["BGREWRITEAOF"]);
      await waitFor("the file to be rewritten", async () => {
        return (await admin.info("persistence")).includes("aof_rewrite_in_progress:0");
      });
      admin.destroy();
      await redis.kill();
      const loading = redis.start();
      loading.catch(() => {});
      // It tries to connect until the server listens.
      const whileLoading = createClient({ url: redis.url }).on("error", () => {});
      await whileLoading.connect();
      expect(await whileLoading.info("persistence")).toContain("loading:1\r\nasync_loading:0");
      await withService({ REDIS_URL: redis.url, STRICT_DURABILITY: "1" }, async (service) => {
        expect((await fetch(`${service.url}/readyz`)).status).toBe(503);
        await whileLoading.configSet("key-load-delay", "0");
        await isReady(service);
        expect(service.log()).not.toContain("append-only file");
      });
      whileLoading.destroy();
      await loading;
    });
  });
});

async function isReady(service: Service): Promise<void> {
  await waitFor("the service to be ready", async () => (await fetch(`${service.url}/readyz`)).ok);
}
