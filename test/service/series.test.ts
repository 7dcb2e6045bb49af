/**
 * GET /series and GET /streams, in both modes, compared with the events themselves, those of a real log spread over
 * some streams: from the hot store, from the cold store alone, and with either unavailable.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { gunzipSync } from "node:zlib";
import { DAY_MS, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { logEvents, overConnections } from "../harness/service/access-log.ts";
import { type PostedEvent, postEvent } from "../harness/service/analytics-client.ts";
import { type Answer, ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

/** One standard error of a sketch. */
const STANDARD_ERROR = 0.0081;
const STREAMS = ["shop.spring.a", "shop.spring.b", "shop.summer.a", "news"] as const;
const [FROM, TO] = [Date.UTC(2015, 4, 17), Date.UTC(2015, 4, 22)];
const RANGE = "from=2015-05-17&to=2015-05-22";

interface Sums {
  readonly clicks: number;
  readonly impressions: number;
  readonly ctr: number | null;
  readonly unique_users: number;
  readonly unique_clickers: number;
  readonly unique_viewers: number;
}

interface Row extends Sums {
  readonly from: string;
  readonly to: string;
}

interface SeriesBody {
  readonly from: string;
  readonly to: string;
  readonly rows: readonly Row[];
  readonly total: Sums;
}

interface StreamRow extends Sums {
  readonly stream: string;
  readonly last_hour: string;
}

interface StreamsBody {
  readonly streams: readonly StreamRow[];
  readonly total: Sums & { readonly streams: number };
}

/** Assigns streams by user, so that only every tenth user is in several streams: in all of them. */
function streamed(events: readonly PostedEvent[]): PostedEvent[] {
  return events.map((event, i) => {
    const number = Number(Bun.hash(event.user) % 1_000n);
    const at = number % 10 === 0 ? i % STREAMS.length : number % STREAMS.length;
    return { ...event, stream: STREAMS[at]! };
  });
}

function exactSums(events: readonly PostedEvent[]): Sums {
  const clicks = events.filter(({ kind }) => kind === "click").length;
  const impressions = events.length - clicks;
  const ctr = impressions === 0 ? null : clicks / impressions;
  const usersOf = (some: readonly PostedEvent[]) => new Set(some.map(({ user }) => user)).size;
  const ofKind = (kind: PostedEvent["kind"]) => usersOf(events.filter((event) => event.kind === kind));
  const byKind = { unique_clickers: ofKind("click"), unique_viewers: ofKind("impression") };
  return { clicks, impressions, ctr, unique_users: usersOf(events), ...byKind };
}

const USERS = ["unique_users", "unique_clickers", "unique_viewers"] as const;

function expectSums(sums: Sums, events: readonly PostedEvent[], expectUsers = expectEstimate): void {
  const exact = exactSums(events);
  const { clicks, impressions, ctr } = exact;
  expect({ ...sums }).toMatchObject({ clicks, impressions, ctr });
  for (const field of USERS) expectUsers(sums[field], exact[field]);
}

/** Within three standard errors. */
function expectEstimate(estimate: number, exact: number): void {
  expect(typeof estimate).toBe("number");
  expect(Math.abs(estimate - exact)).toBeLessThanOrEqual(Math.max(1, 3 * STANDARD_ERROR * exact));
}

function within(events: readonly PostedEvent[], from: string, to: string): PostedEvent[] {
  return events.filter(({ at }) => at >= Date.parse(from) && at < Date.parse(to));
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`series and streams, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    let events: PostedEvent[];

    beforeAll(async () => {
      site = await open();
      service = await site.start();
      events = streamed(await logEvents());
      await overConnections(service.port, events, postEvent);
    });
    afterAll(() => site.close());

    function get(target: string, ...headers: string[]): Promise<Answer> {
      return ask(service.port, { method: "GET", target, headers });
    }

    /** Asks again while the answer lacks something, as it may for a moment on a busy machine. */
    async function bodyOf<T>(target: string): Promise<T> {
      const answer = await waitFor("an answer that is whole", async () => {
        const found = await get(target);
        return !found.headers.has("hourglass-degraded") && found;
      });
      expect([target, answer.status, answer.status === 200 ? "" : answer.body]).toEqual([target, 200, ""]);
      return JSON.parse(answer.body);
    }

    const series = (query: string) => bodyOf<SeriesBody>(`/series?${query}`);
    const streams = (query: string) => bodyOf<StreamsBody>(`/streams?${query}`);
    const of = (...names: string[]) => events.filter(({ stream }) => names.includes(stream!));
    const branch = (prefix: string) => events.filter(({ stream }) => stream!.startsWith(prefix));

    async function drained(): Promise<void> {
      await waitFor("all rows", async () => (await site.cold.countEvents()) >= events.length);
    }

    async function expectSeries(query: string, expected: readonly PostedEvent[]): Promise<SeriesBody> {
      const body = await series(query);
      for (const row of body.rows) expectSums(row, within(expected, row.from, row.to));
      expectSums(body.total, expected);
      expect(body.rows.reduce((sum, { clicks }) => sum + clicks, 0)).toBe(body.total.clicks);
      return body;
    }

    for (const [step, rows] of [
      ["hour", 120],
      ["day", 5],
      ["week", 2],
      ["total", 1],
    ] as const) {
      test(`by ${step}: counts are exact, users those of the union`, async () => {
        const body = await expectSeries(`${RANGE}&step=${step}&stream=news`, of("news"));
        expect(body.rows).toHaveLength(rows);
        const [first, last] = [body.rows[0]!, body.rows.at(-1)!];
        expect([first.from, last.to]).toEqual(["2015-05-17T00:00:00Z", "2015-05-22T00:00:00Z"]);
        for (const [i, row] of body.rows.entries()) expect(row.from).toBe(body.rows[i - 1]?.to ?? first.from);
      });
    }

    test("of a branch, and of all: a user of several streams counts once", async () => {
      await expectSeries(`${RANGE}&step=day&stream=shop.*`, branch("shop."));
      await expectSeries(`${RANGE}&step=day&stream=shop.spring.*`, branch("shop.spring."));
      const { total } = await expectSeries(`${RANGE}&step=total&stream=*`, events);
      const each = await Promise.all(STREAMS.map((stream) => series(`${RANGE}&step=total&stream=${stream}`)));
      const sum = each.reduce((users, { total: { unique_users: ofOne } }) => users + ofOne, 0);
      expect(sum).toBeGreaterThan(total.unique_users * 1.05);
    });

    test("days of a time zone", async () => {
      const body = await expectSeries(
        "from=2015-05-18&to=2015-05-20&step=day&tz=America/New_York&stream=*",
        within(events, "2015-05-18T04:00:00Z", "2015-05-20T04:00:00Z"),
      );
      expect(body.rows.map(({ from }) => from)).toEqual(["2015-05-18T00:00:00-04:00", "2015-05-19T00:00:00-04:00"]);
    });

    for (const step of ["day", "hour", "month"])
      test(`by ${step} of a time zone that is not whole hours from UTC`, async () => {
        await drained();
        const from = "2015-05-18T00:00:00+05:30";
        const to = "2015-05-20T00:00:00+05:30";
        const query = `from=2015-05-18&to=2015-05-20&step=${step}&tz=Asia/Kolkata`;
        const expected = within(events, from, to);
        const body = await expectSeries(`${query}&stream=*`, expected);
        expect([body.rows[0]!.from, body.rows.at(-1)!.to]).toEqual([from, to]);
        expect(body.rows).toHaveLength({ day: 2, hour: 48, month: 1 }[step]!);
        const exact = await series(`${query}&stream=*&exact=1`);
        for (const row of exact.rows) expect(row).toMatchObject(exactSums(within(events, row.from, row.to)));
        expect(exact.total).toEqual(exactSums(expected));
        // Streams are read by UTC hours, and say so.
        const { from: readFrom } = await bodyOf<Row>(`/streams?from=2015-05-18&to=2015-05-20&tz=Asia/Kolkata`);
        expect(readFrom).toBe("2015-05-17T23:30:00+05:30");
      });

    test("exact=1 counts distinct users, in total and by kind, once all is flushed", async () => {
      await drained();
      const body = await series(`${RANGE}&step=day&stream=*&exact=1`);
      for (const { from, to, ...sums } of body.rows) {
        expect(sums).toEqual(exactSums(within(events, from, to)) as typeof sums);
      }
      expect(body.total).toEqual(exactSums(events));
      const csv = await get(`/series?${RANGE}&step=day&stream=*&exact=1&format=csv`);
      const [head, ...lines] = csv.body.trimEnd().split("\n");
      expect(head).toBe("from,to,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers");
      expect(lines).toEqual(body.rows.map((row) => Object.values(row).join(",")));
    });

    test("an hour reads the same as by /analytics", async () => {
      const { at } = of("news")[0]!;
      const target = `/series?from=${hourOf(at)}&to=${hourOf(at) + HOUR_MS}&step=total&stream=news&format=text`;
      const plain = await get(`/analytics?timestamp=${at}&stream=news`);
      const asSeries = await get(target);
      expect(asSeries.body).toBe(plain.body);
      expect(asSeries.headers.get("content-type")).toBe(plain.headers.get("content-type"));
    });

    test("text is the total, for every step", async () => {
      const text = async (step: string) => (await get(`/series?${RANGE}&step=${step}&stream=news&format=text`)).body;
      const { total } = await series(`${RANGE}&step=total&stream=news`);
      for (const step of ["hour", "week", "total"]) {
        const { clicks, impressions, unique_users } = total;
        expect(await text(step)).toBe(`unique_users,${unique_users}\nclicks,${clicks}\nimpressions,${impressions}\n`);
      }
    });

    test("a long answer is compressed if the client accepts gzip", async () => {
      const target = `${service.url}/series?${RANGE}&stream=news`;
      const whole = await (await fetch(target, { headers: { "accept-encoding": "identity" } })).text();
      const headers = { "accept-encoding": "gzip" };
      const packed = await fetch(target, { headers, decompress: false });
      expect(packed.headers.get("content-encoding")).toBe("gzip");
      expect(packed.headers.get("vary")).toBe("accept, accept-encoding");
      expect(gunzipSync(await packed.arrayBuffer()).toString()).toBe(whole);
      const etag = packed.headers.get("etag")!;
      expect(etag).toStartWith('W/"');
      expect((await fetch(target, { headers: { ...headers, "if-none-match": etag } })).status).toBe(304);
      const short = await fetch(`${target}&step=total`, { headers, decompress: false });
      expect(short.headers.get("content-encoding")).toBeNull();
    });

    test("CSV, by parameter or by Accept", async () => {
      const target = `/series?${RANGE}&step=day&stream=news`;
      const { rows } = await series(`${RANGE}&step=day&stream=news`);
      const csv = await get(`${target}&format=csv`);
      const lines = rows.map((row) => Object.values(row).join(","));
      const header = "from,to,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers";
      expect(csv.body).toBe([header, ...lines, ""].join("\n"));
      expect((await get(target, "Accept: text/csv")).body).toBe(csv.body);
      expect((await get(target, "Accept: text/csv;q=0.5, application/json")).body).toStartWith("{");
      expect(csv.headers.get("content-type")).toStartWith("text/csv");
    });

    test("past ranges are revalidated by ETag; a late event is visible immediately", async () => {
      const query = `${RANGE}&step=total&stream=late`;
      await postEvent(service.port, { at: FROM, user: "u", kind: "click", stream: "late" });
      const first = await get(`/series?${query}`);
      const etag = first.headers.get("etag")!;
      expect(first.headers.get("cache-control")).toBe("no-cache");
      const again = await get(`/series?${query}`, `If-None-Match: ${etag}`);
      expect([again.status, again.body, again.headers.get("etag")]).toEqual([304, "", etag]);
      expect((await get(`/series?${query}`, `If-None-Match: W/${etag}`)).status).toBe(304);
      expect((await get(`/series?${query}&format=csv`, `If-None-Match: ${etag}`)).status).toBe(200);
      await postEvent(service.port, { at: FROM, user: "v", kind: "click", stream: "late" });
      const late = await get(`/series?${query}`, `If-None-Match: ${etag}`);
      expect(late.status).toBe(200);
      expect(JSON.parse(late.body).total.clicks).toBe(2);
    });

    test("events acknowledged just before are in hours that a zone cuts, and in exact counts", async () => {
      for (let clicks = 1; clicks <= 5; clicks++) {
        await postEvent(service.port, {
          at: Date.UTC(2016, 0, 9, 18),
          user: `u${clicks}`,
          kind: "click",
          stream: "now",
        });
        for (const query of ["tz=Asia/Kolkata&step=hour", "tz=UTC&step=day&exact=1"])
          expect((await series(`from=2016-01-09&to=2016-01-11&stream=now&${query}`)).total).toMatchObject({ clicks });
      }
    });

    test("a range that is not over is not cached", async () => {
      const at = Date.now();
      await postEvent(service.port, { at, user: "u", kind: "impression", stream: "live" });
      const answer = await get(`/series?from=${at}&stream=live`);
      const users = { unique_users: 1, unique_clickers: 0, unique_viewers: 1 };
      expect(JSON.parse(answer.body).total).toEqual({ clicks: 0, impressions: 1, ctr: 0, ...users });
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(answer.headers.get("etag")).toBeUndefined();
    });

    test("10,000 hours in one call", async () => {
      const to = TO + 3 * DAY_MS;
      const body = await series(`from=${to - 10_000 * HOUR_MS}&to=${to}&stream=shop.*`);
      expect(body.rows).toHaveLength(10_000);
      expectSums(body.total, branch("shop."));
    });

    test("streams of a range, best first, and all of them by union", async () => {
      const body = await streams(`${RANGE}&stream=*&order=impressions`);
      const expected = [...Map.groupBy(events, ({ stream }) => stream!)];
      const found = body.streams.filter(({ stream }) => stream !== "late");
      expect(found.map(({ stream }) => stream).sort()).toEqual([...STREAMS].sort());
      for (const row of found) expectSums(row, expected.find(([stream]) => stream === row.stream)![1]);
      const impressions = body.streams.map((row) => row.impressions);
      expect(impressions).toEqual(impressions.toSorted((a, b) => b - a));
      const last = Math.max(...of("news").map(({ at }) => hourOf(at)));
      expect(Date.parse(found.find(({ stream }) => stream === "news")!.last_hour)).toBe(last);
    });

    test("branches of streams, a limit, a prefix", async () => {
      const shop = await streams(`${RANGE}&stream=shop.*&depth=2&order=name`);
      expect(shop.streams.map(({ stream }) => stream)).toEqual(["shop.spring", "shop.summer"]);
      expectSums(shop.streams[0]!, branch("shop.spring."));
      expectSums(shop.total, branch("shop."));
      const { unique_clickers: clickers, unique_viewers: viewers, unique_users: users } = shop.total;
      // Some did both: a sum of kinds would count them twice.
      expect(clickers + viewers).toBeGreaterThan(users);
      const best = await streams(`${RANGE}&limit=1&order=unique_users&stream=shop*`);
      expect(best.streams).toHaveLength(1);
      expect(best.total.streams).toBe(3);
      const csv = await get(`/streams?${RANGE}&stream=shop.*&format=csv&order=name`);
      const [header, ...lines] = csv.body.trim().split("\n");
      expect(header).toBe("stream,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers,last_hour");
      const { streams: rows } = await streams(`${RANGE}&stream=shop.*&order=name`);
      expect(lines).toEqual(rows.map((row) => Object.values(row).join(",")));
      expect(lines.map((line) => line.split(",")[0])).toEqual(STREAMS.filter((one) => one.startsWith("shop.")).sort());
    });

    describe("refuses, and says what it takes,", () => {
      const REFUSED: readonly (readonly [target: string, field: string])[] = [
        ["/series", "from"],
        ["/series?from=yesterday", "from"],
        ["/series?from=2015-02-30", "from"],
        [`/series?${RANGE}&step=minute`, "step"],
        [`/series?${RANGE}&tz=Mars`, "tz"],
        ["/series?from=1970-01-01&to=1970-01-02&tz=Africa/Monrovia", "tz"],
        [`/series?${RANGE}&week_start=tuesday`, "week_start"],
        [`/series?${RANGE}&stream=a*b`, "stream"],
        [`/series?${RANGE}&format=xml`, "format"],
        [`/series?${RANGE}&exact=yes`, "exact"],
        [`/series?${RANGE}&until=now`, "until"],
        ["/series?from=2015-05-22&to=2015-05-17", "from"],
        ["/series?from=2013-01-01&to=2015-01-01", "from"],
        [`/streams?${RANGE}&limit=0`, "limit"],
        [`/streams?${RANGE}&limit=10001`, "limit"],
        [`/streams?${RANGE}&order=size`, "order"],
        [`/streams?${RANGE}&depth=0`, "depth"],
        [`/streams?${RANGE}&stream=a*b`, "stream"],
        [`/streams?${RANGE}&order=uniques`, "order"],
      ];
      test.each(REFUSED)("%s", async (target, field) => {
        const { status, body } = await get(target);
        const { error } = JSON.parse(body);
        expect([status, error.code, error.field]).toEqual([422, "invalid_parameter", field]);
        expect(error.expected.length).toBeGreaterThan(0);
      });

      test("other methods", async () => {
        for (const path of ["/series", "/streams"]) {
          const { status, headers } = await ask(service.port, { method: "POST", target: `${path}?${RANGE}` });
          expect([status, headers.get("allow")]).toEqual([405, "GET"]);
        }
      });
    });

    test("answers from the cold store alone are the same", async () => {
      await drained();
      const before = await series(`${RANGE}&stream=shop.*`);
      await service.kill("SIGTERM");
      await site.servers?.redis.forgetAll();
      await service.start();
      expect(await series(`${RANGE}&stream=shop.*`)).toEqual(before);
      await expectSeries(`${RANGE}&step=day&stream=shop.*`, branch("shop."));
    });

    if (name === "redis+mysql") {
      test("with Redis down it says that unflushed events may be missing", async () => {
        const { redis } = site.servers!;
        await drained();
        redis.pause();
        try {
          const answer = await get(`/series?${RANGE}&step=total&stream=news`);
          expect(answer.headers.get("hourglass-degraded")).toBe("hot-store-away");
          expect(answer.headers.get("cache-control")).toBe("no-store");
          expectSums(JSON.parse(answer.body).total, of("news"));
        } finally {
          redis.resume();
        }
        await waitFor("Redis to be back", async () => {
          const { headers } = await get(`/series?${RANGE}&step=total&stream=news`);
          return headers.get("hourglass-degraded") === undefined;
        });
        await waitFor("events to be taken", async () => {
          const target = `/analytics?timestamp=${Date.now()}&user=u&click&stream=hot`;
          return (await ask(service.port, { method: "POST", target })).status === 204;
        });
      });

      test("with MySQL away: 503 where it is needed, an answer where it is not", async () => {
        const { mariaDb } = site.servers!;
        // Over a connection that is there already: one that has to be made is given up sooner.
        await series(`${RANGE}&step=total&stream=news`);
        const at = Date.now();
        await postEvent(service.port, { at, user: "u", kind: "click", stream: "hot-alone" });
        mariaDb.pause();
        try {
          const past = await get(`/series?${RANGE}&step=total&stream=news`);
          expect([past.status, JSON.parse(past.body).error.code]).toEqual([503, "cold_store_away"]);
          expect(past.headers.get("retry-after")).toBeDefined();
          const present = await get(`/series?from=${hourOf(at)}&stream=hot-alone&step=total`);
          expect([present.status, JSON.parse(present.body).total.clicks]).toEqual([200, 1]);
        } finally {
          mariaDb.resume();
        }
        await waitFor("MySQL to be back", async () => {
          return (await get(`/series?${RANGE}&step=total&stream=news`)).status === 200;
        });
      });
    }
  });
}

test("new streams beyond MAX_STREAMS are refused; existing ones continue", async () => {
  const service = await startService({ settings: { MAX_STREAMS: "2", FLUSH_INTERVAL_MS: "50" } });
  const post = (stream: string) => {
    const target = `/analytics?timestamp=${Date.now()}&user=u&click&stream=${stream}`;
    return ask(service.port, { method: "POST", target });
  };
  const statuses = async (...names: string[]) => {
    const answers: number[] = [];
    for (const name of names) answers.push((await post(name)).status);
    return answers;
  };
  try {
    expect(await statuses("a", "b", "a", "c", "b", "d")).toEqual([204, 204, 204, 422, 204, 422]);
    const { error } = JSON.parse((await post("c")).body);
    expect(error).toMatchObject({ code: "too_many_streams", field: "stream", got: "c" });
    await service.restart();
    expect(await statuses("c", "b", "a")).toEqual([422, 204, 204]);
    const { body } = await ask(service.port, { method: "GET", target: "/streams?order=name" });
    expect(JSON.parse(body).streams.map(({ stream }: StreamRow) => stream)).toEqual(["a", "b"]);
  } finally {
    await service.stop();
  }
});
