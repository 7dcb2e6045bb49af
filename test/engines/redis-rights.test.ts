/** A Redis user with exactly the rights that docs/operations.md names, and others with one right more or less. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { RedisAccessStore } from "../../src/store/redis/access-store.ts";
import { hotStoreContract } from "../contract/hot/contract/contract.ts";
import { HotRedis } from "../contract/hot/redis/redis-setup.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { describeWithServers, startMariaDb } from "../harness/servers/servers.ts";
import { startService } from "../harness/service/service.ts";

const PASSWORD = "few-rights";

describeWithServers("a user of Redis with few rights", ["redis", "mariadb"], () => {
  const redis = new HotRedis();
  let rule: string[];

  beforeAll(async () => {
    await redis.start();
    const documented = /^ACL SETUSER hourglass (.+)$/m.exec(
      await Bun.file(join(PROJECT_ROOT, "docs/operations.md")).text(),
    )![1]!;
    rule = documented.replace(">password", `>${PASSWORD}`).split(" ");
    await redis.admin.sendCommand(["ACL", "SETUSER", "hourglass", ...rule]);
  });
  afterAll(() => redis.stop());

  const urlOf = (user: string) => {
    const url = new URL(redis.server.url);
    url.username = user;
    url.password = PASSWORD;
    return url.href;
  };

  hotStoreContract("Redis, as that user", async () => {
    await redis.open();
    return redis.harnessOn(urlOf("hourglass"));
  });

  test("may share API keys and rate limits", async () => {
    const access = new RedisAccessStore({
      url: urlOf("hourglass"),
      commandTimeoutMs: 5_000,
      identity: async () => "own",
    });
    try {
      expect(await access.spend([{ name: "address", ms: 1_000 }])).toHaveLength(1);
      await access.keepKeys([]);
      expect(await access.keptKeys()).toEqual([]);
    } finally {
      await access.close();
    }
  });

  test("has each command that the service sends or its scripts call, and no other", async () => {
    const scripts = new Bun.Glob("src/store/redis/scripts/**/*.lua").scanSync(PROJECT_ROOT);
    const sources = await Promise.all(Array.from(scripts, (path) => Bun.file(join(PROJECT_ROOT, path)).text()));
    const calls = sources.join("\n").matchAll(/redis\.p?call\(\s*["'](\w+)/g);
    const used = [...Array.from(calls, ([, name]) => name!.toLowerCase()), "eval", "evalsha", "info"];
    const documented = rule.filter((part) => part.startsWith("+")).map((part) => part.slice(1));
    expect(documented).toEqual([...new Set(used)].sort());
  });

  test("needs CONFIG GET as well for STRICT_DURABILITY", async () => {
    const isDurabilityStrict = true;
    const open = async (user: string) => {
      const store = redis.harnessOn(urlOf(user)).store({ isDurabilityStrict });
      return await store.open().finally(() => store.close());
    };
    expect(await open("hourglass")).toEqual([expect.stringContaining("Allow +config|get")]);
    await redis.admin.sendCommand(["ACL", "SETUSER", "strict", ...rule, "+config|get"]);
    expect(await open("strict")).toEqual([expect.stringContaining("Set 'appendfsync always'")]);
  });

  test("may lack INFO: the service starts, counts, and warns that it could not check Redis", async () => {
    await redis.admin.sendCommand(["ACL", "SETUSER", "blind", ...rule, "-info"]);
    const mysql = await startMariaDb();
    const service = await startService({ settings: { REDIS_URL: urlOf("blind"), MYSQL_URL: mysql.url } });
    try {
      const event = `${service.url}/analytics?timestamp=${Date.now()}&user=ada&click`;
      expect((await fetch(event, { method: "POST" })).status).toBe(204);
      expect(service.log()).toContain("does not let this user read INFO");
    } finally {
      await Promise.all([service.stop(), mysql.stop()]);
    }
  });
});
