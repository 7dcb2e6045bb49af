/**
 * MySQL users with exactly the privileges that docs/operations.md names: one creates the tables, one runs the service.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { DAY_MS, HOUR_MS } from "../../src/domain/event.ts";
import type { ColdStore } from "../../src/store/cold.ts";
import { mysqlColdStore } from "../../src/store/mysql/cold-store.ts";
import { batchOf, click, mixedEvents, NOON, oneStream, STREAM } from "../contract/cold/setup.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import {
  describeWithServers,
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
} from "../harness/servers/servers.ts";
import { runCommand } from "../harness/service/command.ts";
import { startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const PASSWORD = "few-rights";

interface Grant {
  readonly rights: readonly string[];
  /** The whole database or one table. */
  readonly table: string;
  readonly user: string;
}

async function documentedGrants(): Promise<Grant[]> {
  const lines = (await Bun.file(join(PROJECT_ROOT, "docs/operations.md")).text()).matchAll(
    /^GRANT (.+) ON hourglass\.(\S+) TO '(\w+)'/gm,
  );
  return Array.from(lines, ([, rights, table, user]) => ({
    rights: rights!.split(", "),
    table: table!,
    user: user!,
  }));
}

describeWithServers("users of MySQL with few rights", ["mariadb"], () => {
  let mysql: MariaDbServer;
  let grants: readonly Grant[];
  let users = 0;

  beforeAll(async () => {
    mysql = await startMariaDb();
    grants = await documentedGrants();
  });
  afterAll(() => mysql.stop());

  /** A new user, and its URL. */
  async function userWith(url: string, wanted: readonly Grant[]): Promise<string> {
    users += 1;
    const user = `u${users}@'%'`;
    const database = new URL(url).pathname.slice(1);
    await mysql.query(`CREATE USER ${user} IDENTIFIED BY '${PASSWORD}'`);
    for (const { rights, table } of wanted) {
      await mysql.query(`GRANT ${rights.join(", ")} ON ${database}.${table} TO ${user}`);
    }
    const login = new URL(url);
    login.username = `u${users}`;
    login.password = PASSWORD;
    return login.href;
  }

  const ofUser = (name: string) => grants.filter(({ user }) => user === name);

  function without(right: string, from: Grant): Grant[] {
    const rights = from.rights.filter((one) => one !== right);
    return rights.length === 0 ? [] : [{ ...from, rights }];
  }

  async function withStore<T>(url: string, work: (store: ColdStore) => Promise<T>, now = () => NOON): Promise<T> {
    const store = mysqlColdStore({ url, now });
    try {
      await store.open();
      return await work(store);
    } finally {
      await store.close();
    }
  }

  const migrate = (url: string) => withStore(url, async () => {});

  /** All that a service and the commands do; throws what fails. */
  async function useAll(url: string): Promise<void> {
    let now = Date.now();
    await withStore(
      url,
      (store) => useStore(store),
      () => now,
    );
    now += DAY_MS;
    await withStore(
      url,
      async (store) => {
        expect((await store.upkeep()).partitions).toBeUndefined();
        const bounds = { rowsFrom: now + 2 * DAY_MS, aggregatesFrom: NOON - DAY_MS };
        expect((await store.sweep(bounds, Date.now())).partitions).toBe(1);
      },
      () => now,
    );
  }

  async function useStore(store: ColdStore): Promise<void> {
    await store.fixShardCount(1);
    await store.flush("writer-a", [batchOf(1, mixedEvents("a", 30)), batchOf(2, [click("ada")])]);
    await store.watermark("writer-a");
    await store.seal("writer-a");
    const key = { stream: STREAM, hour: NOON };
    expect((await store.read(key))?.clicks).toBeGreaterThan(0);
    await store.readRange(oneStream(STREAM), () => {});
    await store.streams(10);
    await store.rows(key, undefined, 10);
    await store.audit(key);
    await store.rebuild(key);
    await store.eraseUserRows({ user: "ada", stream: undefined }, NOON);
    await store.deadLetters(0, 10);
    await store.setAsidePoison([
      {
        ...{ digest: "ab".repeat(32), origin: "queue", body: "{", reason: "no JSON" },
        ...{ messageId: undefined, position: undefined, eventId: undefined },
      },
    ]);
    const [piece] = await store.poison(0, 10);
    expect(await store.dropPoison(piece!.number)).toBe(true);
    await store.apiKeys();
  }

  async function failureOf(work: Promise<unknown>): Promise<string> {
    return await work.then(
      () => "it succeeded",
      (error: unknown) => String(error),
    );
  }

  test("one creates the tables, the other one runs on them, again and again", async () => {
    const url = await mysql.createDatabase();
    await migrate(await userWith(url, ofUser("hourglass_owner")));
    const runner = await userWith(url, ofUser("hourglass"));
    await useAll(runner);
    await migrate(runner);
  });

  test("the one that runs cannot create them, and says what to do", async () => {
    const url = await mysql.createDatabase();
    const runner = await userWith(url, [{ ...ofUser("hourglass")[0]!, table: "*" }]);
    const failure = await failureOf(migrate(runner));
    expect(failure).toContain("CREATE command denied");
    expect(failure).toContain("hourglass migrate");
    const { exitCode } = await runCommand({ MYSQL_URL: url, REDIS_URL: "redis://127.0.0.1:1" }, "migrate");
    expect(exitCode).toBe(0);
    // With tables, though without the rights for partitions, it runs.
    await withStore(runner, useStore);
  });

  test("the one that creates them needs each of its rights", async () => {
    const [grant] = ofUser("hourglass_owner") as [Grant];
    for (const right of grant.rights) {
      const owner = await userWith(await mysql.createDatabase(), without(right, grant));
      expect([right, await failureOf(migrate(owner))]).toEqual([right, expect.stringContaining("denied")]);
    }
  });

  test("the one that runs needs each of its rights", async () => {
    for (const grant of ofUser("hourglass")) {
      for (const right of grant.rights) {
        const url = await mysql.createDatabase();
        await migrate(url);
        const others = ofUser("hourglass").filter((other) => other !== grant);
        const runner = await userWith(url, [...others, ...without(right, grant)]);
        const failure = await failureOf(useAll(runner));
        expect([right, failure]).not.toEqual([right, "it succeeded"]);
      }
    }
  }, 120_000);

  test("a store that may not add partitions knows, until it may", async () => {
    const url = await mysql.createDatabase();
    await migrate(url);
    let now = NOON + DAY_MS;
    const [all] = ofUser("hourglass") as [Grant];
    const runner = await userWith(url, [all]);
    await withStore(
      runner,
      async (store) => {
        expect((await store.upkeep()).partitions).toContain("denied");
        const [database, user] = [new URL(url).pathname.slice(1), new URL(runner).username];
        await mysql.query(`GRANT ALTER, DROP ON ${database}.events TO ${user}@'%'`);
        now += HOUR_MS;
        expect((await store.upkeep()).partitions).toBeUndefined();
      },
      () => now,
    );
  });

  test("a store that may not fold hours knows, until it may, and counts all the same", async () => {
    const url = await mysql.createDatabase();
    await migrate(url);
    const runner = await userWith(url, [{ rights: ["SELECT", "INSERT", "UPDATE"], table: "*", user: "hourglass" }]);
    const store = mysqlColdStore({ url: runner, now: () => NOON, partsPerHour: 1 });
    try {
      await store.open();
      await store.flush("writer-a", [batchOf(1, [click("ada")])]);
      expect((await store.upkeep()).folding).toContain("DELETE command denied");
      const [database, user] = [new URL(url).pathname.slice(1), new URL(runner).username];
      await mysql.query(`GRANT DELETE ON ${database}.hourly TO ${user}@'%'`);
      await store.flush("writer-a", [batchOf(2, [click("bob")])]);
      expect((await store.upkeep()).folding).toBeUndefined();
      expect((await store.read({ stream: STREAM, hour: NOON }))?.clicks).toBe(2);
    } finally {
      await store.close();
    }
  });

  describeWithServers("a service whose user may not add partitions", ["redis"], () => {
    let redis: RedisServer;
    beforeAll(async () => {
      redis = await startRedis();
    });
    afterAll(() => redis.stop());

    test("counts, warns, and has a metric of it", async () => {
      const url = await mysql.createDatabase();
      await migrate(url);
      const [all] = ofUser("hourglass") as [Grant];
      const settings = { REDIS_URL: redis.url, MYSQL_URL: await userWith(url, [all]) };
      const service = await startService({ settings });
      try {
        const event = `${service.url}/analytics?timestamp=${Date.now()}&user=ada&click`;
        expect((await fetch(event, { method: "POST" })).status).toBe(204);
        await waitFor("the warning", () => service.log().includes("could not add partitions"));
        const metrics = async () => (await fetch(`${service.url}/metrics`)).text();
        await waitFor("the metric", async () => (await metrics()).includes("hourglass_partitions_missing 1"));
      } finally {
        await service.stop();
      }
    });
  });
});
