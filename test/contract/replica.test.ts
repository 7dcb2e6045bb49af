/**
 * Reads of the past from a real replica that is held back, killed, frozen and cut off: no read sees less than was
 * stored when it was requested, whichever server answers; and the replica answers whenever it is not behind.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import { type Event, HOUR_MS, type HourKey, hourOf, type JournaledBatch } from "../../src/domain/event.ts";
import type { HourRange } from "../../src/domain/hour-range.ts";
import { Steps } from "../../src/domain/time-steps.ts";
import { TimeZone } from "../../src/domain/time-zone.ts";
import { RangeReader } from "../../src/pipeline/read/range-reader.ts";
import { SeriesTally } from "../../src/pipeline/read/series-tally.ts";
import { type ColdStore, ColdUnavailableError, ReadInterruptedError } from "../../src/store/cold.ts";
import { type HotStore, HotUnavailableError } from "../../src/store/hot.ts";
import { mysqlColdStore } from "../../src/store/mysql/cold-store.ts";
import { journaledBatchOf } from "../harness/pipeline/batches.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import {
  describeWithServers,
  FOLLOWED,
  type MariaDbServer,
  type RedisServer,
  startMariaDb,
  startRedis,
  startReplica,
} from "../harness/servers/servers.ts";
import { startProxy } from "../harness/servers/tcp-proxy.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const STREAM = "site-1";
const EVERYTHING: HourRange = { from: 0, to: NOON + 10_000 * HOUR_MS, streams: { text: "", isPrefix: true } };
const KEY: HourKey = { stream: STREAM, hour: NOON };
/** The replica is tried again every 5 s. */
const PATIENTLY = { timeoutMs: 90_000 };
/** Above a second for a connection that is not answered, and all that is waited for. */
const UNANSWERED_MAX_MS = 8_000;

function click(user: string, at = NOON): Event {
  return { stream: STREAM, at, kind: "click", user };
}

function batchOf(seq: number, ...events: readonly Event[]): JournaledBatch {
  return journaledBatchOf(seq, events);
}

async function clicksIn(store: ColdStore): Promise<number> {
  let clicks = 0;
  await store.readRange(EVERYTHING, (hour) => {
    clicks += hour.clicks;
  });
  return clicks;
}

/** All that can be read of the past. */
async function pastOf(store: ColdStore): Promise<object> {
  const hours: string[] = [];
  await store.readRange(EVERYTHING, ({ users: sketches, ...hour }) => {
    hours.push(JSON.stringify({ ...hour, users: sketches.counts() }));
  });
  const users: string[] = [];
  const asked = { hours: [NOON, NOON + HOUR_MS], streams: EVERYTHING.streams };
  await store.readUsers(asked, (row) => users.push(JSON.stringify(row)));
  const keys = await store.hourKeys();
  const { events } = await store.rows(KEY, undefined, 1_000);
  return { hours: hours.sort(), users: users.sort(), keys, events };
}

describeWithServers("a replica of MySQL", ["mariadb"], () => {
  let primary: MariaDbServer;
  let replica: MariaDbServer;
  let url: string;
  let store: ColdStore;
  let plain: ColdStore;

  beforeAll(async () => {
    primary = await startMariaDb(FOLLOWED);
    replica = await startReplica(primary);
  });
  afterAll(() => Promise.all([replica.stop(), primary.stop()]));

  beforeEach(async () => {
    url = await primary.createDatabase();
    store = mysqlColdStore({ url, readUrl: replica.urlLike(url), now: () => NOON });
    plain = mysqlColdStore({ url, now: () => NOON });
    await store.open();
    await store.flush("writer-a", [batchOf(1, click("ann"), click("bob", NOON + HOUR_MS))]);
  });
  afterEach(async () => {
    await goOn();
    await Promise.all([store.close(), plain.close()]);
  });

  const hold = () => replica.query("STOP REPLICA SQL_THREAD");
  const goOn = () => replica.query("START REPLICA SQL_THREAD");

  const answered = async () => {
    const before = store.pastReads!.replica;
    await clicksIn(store);
    return store.pastReads!.replica > before;
  };
  const replicaAnswers = () => waitFor("the replica to answer", answered, PATIENTLY);

  async function selectsOf(server: MariaDbServer): Promise<number> {
    const [row] = await server.query<{ Value: string }>("SHOW GLOBAL STATUS LIKE 'Com_select'");
    return Number(row!.Value);
  }

  test("answers what is asked of the past, and the primary only how far it has come", async () => {
    await replicaAnswers();
    const before = [await selectsOf(primary), await selectsOf(replica)] as const;
    for (let i = 0; i < 10; i++) expect(await clicksIn(store)).toBe(2);
    const after = [await selectsOf(primary), await selectsOf(replica)] as const;
    expect([after[0] - before[0], after[1] - before[1]]).toEqual([10, 20]);
    expect(await pastOf(store)).toEqual(await pastOf(plain));
    expect(plain.pastReads).toBeUndefined();
  });

  /** Changes that the replica may lack. */
  const CHANGES: Readonly<Record<string, () => Promise<unknown>>> = {
    "another batch": () => store.flush("writer-a", [batchOf(2, click("cem"))]),
    "a first batch of a writer": () => store.flush("writer-b", [batchOf(1, click("cem"))]),
    "the last batch of a writer that has ended": async () => {
      await store.flush("writer-a", [batchOf(2, click("cem"))]);
      await store.seal("writer-a");
    },
    "a repair": async () => {
      await primary.query(`UPDATE ${new URL(url).pathname.slice(1)}.hourly SET clicks = 9`);
      await goOn();
      await waitFor("the fault to be there", async () => (await clicksIn(store)) === 18 && answered());
      await hold();
      expect(await store.rebuild(KEY)).toBe(true);
    },
    "an erasure": () => store.eraseUserRows({ user: "ann", stream: undefined }, NOON),
  };

  for (const [what, change] of Object.entries(CHANGES)) {
    test(`is not used while it lacks ${what}`, async () => {
      await replicaAnswers();
      await hold();
      await change();
      const { replica: before, behind } = store.pastReads!;
      const startMs = performance.now();
      expect(await pastOf(store)).toEqual(await pastOf(plain));
      expect(performance.now() - startMs).toBeLessThan(UNANSWERED_MAX_MS);
      expect(store.pastReads!.replica).toBe(before);
      expect(store.pastReads!.behind).toBeGreaterThan(behind);
      await goOn();
      await replicaAnswers();
      expect(await pastOf(store)).toEqual(await pastOf(plain));
    });
  }

  test("is not used while it lacks a dead letter that is a row by now", async () => {
    await primary.query(`ALTER TABLE ${new URL(url).pathname.slice(1)}.events MODIFY user VARBINARY(10) NOT NULL`);
    await store.flush("writer-a", [batchOf(2, click("a-long-name-of-a-user"))]);
    await primary.query(`ALTER TABLE ${new URL(url).pathname.slice(1)}.events MODIFY user VARBINARY(255) NOT NULL`);
    await replicaAnswers();
    await hold();
    const [letter] = await store.deadLetters(0, 1);
    expect(await store.replayDeadLetter(letter!.number)).toEqual({ status: "replayed" });
    expect(await clicksIn(store)).toBe(3);
    expect(store.pastReads!.behind).toBeGreaterThan(0);
  });

  test("that lags now and then makes no range wrong, while batches are stored", async () => {
    const random = new Random(seedFor("a replica that is held back"));
    // Held before it has the tables, it would count as unavailable for ever.
    await replicaAnswers();
    let [stored, isOver] = [2, false];
    const writing = (async () => {
      for (let seq = 1; !isOver; seq++) {
        const writer = `writer-${random.below(3)}-${Math.floor(seq / 20)}`;
        const events = Array.from({ length: 1 + random.below(20) }, (_, i) => click(`user-${seq}-${i}`));
        stored += await store.flush(writer, [batchOf(seq, ...events)]);
        if (seq % 20 === 19) for (let i = 0; i < 3; i++) await store.seal(`writer-${i}-${Math.floor(seq / 20)}`);
      }
    })();
    const holding = (async () => {
      while (!isOver) {
        await hold();
        const { behind } = store.pastReads!;
        await waitFor("a read that it is too late for", () => isOver || store.pastReads!.behind > behind);
        await goOn();
        const enough = store.pastReads!.replica + 1 + random.below(5);
        await waitFor("it to answer", () => isOver || store.pastReads!.replica >= enough, PATIENTLY);
      }
    })();
    const wrong: string[] = [];
    try {
      await waitFor(
        "enough of both",
        async () => {
          const before = stored;
          const clicks = await clicksIn(store);
          if (clicks < before) wrong.push(`${clicks} of ${before} clicks: ${JSON.stringify(store.pastReads)}`);
          const { replica: byReplica, behind } = store.pastReads!;
          return byReplica >= 50 && behind >= 5;
        },
        { timeoutMs: 120_000, intervalMs: 0 },
      );
    } finally {
      isOver = true;
      await Promise.all([writing, holding]);
    }
    expect(wrong).toEqual([]);
  });

  test("that is down, or frozen, fails no read, and is found again", async () => {
    await replicaAnswers();
    for (const [leave, comeBack] of [
      [() => replica.kill(), () => replica.start()],
      [async () => replica.pause(), async () => replica.resume()],
    ] as const) {
      await leave();
      try {
        const startMs = performance.now();
        expect(await clicksIn(store)).toBe(2);
        expect(performance.now() - startMs).toBeLessThan(UNANSWERED_MAX_MS);
        const againMs = performance.now();
        for (let i = 0; i < 5; i++) expect(await clicksIn(store)).toBe(2);
        // Five times as long, if it was asked again each time.
        expect(performance.now() - againMs).toBeLessThan(4_000);
        expect(store.pastReads!.away).toBeGreaterThan(0);
      } finally {
        await comeBack();
      }
      await replicaAnswers();
    }
  });

  test("that fails in the middle of a range: it is read again, from the primary, and nothing twice", async () => {
    const events = Array.from({ length: 5_000 }, (_, i) => click(`user-${i}`, NOON + i * HOUR_MS));
    await store.flush("writer-a", [batchOf(2, ...events)]);
    await replicaAnswers();
    const proxy = await startProxy(replica.port);
    const readUrl = Object.assign(new URL(url), { port: String(proxy.port) }).href;
    const cut = mysqlColdStore({ url, readUrl, now: () => NOON });
    try {
      const atFirstRow = () => {
        proxy.cutAll();
        proxy.refuse();
      };
      const interrupted = await cut.readRange(EVERYTHING, atFirstRow).catch((error: unknown) => error);
      expect(interrupted).toBeInstanceOf(ColdUnavailableError);
      expect((interrupted as Error).cause).toBeInstanceOf(ReadInterruptedError);
    } finally {
      await cut.close();
    }
    await proxy.accept();
    const again = mysqlColdStore({ url, readUrl, now: () => NOON });
    const hot = { readRange: () => Promise.reject(new HotUnavailableError("it is not there", false)) };
    const reader = new RangeReader(
      [{ number: 0, hot: hot as unknown as HotStore, isRecovering: false, flushCommitted: async () => {} }],
      again,
    );
    try {
      let tallies = 0;
      const steps = new Steps({ ...EVERYTHING, step: "total", zone: TimeZone.named("UTC")! });
      const { tally } = await reader.read(EVERYTHING, () => {
        tallies += 1;
        const tally = new SeriesTally(steps);
        const add = tally.add.bind(tally);
        tally.add = (hour) => {
          add(hour);
          proxy.cutAll();
        };
        return tally;
      });
      expect(tally.total().clicks).toBe(5_002);
      // One that a hot store was to fill, and one for each server.
      expect(tallies).toBe(4);
    } finally {
      await again.close();
      await proxy.close();
    }
  });

  test("of another database is never used", async () => {
    const otherUrl = await primary.createDatabase();
    const other = mysqlColdStore({ url: otherUrl, now: () => NOON });
    const wrong = mysqlColdStore({ url, readUrl: otherUrl, now: () => NOON });
    try {
      await other.open();
      for (let seq = 1; seq < 5; seq++) await other.flush("writer-x", [batchOf(seq, click("eve"))]);
      expect(await clicksIn(wrong)).toBe(2);
      expect(wrong.pastReads).toEqual({ replica: 0, behind: 1, away: 0 });
    } finally {
      await Promise.all([other.close(), wrong.close()]);
    }
  });

  test("can't be checked for lag while the primary is down: so reads fail", async () => {
    await replicaAnswers();
    await primary.kill();
    try {
      await expect(clicksIn(store)).rejects.toBeInstanceOf(ColdUnavailableError);
    } finally {
      await primary.start();
    }
    await replicaAnswers();
  });
});

describeWithServers("a service with a replica of MySQL", ["redis", "mariadb"], () => {
  let redis: RedisServer;
  let primary: MariaDbServer;
  let replica: MariaDbServer;
  let service: Service;
  let settings: Readonly<Record<string, string>>;
  const old = hourOf(Date.now()) - 48 * HOUR_MS;

  beforeAll(async () => {
    [redis, primary] = await Promise.all([startRedis(), startMariaDb(FOLLOWED)]);
    replica = await startReplica(primary);
    const readUrl = replica.urlLike(primary.url);
    settings = { REDIS_URL: redis.url, MYSQL_URL: primary.url, MYSQL_READ_URL: readUrl };
    service = await startService({ settings });
  });
  afterAll(async () => {
    await service.stop();
    await Promise.all([redis.stop(), replica.stop(), primary.stop()]);
  });

  /** Into hours that only the cold store knows, in the end. */
  async function store(count: number): Promise<void> {
    const events = Array.from({ length: count }, (_, i) => {
      return { timestamp: old + (i % 5) * HOUR_MS, user: `user-${i}`, event: "click", stream: "shop.a" };
    });
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(events);
    // It may notice only by them that Redis is empty since the last time.
    const answer = await waitFor("the events to be taken", async () => {
      const found = await fetch(`${service.url}/events`, { method: "POST", headers, body });
      return found.status !== 503 && found;
    });
    expect(await answer.json()).toMatchObject({ accepted: count });
    await waitFor("all to be flushed", async () => {
      return (await scrape(service.port)).get('hourglass_events_pending{in="ring"}') === 0;
    });
    await redis.forgetAll();
    await waitFor("it to be ready", async () => (await fetch(`${service.url}/readyz`)).ok, PATIENTLY);
  }

  async function clicks(more = ""): Promise<number> {
    const range = `from=${old}&to=${old + 5 * HOUR_MS}&stream=shop.*&step=total${more}`;
    const answer = await fetch(`${service.url}/series?${range}`);
    expect(answer.status).toBe(200);
    return ((await answer.json()) as { total: { clicks: number } }).total.clicks;
  }

  const readsBy = async (outcome: string) =>
    (await scrape(service.port)).get(`hourglass_past_reads_total{outcome="${outcome}"}`)!;

  test("reads ranges from it, and says so", async () => {
    await store(100);
    await waitFor("the replica to answer", async () => {
      expect(await clicks()).toBe(100);
      expect(await clicks("&exact=1")).toBe(100);
      return (await readsBy("replica")) >= 3;
    });
  });

  test("shows what the replica lacks, from the primary", async () => {
    await replica.query("STOP REPLICA SQL_THREAD");
    const before = await readsBy("behind");
    await store(50);
    expect(await clicks()).toBe(150);
    expect(await readsBy("behind")).toBeGreaterThan(before);
    await replica.query("START REPLICA SQL_THREAD");
    const lines = () => service.log().split("\n");
    const warned = lines().filter((line) => line.includes("no usable replica") && line.includes("lags behind"));
    expect(JSON.parse(warned[0]!)).toMatchObject({ level: 40 });
    const byReplica = await readsBy("replica");
    await waitFor("the replica to answer", async () => {
      expect(await clicks()).toBe(150);
      return (await readsBy("replica")) > byReplica;
    });
    expect(lines().some((line) => line.includes("ranges are read from the replica again"))).toBe(true);
  });

  test("that can't be used is named once by a service's log, and by an export", async () => {
    const url = new URL(replica.urlLike(primary.url));
    url.password = "wrong";
    const wrong = { ...settings, MYSQL_READ_URL: url.href };
    const other = await startService({ settings: wrong });
    try {
      const range = `from=${old}&to=${old + HOUR_MS}&step=total`;
      const warned = () =>
        other
          .log()
          .split("\n")
          .filter((line) => line.includes("no usable replica"));
      await waitFor("the warning", async () => {
        expect((await fetch(`${other.url}/series?${range}`)).status).toBe(200);
        return warned().length > 0;
      });
      expect(JSON.parse(warned()[0]!)).toMatchObject({ level: 40, problem: expect.stringMatching(/./) });
      expect(warned()[0]).not.toContain("wrong");
      await fetch(`${other.url}/series?${range}`);
      expect(warned()).toHaveLength(1);
    } finally {
      await other.stop();
    }
    const { exitCode, errors } = await runCommand(wrong, "export");
    expect(exitCode).toBe(0);
    expect(errors).toStartWith("hourglass export: reads from the primary: MYSQL_READ_URL can't be used: ");
    expect(errors.match(/reads from/g)).toHaveLength(1);
  });

  test("is left in peace by an export, which is the replica's work", async () => {
    const rowsRead = async () => {
      // MySQL has the first of them, MariaDB the second.
      const names = "('Innodb_rows_read', 'Rows_read')";
      const sql = `SHOW GLOBAL STATUS WHERE Variable_name IN ${names}`;
      const [row] = await replica.query<{ Value: string }>(sql);
      return Number(row!.Value);
    };
    const before = await rowsRead();
    const { output, errors } = await runCommand(settings, "export", "--format", "ndjson");
    expect([output.trimEnd().split("\n").length, errors]).toEqual([150, expect.stringContaining("150 events")]);
    expect((await rowsRead()) - before).toBeGreaterThanOrEqual(150);
  });
});
