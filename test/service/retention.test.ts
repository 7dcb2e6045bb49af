/**
 * RETENTION_DAYS: old rows, and later old aggregates, are dropped. Everything that could take a dropped row for one
 * that never existed knows: ledger, reads, verify, export, import.
 */
import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConnection } from "mysql2/promise";
import { DAY_MS, type Event, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import {
  answerOf,
  ClusterSite,
  click,
  clicks,
  coldStoreAway,
  expectReads,
  hourAt,
  type Instance,
  impression,
  NOON,
  pipelineModes,
  STREAM,
  type Site as Stores,
} from "../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

/** 00:00 of the day of NOON. */
const TODAY = NOON - (NOON % DAY_MS);

/** Some on each of the last days, today the first. */
function eventsOfDays(days: number): Event[] {
  return Array.from({ length: days }, (_, day) => [
    ...clicks(`day-${day}`, 3, NOON - day * DAY_MS),
    impression(`day-${day}-0`, NOON - day * DAY_MS + HOUR_MS, "site-2"),
  ]).flat();
}

for (const mode of pipelineModes()) {
  describeWithServers(`retention, ${mode.name}`, mode.needs, () => {
    let site: Stores;

    beforeAll(() => mode.prepare());
    afterAll(() => mode.end());
    beforeEach(async () => {
      site = await mode.open();
    });
    afterEach(() => site.close());

    async function storedDays(): Promise<number[]> {
      const days = (await site.cold.events()).map(({ at }) => (TODAY - at + (at % DAY_MS)) / DAY_MS);
      return [...new Set(days)].sort((a, b) => a - b);
    }

    async function expectLedger(instance: Instance, accepted: number): Promise<void> {
      const { ledger } = instance.pipeline;
      expect(ledger.accepted).toBe(ledger.persisted + ledger.pending + ledger.handedOver + ledger.lost);
      expect(await instance.pipeline.storesLedger()).toMatchObject({
        accepted,
        persisted: accepted,
        pending: 0,
      });
    }

    /** An instance without retention takes them, and one with it begins. */
    async function startWith(events: readonly Event[], retentionDays: number, aggregateRetentionDays?: number) {
      const before = await site.start();
      await before.take(...events);
      await before.drained();
      await before.stop();
      return await site.start({ retentionDays, aggregateRetentionDays });
    }

    /** Several times if need be: while a sweep goes on, that of the start, another leaves all to it. */
    async function sweepUntil(instance: Instance, isSwept: () => Promise<boolean>): Promise<void> {
      await waitFor("the sweep", async () => {
        await instance.pipeline.retention.sweep();
        return await isSwept();
      });
    }

    test("rows that are too old go, aggregates stay and read the same, and the ledger holds", async () => {
      const events = eventsOfDays(6);
      const instance = await startWith(events, 2);
      await waitFor("the sweep", async () => (await storedDays()).length === 3);
      expect(await storedDays()).toEqual([0, 1, 2]);
      expect(await site.cold.hours()).toHaveLength(12);
      await expectReads(instance, events);
      await expectLedger(instance, events.length);
      await waitFor("the line in the log", () => instance.log.has("deleted what is no longer retained"));
      // Events go on: watermarks and counts need no row that is gone.
      await instance.take(click("late", NOON - 2 * DAY_MS), click("now"));
      await instance.drained();
      await expectReads(instance, [...events, click("late", NOON - 2 * DAY_MS), click("now")]);
      await expectLedger(instance, events.length + 2);
    });

    test("aggregates go when they are too old themselves, and so do their streams", async () => {
      const old = impression("somebody", NOON - 9 * DAY_MS, "site-of-old");
      const instance = await startWith([...eventsOfDays(6), old], 1, 4);
      await waitFor("the sweep", async () => (await site.cold.hours()).length === 10);
      expect(await storedDays()).toEqual([0, 1]);
      expect(await instance.stores.cold.streams(10)).toEqual([STREAM, "site-2"]);
      expect(instance.pipeline.retention.aggregatesFrom(NOON)).toBe(TODAY - 4 * DAY_MS);
      await instance.pipeline.retire();
      expect(await instance.read(hourAt(old.at, old.stream))).toEqual(answerOf([]));
    });

    test("it is off unless it is set", async () => {
      const instance = await site.start();
      await instance.take(...eventsOfDays(6));
      await instance.drained();
      await instance.pipeline.retention.sweep();
      expect(await storedDays()).toEqual([0, 1, 2, 3, 4, 5]);
      expect(instance.pipeline.retention.rowsFrom(NOON)).toBe(0);
    });

    test("dropped days stay known if the setting is removed or raised", async () => {
      const first = await startWith(eventsOfDays(6), 2);
      await waitFor("the sweep", async () => (await storedDays()).length === 3);
      await first.stop();
      for (const retentionDays of [undefined, 100]) {
        const later = await site.start({ retentionDays });
        await later.pipeline.retention.sweep();
        expect(later.pipeline.retention.rowsFrom(NOON)).toBe(TODAY - 2 * DAY_MS);
        await later.stop();
      }
    });

    test("a day moves out at midnight", async () => {
      const instance = await site.start({ retentionDays: 2 });
      await instance.take(...eventsOfDays(3));
      await instance.drained();
      // Before any sweep, events of a day that is over are refused.
      const refusedBefore = [TODAY + DAY_MS - 1, TODAY + DAY_MS].map((now) =>
        instance.pipeline.retention.rowsFrom(now),
      );
      expect(refusedBefore).toEqual([TODAY - 2 * DAY_MS, TODAY - DAY_MS]);
      site.clock.ms = TODAY + DAY_MS - 1;
      await instance.pipeline.retention.sweep();
      expect(await storedDays()).toEqual([0, 1, 2]);
      site.clock.ms = TODAY + DAY_MS;
      await sweepUntil(instance, async () => (await storedDays()).length === 2);
      expect(await storedDays()).toEqual([0, 1]);
    });

    test("events that were acknowledged before their day went, and are flushed after it, count", async () => {
      const instance = await site.start({ retentionDays: 1 });
      instance.guard.intercept = coldStoreAway;
      const events = clicks("waiting", 20);
      // Of hours that the hot store holds: others would need the cold one.
      await instance.take(...events);
      site.clock.advance(3 * DAY_MS);
      instance.guard.intercept = undefined;
      await instance.pipeline.retention.sweep();
      await instance.drained();
      await expectLedger(instance, 20);
      expect(await instance.stores.cold.read(hourAt(NOON))).toMatchObject({ clicks: 20 });
      await sweepUntil(instance, async () => (await site.cold.countEvents()) === 0);
      expect(await instance.stores.cold.read(hourAt(NOON))).toMatchObject({ clicks: 20 });
    });

    test("a sweep works in pieces, may end after any of them, and resumes with the next", async () => {
      const filler = await site.start();
      const old = clicks("old", 5_000, NOON - 5 * DAY_MS);
      for (let i = 0; i < old.length; i += 1_000) await filler.take(...old.slice(i, i + 1_000));
      await filler.take(click("new"));
      await filler.drained();
      const kept = { rowsFrom: TODAY - DAY_MS, aggregatesFrom: 0 };
      const { cold } = filler.stores;
      // As if it was killed after each piece; and new events are flushed between them.
      const sizes = [await site.cold.countEvents()];
      for (let isDone = false; !isDone; ) {
        ({ isDone } = await cold.sweep(kept, NOON));
        expect(await cold.retained()).toEqual(kept);
        await filler.take(click(`between-${sizes.length}`));
        await filler.drained();
        sizes.push(await site.cold.countEvents());
      }
      expect(await storedDays()).toEqual([0]);
      // What it began with, and then three pieces at least.
      expect(sizes.length).toBeGreaterThanOrEqual(4);
      expect(await cold.read(hourAt(NOON - 5 * DAY_MS))).toMatchObject({ clicks: 5_000 });
    });

    test("dead letters of days whose rows are dropped go too, and the log says how many", async () => {
      const before = await site.start();
      await before.take(...eventsOfDays(4));
      await before.drained();
      await deadLetterAt(site, NOON - 3 * DAY_MS, "too-old");
      await deadLetterAt(site, NOON, "of-today");
      await before.stop();
      const instance = await site.start({ retentionDays: 2 });
      await waitFor("the sweep", async () => (await instance.stores.cold.deadLetterCount()) === 1);
      const [left] = await instance.stores.cold.deadLetters(0, 10);
      expect(left!.event.user).toBe("of-today");
      await waitFor("the warning", () => instance.log.has("deleted dead letters that were older"));
    });

    test("verify's repair leaves an aggregate alone whose rows are dropped", async () => {
      const instance = await startWith(eventsOfDays(4), 2);
      await waitFor("the sweep", async () => (await storedDays()).length === 3);
      const key = hourAt(NOON - 3 * DAY_MS);
      expect(await instance.stores.cold.rebuild(key)).toBe(false);
      expect(await instance.stores.cold.read(key)).toMatchObject({ clicks: 3 });
      expect(await instance.stores.cold.rebuild(hourAt(NOON))).toBe(true);
      expect(await instance.stores.cold.read(hourAt(NOON))).toMatchObject({ clicks: 3 });
    });

    if (mode.name === "embedded") return;

    async function partitions(): Promise<string[]> {
      const [table] = await (site as ClusterSite).runSql<{ "Create Table": string }>("SHOW CREATE TABLE events");
      return Array.from(table!["Create Table"].matchAll(/PARTITION \W?(\w+)\W? VALUES/g), ([, name]) => name!);
    }

    test("whole days are dropped as partitions, and the table works without them", async () => {
      const instance = await site.start({ retentionDays: 1 });
      for (let day = 0; day < 4; day++) {
        await instance.take(...clicks(`day-${day}`, 5, site.clock.ms));
        await instance.drained();
        site.clock.advance(DAY_MS);
      }
      expect(await partitions()).toEqual(expect.arrayContaining(["past", "p20260131", "p20260203", "pmax"]));
      await sweepUntil(instance, async () => (await site.cold.countEvents()) === 5);
      const names = await partitions();
      expect(names[0]).toBe("p20260203");
      expect(names.at(-1)).toBe("pmax");
      // Hours without a partition of their own are in the oldest one, or in the newest.
      await instance.take(click("ancient", NOON - 900 * DAY_MS), click("ahead", site.clock.ms + DAY_MS));
      await instance.drained();
      expect(await site.cold.countEvents()).toBe(7);
      await sweepUntil(instance, async () => (await site.cold.countEvents()) === 6);
    });

    test("several instances sweep at once, and none of them fails", async () => {
      const filler = await site.start();
      for (let day = 0; day < 5; day++) {
        await filler.take(...clicks(`day-${day}`, 100, site.clock.ms));
        await filler.drained();
        site.clock.advance(DAY_MS);
      }
      const others = await Promise.all([0, 1, 2].map(() => site.start({ retentionDays: 1 })));
      await Promise.all(others.map(({ pipeline }) => pipeline.retention.sweep()));
      await waitFor("the sweep", async () => (await site.cold.countEvents()) === 100);
      for (const { log } of others) expect(log.entries.filter(({ level }) => level !== "info")).toEqual([]);
      expect(await site.cold.hours()).toHaveLength(5);
    });

    test("a partition is dropped only once readers of the table have ended", async () => {
      const instance = await startWith(eventsOfDays(1), 1);
      site.clock.advance(5 * DAY_MS);
      const { places } = site;
      const reader = await createConnection({ uri: places.mysqlUrl! });
      await reader.query("START TRANSACTION");
      await reader.query("SELECT COUNT(*) FROM events");
      // The sweep of the start may still have the lock: then another one ends at once, and has done nothing.
      await waitFor("a sweep that can't drop it", () => {
        return instance.pipeline.retention.sweep().then(
          () => false,
          (error) => String(error).includes("could not delete expired data"),
        );
      });
      expect(await site.cold.countEvents()).toBe(4);
      await reader.query("COMMIT");
      await reader.end();
      await sweepUntil(instance, async () => (await site.cold.countEvents()) === 0);
    });

    test("a clock that is ahead of the database's drops nothing", async () => {
      const instance = await startWith(eventsOfDays(2), 1_000);
      const { cold } = instance.stores;
      const wrong = Date.now() + 40 * DAY_MS;
      const kept = { rowsFrom: wrong, aggregatesFrom: wrong };
      // The sweep of the start may still have the lock: then another one ends at once, and has done nothing.
      await waitFor("a sweep that looks at the clocks", () =>
        cold.sweep(kept, wrong).then(
          () => false,
          (error) => String(error).includes("ahead of the database's"),
        ),
      );
      expect(await storedDays()).toEqual([0, 1]);
      expect(await cold.retained()).toMatchObject({ aggregatesFrom: 0 });
    });
  });
}

async function deadLetterAt(site: Stores, at: number, user: string): Promise<void> {
  const sql = `INSERT INTO dead_letters (hour, stream, writer, seq, ordinal, at, kind, user, reason)
    VALUES (${hourOf(at)}, '${STREAM}', 99, 1, ${at % 1_000_000}, ${at}, 'click', '${user}', 'of the test')`;
  if (site instanceof ClusterSite) return void (await site.runSql(sql));
  const database = new Database(join(site.places.dataDir, "cold.sqlite"), { strict: true });
  database.run("PRAGMA busy_timeout = 5000");
  database.run(sql);
  database.close();
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`a service with RETENTION_DAYS, ${name}`, needs, () => {
    const now = Date.now();
    const today = now - (now % DAY_MS);
    /** A dropped day, the oldest retained one, and today. */
    const [dropped, first, fresh] = [today - 3 * DAY_MS, today - 2 * DAY_MS, today];
    const isoOf = (at: number) => new Date(at).toISOString();
    /** Relative to today, which may have begun since. */
    const aggregatesFrom = () => Date.now() - (Date.now() % DAY_MS) - 9 * DAY_MS;
    let site: Site;
    let service: Service;
    let folder: string;

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), "hourglass-retention-"));
      site = await open();
      service = await site.start({ RETENTION_DAYS: "4", AGGREGATE_RETENTION_DAYS: "9", HOT_HOURS: "1" });
      for (const at of [dropped, first, fresh]) {
        for (const user of ["ann", "bob"]) await postEvent(service.port, { at, user, kind: "click" });
      }
      await waitFor("the rows", async () => (await site.cold.countEvents()) === 6);
      // By another instance, whose days are fewer; this one is told when it starts.
      await sweepTo(first);
      await service.restart();
      const line = `hourglass_kept_from_seconds{what="rows"} ${first / 1_000}\n`;
      await waitFor("it to be told", async () => (await get("/metrics")).body.includes(line));
      expect(await site.cold.countEvents()).toBe(4);
    });
    afterAll(async () => {
      await site.close();
      rmSync(folder, { recursive: true });
    });

    const get = (path: string) => ask(service.port, { method: "GET", target: path });
    const command = (...args: string[]) => runCommand(site.commandSettings(service), ...args);

    /** Leaves what a sweep to this hour would leave. */
    async function sweepTo(hour: number): Promise<void> {
      const statements = [`UPDATE retention SET rows_from = ${hour}`, `DELETE FROM events WHERE hour < ${hour}`];
      for (const sql of statements) await site.cold.run(sql);
    }

    test("refuses events older than that, one by one, in batches and from pixels, and says so", async () => {
      const refused = await ask(service.port, {
        method: "POST",
        target: `/analytics?timestamp=${first - 1}&user=ann&click`,
      });
      expect(refused.status).toBe(422);
      expect(JSON.parse(refused.body)).toMatchObject({
        error: { code: "invalid_parameter", field: "timestamp", got: String(first - 1) },
      });
      expect(refused.body).toContain(`from ${first} (${isoOf(first)}: older events are not retained)`);
      const encoded = `/analytics?timestamp=${first - 1}&user=a%6En&click`;
      expect((await ask(service.port, { method: "POST", target: encoded })).status).toBe(422);
      expect((await get(`/pixel.gif?timestamp=${first - 1}&user=ann`)).status).toBe(422);
      const batch = [first - 1, first].map((at) => `{"timestamp":${at},"user":"cid","event":"click"}`);
      const answer = await fetch(`${service.url}/events`, {
        method: "POST",
        headers: { "content-type": "application/x-ndjson" },
        body: batch.join("\n"),
      });
      expect(await answer.json()).toMatchObject({
        accepted: 1,
        invalid: 1,
        errors: [{ index: 0, field: "timestamp", got: String(first - 1) }],
      });
      const { instance } = JSON.parse((await get("/ledger")).body);
      expect(instance.refused.invalid).toBe(4);
      await waitFor("the row", async () => (await site.cold.countEvents()) === 5);
    });

    test("an import of older lines names each of them", async () => {
      const file = join(folder, "old.ndjson");
      const lines = [dropped, fresh, dropped + 5].map((at) =>
        JSON.stringify({ timestamp: at, user: "dee", event: "impression" }),
      );
      writeFileSync(file, `${lines.join("\n")}\n`);
      const state = join(folder, "import.sqlite");
      const result = await command("import", file, "--url", service.url, "--state", state);
      expect(result.exitCode).toBe(1);
      for (const [line, at] of [
        [1, dropped],
        [3, dropped + 5],
      ]) {
        expect(result.errors).toContain(`old.ndjson:${line}: timestamp: got "${at}", expected milliseconds`);
      }
      expect(result.errors).toContain(`${isoOf(first)}: older events are not retained`);
      await waitFor("the row", async () => (await site.cold.countEvents()) === 6);
    });

    test("counts of hours without rows read as before, exact counts of them are refused", async () => {
      const range = `from=${isoOf(dropped)}&step=day`;
      const series = await get(`/series?${range}`);
      expect(JSON.parse(series.body).rows[0]).toMatchObject({ clicks: 2, unique_users: 2 });
      expect(series.headers.get("hourglass-degraded")).toBeUndefined();
      const exact = await get(`/series?${range}&exact=1`);
      expect(exact.status).toBe(422);
      expect(exact.body).toContain(`retained from ${isoOf(first)} on`);
      const kept = await get(`/series?from=${isoOf(first)}&step=total&exact=1`);
      expect(kept.status).toBe(200);
      expect(JSON.parse(kept.body).total).toMatchObject({ clicks: 5, unique_users: 4 });
      expect(kept.headers.get("hourglass-degraded")).toBeUndefined();
    });

    test("hours whose counts are not retained either are marked", async () => {
      const gone = today - 20 * DAY_MS;
      const marks = [
        `/analytics?timestamp=${gone}`,
        `/series?from=${isoOf(gone)}&step=total`,
        `/streams?from=${isoOf(gone)}`,
      ].map(async (path) => (await get(path)).headers.get("hourglass-degraded"));
      expect(await Promise.all(marks)).toEqual(["not-kept", "not-kept", "not-kept"]);
      const within = await get(`/series?from=${isoOf(aggregatesFrom())}&to=${isoOf(fresh)}&step=total`);
      expect(within.headers.get("hourglass-degraded")).toBeUndefined();
      expect(within.headers.get("etag")).toBeDefined();
    });

    test("verify calls nothing wrong, and its repair changes nothing", async () => {
      const before = await site.cold.hours();
      for (const args of [[], ["--repair"]]) {
        const result = await command("verify", ...args);
        expect(result).toMatchObject({ exitCode: 0, errors: "" });
        expect(result.output).toContain("0 of them");
        expect(result.output).toContain("2 clicks, 0 impressions, 2 users: its rows are not retained");
      }
      expect(await site.cold.hours()).toEqual(before);
      const lines = (await command("verify", "--json")).output.trim().split("\n");
      expect(JSON.parse(lines[0]!)).toMatchObject({ hour: dropped, rows: "not kept", differences: [] });
      // It still sees what is wrong where rows are.
      await site.cold.run(`UPDATE hourly SET clicks = clicks + 1 WHERE hour = ${first}`);
      expect((await command("verify")).exitCode).toBe(1);
      expect((await command("verify", "--repair")).exitCode).toBe(0);
      expect(await site.cold.hours()).toEqual(before);
    });

    test("an export says what is missing from it", async () => {
      const all = await command("export");
      expect(all.exitCode).toBe(0);
      expect(all.errors).toContain(
        `rows are retained from ${isoOf(first)} on; 1 earlier hour of a stream has counts but no rows`,
      );
      expect((await command("export", "--from", isoOf(first))).errors).not.toContain("Missing");
    });

    test("the metrics say from when on data is retained", async () => {
      const { body } = await get("/metrics");
      expect(body).toContain(`hourglass_kept_from_seconds{what="rows"} ${first / 1_000}`);
      expect(body).toContain(`hourglass_kept_from_seconds{what="aggregates"} ${aggregatesFrom() / 1_000}`);
    });
  });
}
