/**
 * `hourglass verify`: finds differences between hot store, aggregates and rows, does not report events in flight as
 * errors, and rebuilds wrong aggregates from the rows.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { createClient } from "redis";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { elementOf } from "../../src/domain/unique-users/user-hash.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { TEST_USERS } from "../harness/pipeline/test-users.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { Load } from "../harness/service/load.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { expectHoursToBeReplay } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

interface Verdict {
  readonly stream: string;
  readonly hour: number;
  readonly rows: { readonly clicks: number };
  readonly differences: readonly string[];
  readonly repairs: readonly string[];
}

describeWithServers("commands that read both stores", ["redis", "mariadb"], () => {
  test("connect to each once", async () => {
    const { open } = MODES.find(({ needs }) => needs.includes("redis"))!;
    const site = await open();
    try {
      const service = await site.start();
      await service.kill();
      const settings = site.commandSettings(service);
      const admin = await createClient({ url: settings["REDIS_URL"]! }).connect();
      const count = async () => Number(/total_connections_received:(\d+)/.exec(await admin.info("stats"))![1]);
      for (const command of ["verify", "export"]) {
        // On a busy machine an answer may be late, after which the command connects again or fails.
        await waitFor(`${command} to connect once`, async () => {
          const before = await count();
          const { exitCode } = await runCommand(settings, command);
          return exitCode === 0 && (await count()) - before === 1;
        });
      }
      admin.destroy();
    } finally {
      await site.close();
    }
  });
});

for (const { name, needs, open } of MODES) {
  describeWithServers(`a backlog that a killed service left, ${name}`, needs, () => {
    test("is counted by verify and export, which do not see its events", async () => {
      const site = await open();
      try {
        const service = await site.start({ FLUSH_INTERVAL_MS: "60000", LEASE_MS: "1000" });
        for (const user of ["ann", "bob"]) await postEvent(service.port, { at: Date.now(), user, kind: "click" });
        const told = "2 events not looked at: acknowledged, and not in the cold store until a service flushes them\n";
        await service.kill();
        const verify = await runCommand(site.commandSettings(service), "verify");
        expect(verify).toMatchObject({ exitCode: 0, errors: "", output: expect.stringContaining(told) });
        const exported = await runCommand(site.commandSettings(service), "export");
        expect(exported).toMatchObject({ exitCode: 0, errors: expect.stringContaining(told) });
        await service.start();
        await waitFor("the rows", async () => (await site.cold.countEvents()) === 2);
        expect((await runCommand(site.commandSettings(service), "export")).errors).not.toContain("not looked at");
      } finally {
        await site.close();
      }
    });
  });

  describeWithServers(`hourglass verify, ${name}`, needs, () => {
    const hour = hourOf(Date.now()) - 3 * HOUR_MS;
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ HOT_HOURS: "2" });
      for (let i = 0; i < 30; i++) {
        const kind = i % 3 === 0 ? "click" : "impression";
        const at = hour + (i % 2) * HOUR_MS;
        await postEvent(service.port, { at, user: `user-${i}`, kind, stream: i < 20 ? "a" : "b" });
      }
      await waitFor("the rows", async () => (await site.cold.countEvents()) === 30);
    });
    afterAll(() => site.close());

    async function verdicts(...args: string[]): Promise<{ exitCode: number; verdicts: Verdict[] }> {
      const result = await runCommand(site.commandSettings(service), "verify", "--json", ...args);
      const lines = result.output.trim().split("\n").filter(Boolean);
      expect(result.errors).toMatch(lines.length === 0 ? /^There is no hour .*\n$/ : /^$/);
      return { exitCode: result.exitCode, verdicts: lines.map((line) => JSON.parse(line)) };
    }

    async function wrongHours(...args: string[]): Promise<string[]> {
      const found = (await verdicts(...args)).verdicts.filter(({ differences }) => differences.length > 0);
      return found.map((verdict) => `${(verdict.hour - hour) / HOUR_MS} ${verdict.stream}`).sort();
    }

    /** A column of the first hour of the other stream. */
    function ofOther(column: string): string {
      return `(SELECT s FROM (SELECT ${column} AS s FROM hourly WHERE stream = 'b' ORDER BY hour LIMIT 1) AS other)`;
    }

    async function expectAllWell(): Promise<void> {
      const { exitCode, verdicts: all } = await verdicts();
      expect(all.flatMap(({ differences }) => differences)).toEqual([]);
      expect({ exitCode, hours: all.length }).toEqual({ exitCode: 0, hours: 4 });
      const rows = await site.cold.events();
      expectHoursToBeReplay(await site.cold.hours(), rows);
    }

    test("finds nothing wrong where nothing is", async () => {
      await expectAllWell();
      const text = await runCommand(site.commandSettings(service), "verify");
      expect(text.output).toContain("4 hours, 0 of them wrong");
    });

    test("one hour, one stream, and both, in either notation", async () => {
      const iso = new Date(hour).toISOString().slice(0, 13);
      expect((await verdicts("--hour", iso)).verdicts).toHaveLength(2);
      expect((await verdicts("--stream", "a")).verdicts).toHaveLength(2);
      const [one] = (await verdicts("--hour", String(hour + 17), "--stream", "a")).verdicts;
      expect(one).toMatchObject({ hour, stream: "a" });
      expect((await verdicts("--hour", String(hour - 9 * HOUR_MS), "--stream", "none")).exitCode).toBe(0);
      expect((await runCommand({}, "verify", "--hour", "noon")).exitCode).toBe(2);
      const day = await runCommand({}, "verify", "--hour", "2026-11-30");
      expect([day.exitCode, day.errors]).toEqual([2, expect.stringContaining("such as 2026-11-30T00")]);
    });

    test("refuses what cannot be a stream's name, also when it would repair", async () => {
      for (const stream of ["a.*", "a ", "bad stream", "*", ""]) {
        for (const args of [[], ["--repair"], ["--json"], ["--hour", String(hour)]]) {
          const result = await runCommand(site.commandSettings(service), "verify", "--stream", stream, ...args);
          expect(result).toMatchObject({ exitCode: 2, output: "" });
          expect(result.errors).toContain("option '--stream <name>' argument");
        }
      }
    });

    test("says that there is no hour of a stream, or at a time", async () => {
      const earlier = new Date(hour - 9 * HOUR_MS).toISOString().slice(0, 13);
      const none: readonly (readonly [string, string[]])[] = [
        ["There is no hour of the stream none: nothing was compared", ["--stream", "none"]],
        [`There is no hour ${earlier} of any stream: nothing was compared`, ["--hour", earlier]],
        [`There is no hour ${earlier} of the stream a: nothing was compared`, ["--hour", earlier, "--stream", "a"]],
      ];
      for (const [text, args] of none) {
        const said = await runCommand(site.commandSettings(service), "verify", ...args);
        expect(said).toEqual({ exitCode: 0, output: `${text}\n`, errors: "" });
        const json = await runCommand(site.commandSettings(service), "verify", "--json", ...args);
        expect(json).toEqual({ exitCode: 0, output: "", errors: `${text}\n` });
      }
    });

    const changes: Readonly<Record<string, string>> = {
      "a count that is too high": `UPDATE hourly SET clicks = clicks + 1`,
      "a count that is too low": `UPDATE hourly SET impressions = impressions - (impressions > 0)`,
      "viewers of another hour": `UPDATE hourly SET viewers_sketch = ${ofOther("viewers_sketch")}`,
      "clickers of another hour": `UPDATE hourly SET clickers_sketch = ${ofOther("clickers_sketch")}`,
      "viewers for clickers":
        "UPDATE hourly SET clickers_sketch = (SELECT s FROM (SELECT viewers_sketch AS s " +
        `FROM hourly WHERE stream = 'a' AND hour = ${hour}) AS same)`,
      "no clickers at all": "UPDATE hourly SET clickers_sketch = x''",
      "an aggregate that is gone": "DELETE FROM hourly",
      "an aggregate without rows": "UPDATE hourly SET stream = 'c'",
    };

    for (const [what, change] of Object.entries(changes)) {
      test(`finds and repairs ${what}`, async () => {
        await site.cold.run(`${change} WHERE hour = ${hour} AND stream = 'a'`);
        const hours = what === "an aggregate without rows" ? ["0 a", "0 c"] : ["0 a"];
        expect(await wrongHours()).toEqual(hours);
        expect((await verdicts()).exitCode).toBe(1);
        expect((await verdicts("--repair")).exitCode).toBe(0);
        await expectAllWell();
      });
    }

    test("under load no hour is called wrong, and none is made wrong by a repair", async () => {
      const hours = [hourOf(Date.now()), hour];
      const random = new Random(seedFor(`verify, ${name}`));
      const load = new Load({
        ports: [service.port],
        random,
        clients: 8,
        streams: ["a", "b"],
        hours,
        withId: 0.2,
      });
      for (let round = 0; round < 4; round++) {
        expect(await wrongHours(...(round % 2 === 1 ? ["--repair"] : []))).toEqual([]);
      }
      await load.finish();
      await waitFor("the rows", async () => {
        return (
          (await site.cold.countEvents()) === 30 + load.events.filter(({ fate }) => fate === "acknowledged").length
        );
      });
      expectHoursToBeReplay(await site.cold.hours(), await site.cold.events());
      expect(await wrongHours()).toEqual([]);
    });

    if (name === "embedded") return;

    test("finds and repairs users of the wrong kind in Redis", async () => {
      const at = hourOf(Date.now());
      await postEvent(service.port, { at, user: "ann", kind: "click", stream: "k" });
      await waitFor("the row", async () => (await site.cold.countEvents("k")) > 0);
      await tamperRedis((client) => client.pfAdd(`hg:{0}:u:${at}:k`, elementOf(TEST_USERS.registerOf("ann"))));
      const differences = async () => (await verdicts("--stream", "k")).verdicts[0]!.differences;
      expect(await differences()).toEqual(["the hot store counts 1 viewers, the rows give 0"]);
      await waitFor("the repair", async () => (await verdicts("--stream", "k", "--repair")).exitCode === 0);
      expect(await differences()).toEqual([]);
    });

    async function tamperRedis(change: (client: ReturnType<typeof createClient>) => Promise<unknown>) {
      const client = createClient({ url: site.servers!.redis.url });
      await client.connect();
      await change(client as ReturnType<typeof createClient>);
      client.destroy();
    }

    test("finds and repairs an hour that only Redis holds", async () => {
      const at = hourOf(Date.now());
      await postEvent(service.port, { at, user: "ann", kind: "click", stream: "gone" });
      await waitFor("the row", async () => (await site.cold.countEvents("gone")) === 1);
      for (const table of ["events", "hourly"]) await site.cold.run(`DELETE FROM ${table} WHERE stream = 'gone'`);
      const found = await verdicts("--stream", "gone");
      expect(found).toMatchObject({ exitCode: 1, verdicts: [{ hour: at, hot: { clicks: 1 }, unflushed: 0 }] });
      await waitFor("the repair", async () => (await verdicts("--stream", "gone", "--repair")).exitCode === 0);
      expect(await verdicts("--stream", "gone")).toEqual({ exitCode: 0, verdicts: [] });
      expect(await readHour(service.port, at, "gone")).toMatchObject({ clicks: 0, uniqueUsers: 0 });
    });

    test("finds and repairs counts and users in Redis that the rows do not give", async () => {
      const at = hourOf(Date.now());
      const counts = `hg:{0}:c:${at}:r`;
      const changesInRedis = [
        (client: ReturnType<typeof createClient>) => client.hIncrBy(counts, "c", 5),
        (client: ReturnType<typeof createClient>) => client.hIncrBy(counts, "c", -1),
        (client: ReturnType<typeof createClient>) => client.pfAdd(`hg:{0}:u:${at}:r`, "somebody"),
        (client: ReturnType<typeof createClient>) => client.pfAdd(`hg:{0}:k:${at}:r`, "somebody"),
      ];
      for (const [i, change] of changesInRedis.entries()) {
        // Also brings the hour into Redis, where the repair before this left none.
        await postEvent(service.port, { at, user: `user-${i}`, kind: "click", stream: "r" });
        await waitFor("the row", async () => (await site.cold.countEvents("r")) === i + 1);
        const before = await readHour(service.port, at, "r");
        await tamperRedis(change);
        expect(await readHour(service.port, at, "r")).not.toEqual(before);
        expect((await verdicts("--stream", "r")).verdicts[0]!.differences).toHaveLength(1);
        await waitFor("the repair", async () => (await verdicts("--stream", "r", "--repair")).exitCode === 0);
        expect(await readHour(service.port, at, "r")).toEqual(before);
      }
    });
  });
}
