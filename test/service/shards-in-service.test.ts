/** The service with its data divided into shards, as users and operators see it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Sketch } from "../../src/domain/unique-users/sketch.ts";
import { TEST_DATA_SET, TEST_USERS } from "../harness/pipeline/test-users.ts";
import { freePort } from "../harness/servers/ports.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { ask } from "../harness/service/http-connection.ts";
import { type Service, type Site, shardedMode } from "../harness/service/service.ts";
import { expectHoursToBeReplay } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SHARDS = 3;
const { needs, open } = shardedMode(SHARDS);

describeWithServers("a service with shards", needs, () => {
  const hour = hourOf(Date.now());
  let site: Site;
  let services: Service[];
  let posted = 0;

  beforeAll(async () => {
    site = await open();
    services = await Promise.all([site.start({ HOT_HOURS: "2" }), site.start({ HOT_HOURS: "2" })]);
  });
  afterAll(() => site.close());

  async function json(service: Service, target: string) {
    const { status, body } = await ask(service.port, { method: "GET", target });
    return { status, ...JSON.parse(body) };
  }

  /** Posts one request: every third event has an id, and there are few users. */
  async function postBatch(service: Service, stream: string, ids: readonly string[]) {
    const lines = ids.map((id, i) => {
      return JSON.stringify({ timestamp: hour, user: `user-${i % 5}`, event: "click", stream, id });
    });
    const headers = { "content-type": "application/x-ndjson" };
    const answer = await fetch(`${service.url}/events`, { method: "POST", headers, body: lines.join("\n") });
    return { status: answer.status, ...((await answer.json()) as object) };
  }

  const ids = Array.from({ length: 100 }, (_, i) => `id-${i}`);

  function usersOf(count: number): number {
    const sketch = new Sketch();
    for (let i = 0; i < count; i++) sketch.add(TEST_USERS.registerOf(`user-${i}`));
    return sketch.count();
  }

  test("counts each id once, at whichever instance, alone or with others", async () => {
    const [a, b] = services as [Service, Service];
    expect(await postBatch(a, "s", ids)).toMatchObject({ status: 200, accepted: 100, duplicates: 0 });
    expect(await postBatch(b, "s", ids)).toMatchObject({ status: 200, accepted: 0, duplicates: 100 });
    for (const id of ids.slice(0, 20)) {
      await postEvent(b.port, { at: hour, user: "user-0", kind: "click", stream: "s", id });
    }
    posted += 100;
    const expected = { uniqueUsers: usersOf(5), clicks: 100, impressions: 0 };
    for (const { port } of services) expect(await readHour(port, hour, "s")).toEqual(expected);
    const series = await json(a, `/series?stream=s&from=${hour}&to=${hour + HOUR_MS}&step=hour`);
    expect(series.total).toMatchObject({ clicks: 100, unique_users: usersOf(5) });
    const streams = await json(b, `/streams?from=${hour}&to=${hour + HOUR_MS}`);
    expect(streams.streams).toMatchObject([{ stream: "s", clicks: 100, unique_users: usersOf(5) }]);
  });

  test("shows its shards to operators, and its ledger balances", async () => {
    const [a] = services as [Service];
    const { status, shards, writer } = await json(a, "/readyz");
    expect(status).toBe("ready");
    expect(shards.map(({ shard, status: state }: { shard: number; status: string }) => [shard, state])).toEqual([
      [0, "ready"],
      [1, "ready"],
      [2, "ready"],
    ]);
    expect(shards.map((one: { writer: string }) => one.writer)).toContain(writer);
    const { body } = await ask(a.port, { method: "GET", target: "/metrics" });
    for (const shard of [0, 1, 2]) expect(body).toContain(`hourglass_store_up{store="hot",shard="${shard}"} 1\n`);
    expect(body).toContain('hourglass_store_up{store="cold"} 1\n');
    const { instance, stores } = await json(a, "/ledger");
    expect(instance.holds).toBe(true);
    expect(stores.accepted).toBe(posted);
    expect(stores.writers).toHaveLength(2 * SHARDS);
  });

  test("hourglass verify looks at each part, and repairs the one that is wrong", async () => {
    await waitFor("the rows", async () => (await site.cold.countEvents()) === posted);
    const verify = (...args: string[]) =>
      runCommand(site.commandSettings(services[0]!), "verify", "--stream", "s", ...args);
    const well = await verify();
    expect(well).toMatchObject({ exitCode: 0, errors: "" });
    expect(well.output).toContain("3 parts of hours in 3 shards, 0 of them wrong");
    await site.cold.run(`UPDATE hourly SET clicks = clicks + 1 WHERE stream = 's' AND hour = ${hour} AND shard = 1`);
    const wrong = await verify();
    expect(wrong.exitCode).toBe(1);
    expect(wrong.output.match(/WRONG/g)).toHaveLength(1);
    expect(wrong.output).toMatch(/s, shard 1: .*\n +WRONG/);
    expect((await verify("--repair")).exitCode).toBe(0);
    expect((await verify()).exitCode).toBe(0);
    expectHoursToBeReplay(await site.cold.hours(), await site.cold.events());
  });

  test("hourglass forget erases in all shards, and counts stay", async () => {
    const [a, b] = services as [Service, Service];
    await postBatch(a, "f", ids);
    posted += 100;
    const before = await readHour(b.port, hour, "f");
    const settings = site.commandSettings(a);
    const { output, exitCode } = await runCommand(settings, "forget", "--user", "user-3", "--stream", "f", "--json");
    expect(exitCode).toBe(0);
    expect(JSON.parse(output)).toMatchObject({ clicks: 20, impressions: 0 });
    posted -= 20;
    expect(await site.cold.countEvents()).toBe(posted);
    expect(await readHour(b.port, hour, "f")).toEqual(before);
    expect(await runCommand(settings, "verify")).toMatchObject({ exitCode: 0, errors: "" });
  });

  test("another number of shards is refused, by the service and by commands, with what to do", async () => {
    const settings = { ...site.commandSettings(services[0]!), REDIS_SHARDS: "2" };
    const port = String(await freePort());
    for (const args of [[], ["verify"], ["forget", "--user", "nobody"]]) {
      const { exitCode, errors } = await runCommand({ ...settings, PORT: port }, ...args);
      expect(exitCode).toBe(2);
      expect(errors).toContain("REDIS_SHARDS is 2, but the data in MySQL");
      expect(errors).toContain("set REDIS_SHARDS=3");
    }
  });

  test("a Redis of another database is refused, with what to do", async () => {
    const settings = { ...site.commandSettings(services[0]!), PORT: String(await freePort()) };
    await site.cold.run("UPDATE data_set SET identity = '11111111-0000-4000-8000-000000000000'");
    const { exitCode, errors } = await runCommand(settings);
    await site.cold.run(`UPDATE data_set SET identity = '${TEST_DATA_SET.identity}'`);
    expect(exitCode).toBe(2);
    expect(errors).toContain("REDIS_URL and MYSQL_URL do not belong together");
    expect(errors).toContain(`Redis holds data of database ${TEST_DATA_SET.identity}`);
  });

  test("others adopt a killed instance's journals in all shards", async () => {
    const c = await site.start({ LEASE_MS: "500", FLUSH_INTERVAL_MS: "60000" });
    expect(await postBatch(c, "k", ids)).toMatchObject({ status: 200, accepted: 100 });
    posted += 100;
    await c.kill("SIGKILL");
    const d = await site.start({ LEASE_MS: "500" });
    await waitFor("the rows", async () => (await site.cold.countEvents()) === posted);
    expect(await readHour(d.port, hour, "k")).toMatchObject({ clicks: 100 });
    expectHoursToBeReplay(await site.cold.hours("k"), await site.cold.events("k"));
  });

  test("workers are instances of their own", async () => {
    const workers = await site.start({ WORKERS: "2" });
    expect(await postBatch(workers, "w", ids)).toMatchObject({ status: 200, accepted: 100 });
    for (const id of ids) {
      await postEvent(workers.port, { at: hour, user: "user-0", kind: "click", stream: "w", id });
    }
    expect(await readHour(services[0]!.port, hour, "w")).toMatchObject({ clicks: 100 });
  });
});
