/**
 * `hourglass forget`: nothing is left of the user, wherever the events were when it began, and no other event and no
 * count is touched; even if it is killed half-way, beside a service under load.
 */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createClient } from "redis";
import { HOUR_MS, hourKeyName, hourOf } from "../../src/domain/event.ts";
import { UserSketches } from "../../src/domain/unique-users/sketch.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { TEST_DATA_SET, TEST_USERS } from "../harness/pipeline/test-users.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { type Counts, postEvent, readHour } from "../harness/service/analytics-client.ts";
import { runCommand, startCommand } from "../harness/service/command.ts";
import { ask } from "../harness/service/http-connection.ts";
import { fatesOf, hoursOf, Load, rowFaults } from "../harness/service/load.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import type { StoredEvent } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { budgetTest } from "../harness/tiers.ts";

/** Nothing else here has this in it. */
const USER = "ann.o'neill@example.org";
const HOURS = [0, 1, 30].map((ago) => hourOf(Date.now()) - ago * HOUR_MS);
const STREAMS = ["default", "shop"];
const KILLS = { quick: 2, full: 6, timeoutMs: 180_000 };

interface Forgotten {
  readonly clicks: number;
  readonly impressions: number;
  readonly deadLetters: number;
  readonly hours: number;
  readonly scanned: number;
}

/** The command waits for what a data set may have lost that was initialized within the last seconds. */
async function makeOlder(redisUrl: string): Promise<void> {
  const client = await createClient({ url: redisUrl }).connect();
  await client.hIncrBy("hg:{0}:meta", "since", -60_000);
  client.destroy();
}

describe("beside a service with other data, hourglass forget", () => {
  const settings = { FLUSH_INTERVAL_MS: "60000" };
  let services: Service[];

  beforeEach(async () => {
    services = await Promise.all([startService({ settings }), startService({ settings })]);
  });
  afterEach(async () => {
    await Promise.all(services.map((service) => service.stop()));
  });

  async function expectRefused(own: Service, other: Service, reason: string): Promise<void> {
    await postEvent(own.port, { at: Date.now(), user: USER, kind: "click" });
    const place = { DATA_DIR: own.dataDir, PORT: String(other.port) };
    for (const args of [[], ["--dry-run"], ["--url", other.url]]) {
      const { exitCode, output, errors } = await runCommand(place, "forget", "--user", USER, ...args);
      expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
      expect(errors).toContain(`DATA_DIR and the service at ${other.url} do not belong together`);
      expect(errors).toContain(reason);
      expect(errors).not.toContain(Buffer.from(TEST_DATA_SET.userKey).toString("hex"));
    }
    await own.kill("SIGTERM");
    const { output } = await runCommand(place, "forget", "--user", USER, "--json");
    expect(JSON.parse(output)).toMatchObject({ clicks: 1 });
  }

  test("erases nothing and names both, as long as the folder's own service holds the journal", async () => {
    const [own, other] = services as [Service, Service];
    const identity = "11111111-0000-4000-8000-000000000000";
    await other.kill("SIGTERM");
    for (const file of ["cold.sqlite", "journal.sqlite"]) {
      const database = new Database(join(other.dataDir, file));
      database.run(`UPDATE data_set SET identity = '${identity}'`);
      database.close();
    }
    await other.start();
    await expectRefused(own, other, `data set ${identity}, the folder ${TEST_DATA_SET.identity}`);
  });

  test("tells a copy of the folder from it by what was stored", async () => {
    const [own, other] = services as [Service, Service];
    await postEvent(other.port, { at: Date.now(), user: "bob", kind: "click" });
    await other.restart();
    await expectRefused(own, other, "The service has stored 1 event, the folder 0 events: one is a copy of the other");
  });
});

for (const { name, needs, open } of MODES) {
  describeWithServers(`hourglass forget, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeEach(async () => {
      site = await open();
    });
    afterEach(() => site.close());

    async function start(settings: Readonly<Record<string, string>> = {}): Promise<void> {
      service = await site.start(settings);
      if (site.servers !== undefined) await makeOlder(site.servers.redis.url);
    }

    /** An embedded service is asked at its address. */
    const settings = () => ({ ...site.commandSettings(service), PORT: String(service.port) });
    const command = (...args: string[]) => runCommand(settings(), ...args);

    async function forget(...args: string[]): Promise<Forgotten> {
      const result = await command("forget", "--user", USER, "--json", ...args);
      expect(result).toMatchObject({ exitCode: 0, errors: "" });
      return JSON.parse(result.output);
    }

    async function rowsOf(user: string): Promise<StoredEvent[]> {
      return (await site.cold.events()).filter((row) => row.user === user);
    }

    /** Posts a click and an impression of the user, and events of others, to each hour and stream. */
    async function fill(): Promise<number> {
      let count = 0;
      for (const { stream, hour } of hoursOf({ streams: STREAMS, hours: HOURS })) {
        for (const user of [USER, "bob", `${USER} `, USER.toUpperCase(), "cid"]) {
          for (const kind of ["click", "impression"] as const) {
            await postEvent(service.port, { at: hour + count, user, kind, stream, id: `id-${count}` });
            count += 1;
          }
        }
      }
      return count;
    }

    async function fillWith(user: string, count: number): Promise<void> {
      const places = hoursOf({ streams: STREAMS, hours: HOURS });
      const lines = Array.from({ length: count }, (_, i) => {
        const { stream, hour } = places[i % places.length]!;
        return JSON.stringify({ timestamp: hour, user, event: i % 7 === 0 ? "click" : "impression", stream });
      });
      const headers = { "content-type": "application/x-ndjson" };
      const answer = await fetch(`${service.url}/events`, {
        method: "POST",
        headers,
        body: lines.join("\n"),
      });
      expect(await answer.json()).toMatchObject({ accepted: count });
    }

    async function readCounts(): Promise<Map<string, Counts>> {
      const reads = hoursOf({ streams: STREAMS, hours: HOURS }).map(async ({ stream, hour, name: key }) => {
        return [key, await readHour(service.port, hour, stream)] as const;
      });
      return new Map(await Promise.all(reads));
    }

    async function ledger() {
      const { body } = await ask(service.port, { method: "GET", target: "/ledger" });
      const { instance, stores } = JSON.parse(body);
      expect(instance.holds).toBe(true);
      return { accepted: stores.accepted, persisted: stores.persisted, pending: stores.pending };
    }

    test("shows its key to a service that asks for one", async () => {
      await start({ REQUIRE_KEYS: "admin" });
      await postEvent(service.port, { at: HOURS[0]!, user: USER, kind: "click", stream: "default" });
      const made = await command("keys", "create", "--name", "test", "--scope", "admin", "--json");
      const { key: API_KEY } = JSON.parse(made.output);
      if (name === "embedded") {
        const refused = await command("forget", "--user", USER);
        expect(refused).toMatchObject({ exitCode: 2, output: "" });
        expect(refused.errors).toContain("401");
      }
      await waitFor("the key to be known", async () => {
        const headers = { authorization: `Bearer ${API_KEY}` };
        return (await fetch(`${service.url}/ledger`, { headers })).ok;
      });
      const result = await runCommand({ ...settings(), API_KEY }, "forget", "--user", USER, "--json");
      expect(JSON.parse(result.output)).toMatchObject({ clicks: 1, impressions: 0 });
      expect(await rowsOf(USER)).toEqual([]);
    });

    async function erasedCount(): Promise<number> {
      const [row] = await site.cold.run("SELECT SUM(clicks + impressions) AS count FROM erased_events");
      return Number(row!["count"]);
    }

    async function expectVerified(): Promise<void> {
      const before = await site.cold.hours();
      for (const args of [[], ["--repair"]]) {
        const result = await command("verify", ...args);
        expect(result).toMatchObject({ exitCode: 0, errors: "" });
        expect(result.output).not.toContain("WRONG");
      }
      expect(await site.cold.hours()).toEqual(before);
    }

    test("deletes the user's rows, all of them and no others, and no count changes", async () => {
      await start();
      const count = await fill();
      await waitFor("the rows", async () => (await site.cold.countEvents()) === count);
      const before = { counts: await readCounts(), hours: await site.cold.hours(), ledger: await ledger() };

      const dry = await forget("--dry-run");
      expect(dry).toMatchObject({ clicks: 6, impressions: 6, deadLetters: 0, hours: 3, scanned: count });
      expect(await site.cold.countEvents()).toBe(count);

      expect(await forget("--stream", "shop")).toMatchObject({ clicks: 3, impressions: 3 });
      expect((await rowsOf(USER)).map(({ stream }) => stream)).toEqual(Array(6).fill("default"));
      expect(await forget()).toMatchObject({ clicks: 3, impressions: 3, hours: 3 });
      expect(await rowsOf(USER)).toEqual([]);
      expect(await site.cold.countEvents()).toBe(count - 12);
      expect(await forget()).toMatchObject({ clicks: 0, impressions: 0, hours: 0 });

      expect(await readCounts()).toEqual(before.counts);
      expect(await site.cold.hours()).toEqual(before.hours);
      expect(await ledger()).toEqual(before.ledger);
      await expectVerified();
      // Counts of hours that are read anew, too; and an id that was counted is a duplicate as before.
      await service.restart();
      expect(await readCounts()).toEqual(before.counts);
      await postEvent(service.port, { at: HOURS[0]!, user: USER, kind: "click", id: "id-0" });
      expect(await readCounts()).toEqual(before.counts);
      expect(await rowsOf(USER)).toEqual([]);
    });

    test("an export has no event of the user, and reports that some are missing", async () => {
      await start();
      await fill();
      await forget();
      const exported = await command("export");
      expect(exported.output).not.toContain(`,${USER},`);
      expect(exported.output.trim().split("\n")).toHaveLength(1 + 48);
      expect(exported.errors).toContain("Missing: 12 events whose users were forgotten");
    });

    test("an exact count counts the events, and says that it lacks users", async () => {
      await start();
      await fill();
      await forget();
      const target = `/series?from=${HOURS[2]}&stream=*&step=total&exact=1`;
      const { body, headers } = await ask(service.port, { method: "GET", target });
      expect(JSON.parse(body).total).toMatchObject({ clicks: 30, impressions: 30, unique_users: 4 });
      expect(headers.get("hourglass-degraded")).toBe("erased");
      const none = `/series?from=${HOURS[2]! + 4 * HOUR_MS}&to=${HOURS[1]}&stream=*&exact=1`;
      const other = await ask(service.port, { method: "GET", target: none });
      expect(other.headers.get("hourglass-degraded")).toBeUndefined();
    });

    test("verify still finds what is wrong with such an hour, and repairs it", async () => {
      await start();
      await fill();
      await forget();
      const before = await site.cold.hours();
      const ofHour = `WHERE hour = ${HOURS[2]} AND stream = 'shop'`;
      for (const change of [
        `UPDATE hourly SET clicks = clicks - (clicks > 0) ${ofHour}`,
        `UPDATE hourly SET impressions = impressions + 7 ${ofHour}`,
      ]) {
        await site.cold.run(change);
        expect((await command("verify")).exitCode).toBe(1);
        const repaired = await command("verify", "--repair");
        expect(repaired.exitCode).toBe(0);
        expect(repaired.output).toContain("the counts of erased ones; its sketches did not change");
        expect(await site.cold.hours()).toEqual(before);
      }
      // Rows that go without a word are still missed.
      await site.cold.run(`DELETE FROM events ${ofHour} AND user = 'bob'`);
      expect((await command("verify")).exitCode).toBe(1);
    });

    test("dead letters of the user go, and nobody else's", async () => {
      await start();
      await fill();
      await waitFor("the rows", async () => (await site.cold.countEvents()) === 60);
      for (const [i, user] of [USER, "bob", USER].entries()) {
        await site.cold.run(`INSERT INTO dead_letters (hour, stream, writer, seq, ordinal, at, kind, user, reason)
          VALUES (${HOURS[2]}, 'shop', 99, 1, ${i}, ${HOURS[2]! + i}, 'click', '${user.replace("'", "''")}', 'test')`);
      }
      expect(await forget("--dry-run")).toMatchObject({ deadLetters: 2 });
      const { output } = await command("forget", "--user", USER);
      expect(output).toContain("and 2 dead letters. ");
      expect(output).toContain("The dead letters leave the counts, the rows do not. Sketches");
      const left = (await command("dead-letters", "list", "--json")).output.trim().split("\n");
      expect(left.map((line) => JSON.parse(line).event.user)).toEqual(["bob"]);
    });

    test("waits for events that are not flushed yet, and erases them as well", async () => {
      await start({ FLUSH_INTERVAL_MS: "3000" });
      const others = await fill();
      const before = await readCounts();
      let sent = 0;
      await waitFor("an event that is not flushed at once", async () => {
        await postEvent(service.port, { at: HOURS[0]!, user: USER, kind: "click" });
        sent += 1;
        return (await site.cold.countEvents()) < others + sent;
      });
      expect(await forget()).toMatchObject({ clicks: 6 + sent, impressions: 6 });
      expect(await ledger()).toMatchObject({ accepted: others + sent, persisted: others + sent, pending: 0 });
      expect(await rowsOf(USER)).toEqual([]);
      const name = hourKeyName("default", HOURS[0]!);
      const after = await readCounts();
      expect(after.get(name)!.clicks).toBe(before.get(name)!.clicks + sent);
      await expectVerified();
    });

    test("flushes the journal of a killed service, and erases the user's events in it", async () => {
      await start({ FLUSH_INTERVAL_MS: "60000", LEASE_MS: "1000" });
      const count = await fill();
      expect(await site.cold.countEvents()).toBe(0);
      await service.kill();
      expect(await forget()).toMatchObject({ clicks: 6, impressions: 6 });
      expect(await site.cold.countEvents()).toBe(count - 12);
      await service.start();
      expect(await ledger()).toEqual({ accepted: count, persisted: count, pending: 0 });
      await expectVerified();
    });

    test("erases nothing, and says why, as long as events cannot be stored", async () => {
      await start({ FLUSH_INTERVAL_MS: "60000" });
      await postEvent(service.port, { at: HOURS[0]!, user: USER, kind: "click" });
      const result = await command("forget", "--user", USER, "--wait-for", "1");
      expect(result.exitCode).toBe(2);
      expect(result.errors).toContain("after 1 s 1 event is not in the cold store");
      for (const args of [[], ["--user", ""], ["--user", "x".repeat(256)], ["--user", "a", "--stream", "?"]]) {
        expect((await command("forget", ...args)).exitCode).toBe(2);
      }
    });

    test("nothing of the user can be read in the files of the stores afterwards", async () => {
      await start();
      await fill();
      await forget();
      await service.kill("SIGTERM");
      if (site.servers === undefined) {
        expect(readFileSync(join(service.dataDir, "cold.sqlite")).includes(`${USER}id-`)).toBe(false);
        return;
      }
      const client = createClient({ url: site.servers.redis.url });
      await client.connect();
      for (const key of await client.keys("*")) expect(key).not.toContain(USER);
      for (const key of await client.keys("hg:{0}:j:*")) expect(await client.xLen(key)).toBe(0);
      client.destroy();
    });

    const title = (kills: number) =>
      `killed ${kills} times, beside a service under load, it erases each row once and loses no other`;
    budgetTest(title, KILLS, async (kills) => {
      await start({ FLUSH_INTERVAL_MS: "20", FLUSH_MAX_EVENTS: "200", LEASE_MS: "1000" });
      const erasedUsers = ["user-1", "user-2", "user-3"];
      // So many that an erasure takes several transactions.
      for (const user of erasedUsers) await fillWith(user, 9_000);
      const random = new Random(seedFor(`forget, ${name}`));
      const ports = [service.port];
      const load = new Load({ ports, random, clients: 4, streams: STREAMS, hours: HOURS, withId: 0.5 });
      let killedHalfWay = 0;
      // Until one of them fell into an erasure, as each may on a machine that is not busy.
      for (let kill = 1; kill <= kills || killedHalfWay === 0; kill++) {
        const user = erasedUsers[kill % erasedUsers.length]!;
        if (kill > kills) await fillWith(user, 9_000);
        const before = await erasedCount();
        const forgetting = startCommand(settings(), ["forget", "--user", user]);
        let isOver = false;
        void forgetting.result.then(() => {
          isOver = true;
        });
        const hasBegun = async () => isOver || (await erasedCount()) > before;
        await waitFor("it to erase something", hasBegun, { intervalMs: 1 });
        forgetting.kill("SIGKILL");
        const { exitCode } = await forgetting.result;
        if (exitCode === 137 && (await rowsOf(user)).length > 0) killedHalfWay += 1;
        if (kill === kills / 2) {
          await service.kill();
          await service.start();
        }
      }
      await load.finish();
      for (const user of erasedUsers) {
        const result = await command("forget", "--user", user);
        expect(result).toMatchObject({ exitCode: 0, errors: "" });
      }
      console.log(`forget, ${name}: ${killedHalfWay} killed half-way, ${fatesOf(load.events)}`);
      const rows = await site.cold.events();
      expect(rows.filter(({ user }) => erasedUsers.includes(user))).toEqual([]);
      expect(load.surprises).toEqual([]);
      // Each acknowledged event of somebody else is a row.
      const kept = load.events.map((event) =>
        erasedUsers.includes(event.user) ? { ...event, fate: "refused" as const } : event,
      );
      expect(rowFaults(kept, rows)).toEqual([]);
      await expectVerified();
      // Counts and sketches are those of all of them, the erased ones too.
      const { accepted, persisted } = await ledger();
      expect(persisted).toBe(accepted);
      const hours = await site.cold.hours();
      const counted = hours.reduce((sum, { clicks, impressions }) => sum + Number(clicks) + Number(impressions), 0);
      expect(counted).toBe(accepted);
      for (const { stream, hour, viewers_sketch, clickers_sketch } of hours) {
        const users = new UserSketches();
        for (const event of load.events) {
          const isOfHour = event.stream === stream && hourOf(event.at) === hour;
          if (isOfHour && event.fate === "acknowledged")
            users.add(TEST_USERS.registerOf(event.user), event.kind === "click");
        }
        const stored = UserSketches.decode(viewers_sketch, clickers_sketch);
        const united = UserSketches.decode(viewers_sketch, clickers_sketch);
        united.merge(users);
        expect(united.counts()).toEqual(stored.counts());
      }
    });
  });
}
