/**
 * Rows that the cold store refuses. Checked invariant: each event of a flush is a row and one count, or a dead letter
 * and none; never both and never neither.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Event, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { type ColdStore, ColdUnavailableError } from "../../src/store/cold.ts";
import { embeddedColdStore } from "../../src/store/embedded/cold-store.ts";
import { mysqlColdStore } from "../../src/store/mysql/cold-store.ts";
import { journaledBatchOf as batchOf } from "../harness/pipeline/batches.ts";
import { presetInFolder } from "../harness/pipeline/test-users.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import { describeWithServers, type MariaDbServer, startMariaDb } from "../harness/servers/servers.ts";
import { postEvent } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { type ColdView, expectHoursToBeReplay, mariaDbView, sqliteView } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const STREAM = "site-1";
const WRITER = "writer-a";
const REASON = "no such user";

/** A store whose table of events refuses users that are called bad…, as long as that is so. */
interface Place {
  readonly store: ColdStore;
  readonly view: ColdView;
  close(): Promise<void>;
}

const REFUSE_IN_SQLITE = `CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.user LIKE 'bad%'
  BEGIN SELECT RAISE(ABORT, '${REASON}'); END`;
const refuseInMariaDb = (state: string) => `CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW
  IF NEW.user LIKE 'bad%' THEN SIGNAL SQLSTATE '${state}' SET MESSAGE_TEXT = '${REASON}'; END IF`;
const ACCEPT = "DROP TRIGGER refuse";

function openEmbedded(): Place {
  const dataDir = mkdtempSync(join(tmpdir(), "hourglass-dead-letters-"));
  presetInFolder(dataDir);
  const store = embeddedColdStore({ dataDir });
  return {
    store,
    view: sqliteView(() => join(dataDir, "cold.sqlite")),
    close: async () => {
      await store.close();
      rmSync(dataDir, { recursive: true });
    },
  };
}

async function openMariaDb(server: MariaDbServer): Promise<Place> {
  const url = await server.createDatabase();
  const store = mysqlColdStore({ url, now: () => NOON, rowsPerInsert: 8 });
  return {
    store,
    view: mariaDbView(url),
    close: () => store.close(),
  };
}

function event(user: string, at = NOON, id?: string): Event {
  return { stream: STREAM, at, kind: user.length % 2 === 0 ? "click" : "impression", user, id };
}

function good(count: number): Event[] {
  return Array.from({ length: count }, (_, i) => event(`good-${i}`, NOON + (i % 2) * HOUR_MS));
}

function contract(refuse: string, open: () => Promise<Place>): void {
  let place: Place;
  let store: ColdStore;

  beforeEach(async () => {
    place = await open();
    ({ store } = place);
    await store.open();
    await place.view.run(refuse);
  });
  afterEach(() => place.close());

  async function deadUsers(): Promise<string[]> {
    return (await store.deadLetters(0, 1_000)).map((letter) => letter.event.user);
  }

  async function expectRows(users: readonly string[]): Promise<void> {
    const rows = await place.view.events();
    expect(rows.map(({ user }) => user).sort()).toEqual([...users].sort());
    expectHoursToBeReplay(await place.view.hours(), rows);
  }

  test("a bad row is set aside with the reason, and the others are stored", async () => {
    const events = [...good(20), event("bad-1", NOON + 7, "id-1"), ...good(40).slice(20)];
    expect(await store.flush(WRITER, [batchOf(1, events)])).toBe(41);
    await expectRows(good(40).map(({ user }) => user));
    expect(await store.watermark(WRITER)).toBe(1);
    expect(await store.deadLetterCount()).toBe(1);
    const [letter] = await store.deadLetters(0, 10);
    expect(letter!.event).toEqual(event("bad-1", NOON + 7, "id-1"));
    expect(letter!.reason).toContain(REASON);
    expect(letter!.setAsideAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect((await store.storedEvents([WRITER, "nobody"])).byWriter.get(WRITER)).toBe(41);
  });

  test("the same flush again sets nothing aside twice", async () => {
    const batches = [batchOf(1, [event("bad-1"), event("good-1")]), batchOf(2, [event("bad-2")])];
    expect(await store.flush(WRITER, batches)).toBe(3);
    expect(await store.flush(WRITER, batches)).toBe(0);
    expect(await deadUsers()).toEqual(["bad-1", "bad-2"]);
    await expectRows(["good-1"]);
  });

  test("of many bad rows, in any places, each is found", async () => {
    for (const [seq, places] of [[0, 16, 32], [7, 8, 9], [31], [0, 1, 2, 3, 4, 5, 6, 7]].entries()) {
      const events = Array.from({ length: 33 }, (_, i) => event(`${places.includes(i) ? "bad" : "good"}-${seq}-${i}`));
      expect(await store.flush(WRITER, [batchOf(seq + 1, events)])).toBe(33);
    }
    expect(await store.deadLetterCount()).toBe(3 + 3 + 1 + 8);
    const ofHours = (hours: number[], text = STREAM) =>
      store.deadLetterCount({ hours, streams: { text, isPrefix: false } });
    expect(await ofHours([NOON, NOON + HOUR_MS])).toBe(15);
    expect([await ofHours([NOON + HOUR_MS]), await ofHours([NOON], "site")]).toEqual([0, 0]);
    expect(await store.deadLetterCount({ hours: [NOON], streams: { text: "site-", isPrefix: true } })).toBe(15);
    const rows = await place.view.events();
    expect(rows).toHaveLength(4 * 33 - 15);
    expectHoursToBeReplay(await place.view.hours(), rows);
  });

  test("a flush of nothing but bad rows moves the watermark, and makes no hour", async () => {
    expect(await store.flush(WRITER, [batchOf(1, [event("bad-1"), event("bad-2"), event("bad-3")])])).toBe(3);
    expect(await store.watermark(WRITER)).toBe(1);
    expect(await store.newestHour()).toBeUndefined();
    expect(await store.hourKeys()).toEqual([{ stream: STREAM, hour: NOON }]);
    await expectRows([]);
  });

  test("they are listed in pieces", async () => {
    await store.flush(WRITER, [
      batchOf(
        1,
        Array.from({ length: 5 }, (_, i) => event(`bad-${i}`)),
      ),
    ]);
    const first = await store.deadLetters(0, 2);
    const second = await store.deadLetters(first.at(-1)!.number, 2);
    const third = await store.deadLetters(second.at(-1)!.number, 2);
    expect([first, second, third].flat().map((letter) => letter.event.user)).toEqual(
      Array.from({ length: 5 }, (_, i) => `bad-${i}`),
    );
    expect(await store.deadLetters(third.at(-1)!.number, 2)).toEqual([]);
  });

  test("replayed, one is a row and counted, once; refused again, it stays", async () => {
    await store.flush(WRITER, [batchOf(1, [event("good-1"), event("bad-1", NOON, "id-1"), event("bad-22")])]);
    const [one, other] = await store.deadLetters(0, 10);
    const refused = await store.replayDeadLetter(one!.number);
    expect(refused).toMatchObject({ status: "refused" });
    expect(refused.status === "refused" && refused.reason).toContain(REASON);
    await expectRows(["good-1"]);
    await place.view.run(ACCEPT);
    expect(await store.replayDeadLetter(one!.number)).toEqual({ status: "replayed" });
    expect(await store.replayDeadLetter(one!.number)).toEqual({ status: "unknown" });
    await expectRows(["good-1", "bad-1"]);
    expect((await place.view.events()).find(({ user }) => user === "bad-1")?.id).toBe("id-1");
    expect(await store.dropDeadLetter(other!.number)).toBe(true);
    expect(await store.dropDeadLetter(other!.number)).toBe(false);
    expect(await store.replayDeadLetter(other!.number)).toEqual({ status: "unknown" });
    expect(await store.deadLetterCount()).toBe(0);
    await expectRows(["good-1", "bad-1"]);
  });

  test("one replayed by two at once is counted once", async () => {
    await store.flush(WRITER, [batchOf(1, [event("bad-1"), event("bad-22"), event("bad-333")])]);
    await place.view.run(ACCEPT);
    for (const { number } of await store.deadLetters(0, 10)) {
      const results = await Promise.all([store.replayDeadLetter(number), store.replayDeadLetter(number)]);
      expect(results.map(({ status }) => status).sort()).toEqual(["replayed", "unknown"]);
    }
    await expectRows(["bad-1", "bad-22", "bad-333"]);
  });

  test("any user and id come back byte for byte", async () => {
    const texts = ["'", '"', "\\", "\0", "\n", "é", "👩‍👩‍👧‍👦", "?", "%", "\\'; DROP TABLE dead_letters; --"];
    const events = texts.map((text) => event(`bad${text}`, NOON, text));
    await store.flush(WRITER, [batchOf(1, events)]);
    expect((await store.deadLetters(0, 100)).map((letter) => letter.event)).toEqual(events);
    await place.view.run(ACCEPT);
    for (const { number } of await store.deadLetters(0, 100)) await store.replayDeadLetter(number);
    await expectRows(events.map(({ user }) => user));
  });

  test("an error of the table, not of a row, makes no dead letter", async () => {
    await place.view.run(ACCEPT);
    await place.view.run("ALTER TABLE events RENAME TO events_away");
    const flushed = store.flush(WRITER, [batchOf(1, [event("good-1")])]);
    await expect(flushed).rejects.toBeInstanceOf(ColdUnavailableError);
    await place.view.run("ALTER TABLE events_away RENAME TO events");
    expect(await store.flush(WRITER, [batchOf(1, [event("good-1")])])).toBe(1);
    expect(await store.deadLetterCount()).toBe(0);
  });
}

describe("dead letters, embedded", () => contract(REFUSE_IN_SQLITE, async () => openEmbedded()));

describeWithServers("dead letters, mysql", ["mariadb"], () => {
  let server: MariaDbServer;
  beforeAll(async () => {
    server = await startMariaDb();
  });
  afterAll(() => server.stop());

  contract(refuseInMariaDb("45000"), () => openMariaDb(server));

  test("a deadlock and a lock timeout are retried, and make no dead letters", async () => {
    const place = await openMariaDb(server);
    await place.store.open();
    const batches = [batchOf(1, [event("bad-1"), event("good-1")])];
    for (const transient of ["40001", "HY000"]) {
      await place.view.run(refuseInMariaDb(transient));
      await expect(place.store.flush(WRITER, batches)).rejects.toBeInstanceOf(ColdUnavailableError);
      await place.view.run(ACCEPT);
    }
    expect(await place.store.flush(WRITER, batches)).toBe(2);
    expect(await place.store.deadLetterCount()).toBe(0);
    await place.close();
  });

  test("a row that is too long for its column is found", async () => {
    const place = await openMariaDb(server);
    await place.store.open();
    await place.view.run("ALTER TABLE events MODIFY user VARBINARY(6) NOT NULL");
    expect(await place.store.flush(WRITER, [batchOf(1, [event("short"), event("much too long")])])).toBe(2);
    const [letter] = await place.store.deadLetters(0, 10);
    expect(letter).toMatchObject({ event: { user: "much too long" } });
    expect(letter!.reason).toContain("Data too long");
    await place.close();
  });
});

for (const { name, needs, open } of MODES) {
  describeWithServers(`hourglass dead-letters, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start();
    });
    afterAll(() => site.close());

    const exact = async (at: number) => {
      const hour = hourOf(at);
      const answer = await fetch(`${service.url}/series?from=${hour}&to=${hour + HOUR_MS}&step=total&exact=1`);
      const { total } = (await answer.json()) as { total: { clicks: number } };
      return { clicks: total.clicks, lacks: answer.headers.get("hourglass-degraded") };
    };
    const command = (...args: string[]) => runCommand(site.commandSettings(service), "dead-letters", ...args);
    // Marked or not, which depends on when the service last looked for dead letters.
    const clicksAt = async (at: number) => {
      const answer = await fetch(`${service.url}/analytics?timestamp=${at}&format=json`);
      return ((await answer.json()) as { clicks: number }).clicks;
    };
    const lacksOf = (paths: readonly string[]) =>
      Promise.all(paths.map(async (path) => (await fetch(service.url + path)).headers.get("hourglass-degraded")));

    test("all reads of hours that were loaded without their dead letters say so, and others do not", async () => {
      await site.cold.run(site.servers === undefined ? REFUSE_IN_SQLITE : refuseInMariaDb("45000"));
      const hour = hourOf(Date.now() - 3 * HOUR_MS);
      const range = `from=${hour}&to=${hour + HOUR_MS}`;
      for (const [user, stream] of [
        ["bad-1", "some"],
        ["good-1", "some"],
        ["bad-1", "only"],
        ["good-1", "none"],
      ] as const) {
        await postEvent(service.port, { at: hour, user, stream, kind: "click" });
      }
      await waitFor("two dead letters", async () => /^2 dead letters$/m.test((await command("list")).output));
      await service.restart();
      const readsOf = (stream: string) => [
        `/analytics?stream=${stream}&timestamp=${hour}`,
        ...["", "&exact=1", "&tz=Asia/Kolkata"].map((more) => `/series?stream=${stream}&${range}&step=total${more}`),
        `/streams?stream=${stream}&${range}`,
      ];
      const all = (lack: string | null) => Array.from(readsOf(""), () => lack);
      expect(await lacksOf(readsOf("some"))).toEqual(all("dead-letters"));
      expect(await lacksOf(readsOf("only"))).toEqual(all("dead-letters"));
      expect(await lacksOf(readsOf("none"))).toEqual(all(null));
      await site.cold.run(ACCEPT);
      expect(await command("replay", "--all")).toMatchObject({ exitCode: 0 });
      await service.restart();
      expect(await lacksOf([...readsOf("some"), ...readsOf("only")])).toEqual([...all(null), ...all(null)]);
      await site.cold.run("DELETE FROM events");
      await site.cold.run("DELETE FROM hourly");
    });

    test("beside the running service: listed, refused again, replayed, dropped; the counts follow", async () => {
      await site.cold.run(site.servers === undefined ? REFUSE_IN_SQLITE : refuseInMariaDb("45000"));
      const at = Date.now();
      for (const user of ["bad-1", "good-1", "bad-2", "bad-3"]) {
        await postEvent(service.port, { at, user, kind: "click" });
      }
      const listed = await waitFor("three dead letters", async () => {
        const { output } = await command("list", "--json");
        const letters = output
          .trim()
          .split("\n")
          .filter((line) => line.startsWith("{"));
        return letters.length === 3 && letters.map((line) => JSON.parse(line));
      });
      expect(listed.map((letter) => letter.event.user)).toEqual(["bad-1", "bad-2", "bad-3"]);
      expect((await command("list")).output).toContain(REASON);
      expect(await clicksAt(at)).toBe(4);
      await waitFor("an exact count that says what it lacks", async () => {
        const { clicks, lacks } = await exact(at);
        return clicks === 1 && lacks === "dead-letters";
      });
      // They are counted at the start, and once a minute.
      await service.restart();
      expect((await scrape(service.port)).get("hourglass_dead_letters")).toBe(3);
      expect(service.log()).toContain("the database refuses rows of acknowledged events");

      expect(await command("replay", "--all")).toMatchObject({ exitCode: 1 });
      await site.cold.run(ACCEPT);
      const [first, second, third] = listed.map((letter) => String(letter.number));
      expect(await command("replay", first!, second!)).toMatchObject({ exitCode: 0 });
      expect(await command("replay", first!)).toMatchObject({ exitCode: 1 });
      expect(await command("drop", third!)).toMatchObject({ exitCode: 0, output: "1 dropped\n" });
      expect(await command("list")).toMatchObject({ exitCode: 0, output: "0 dead letters\n" });

      const rows = await site.cold.events();
      expect(rows.map(({ user }) => user).sort()).toEqual(["bad-1", "bad-2", "good-1"]);
      expectHoursToBeReplay(await site.cold.hours(), rows);
      // Embedded, what was dropped is counted in memory until the hour has left that.
      if (site.servers !== undefined) expect(await clicksAt(at)).toBe(3);
    });

    test("wrong arguments are refused, and nothing is done", async () => {
      for (const args of [["replay"], ["drop"], ["drop", "x"], ["replay", "1", "--all"], ["burn"]]) {
        expect((await command(...args)).exitCode).not.toBe(0);
      }
    });
  });
}
