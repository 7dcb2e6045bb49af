/** GET /live: viewers see what is counted, one reading serves all, and they leave nothing behind. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { LiveFeeds, type Reading, type Spectator } from "../../src/http/live/feeds.ts";
import { API_DOCUMENT } from "../../src/http/openapi/document.ts";
import { withDeadline } from "../../src/runtime/clock.ts";
import { ApiDescription } from "../harness/project/api-description.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent } from "../harness/service/analytics-client.ts";
import { EventStream } from "../harness/service/event-stream.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { roomInHour, waitFor } from "../harness/service/wait-for.ts";

const VIEWERS = 200;
/** Enough to measure the share of a core. */
const MEASURED_EVENTS = 5;
const END_MAX_MS = 5_000;
/** An event is told within two seconds, and here by a machine that is busy. */
const TOLD_MAX_MS = 20_000;

interface Message {
  readonly stream: string;
  readonly hour: {
    readonly clicks: number;
    readonly impressions: number;
    readonly unique_users: number;
  } | null;
  readonly hot_store: { readonly name: string; readonly status: string; readonly since?: string };
  readonly cold_store: { readonly name: string; readonly status: string };
  readonly ledger: {
    readonly instance: { readonly accepted: number };
    readonly stores: { readonly writers?: readonly object[]; readonly unavailable?: string } | null;
  };
}

interface Readiness {
  readonly flusher: { readonly error?: string };
}

const described = new ApiDescription(JSON.parse(JSON.stringify(API_DOCUMENT)));
const isDescribed = described.validator("components", "schemas", "Live");

for (const { name, needs, open } of MODES) {
  describeWithServers(`GET /live, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ TRUST_PROXY: "1" });
    });
    beforeEach(roomInHour);
    afterAll(() => site.close());

    const watch = (stream: string, address?: string) =>
      EventStream.open(`${service.url}/live?stream=${stream}`, address ? { "x-forwarded-for": address } : {});

    const metric = async (metricName: string) => (await scrape(service.port)).get(metricName)!;

    async function messageWith(viewer: EventStream, isAwaited: (message: Message) => boolean): Promise<Message> {
      for (;;) {
        const message = await viewer.next<Message>();
        if (message === undefined) throw new Error("it has ended");
        isDescribed(message);
        expect(isDescribed.errors ?? []).toEqual([]);
        if (isAwaited(message)) return message;
      }
    }

    test("shows an event soon after its 204, in its stream and in its branch", async () => {
      const viewers = await Promise.all(["shop.spring", "shop.*", "*", "other"].map((stream) => watch(stream)));
      const [stream, branch, all, other] = viewers as [EventStream, EventStream, EventStream, EventStream];
      for (const viewer of viewers) expect((await messageWith(viewer, () => true)).hour?.clicks).toBe(0);
      for (const user of ["ann", "bob"])
        await postEvent(service.port, { at: Date.now(), user, kind: "click", stream: "shop.spring" });
      await postEvent(service.port, {
        at: Date.now(),
        user: "ann",
        kind: "impression",
        stream: "shop.autumn",
      });
      const startedMs = performance.now();
      const of = (viewer: EventStream, clicks: number, impressions: number) =>
        messageWith(viewer, ({ hour }) => hour?.clicks === clicks && hour.impressions === impressions);
      const seen = await Promise.all([of(stream, 2, 0), of(branch, 2, 1), of(all, 2, 1)]);
      expect(performance.now() - startedMs).toBeLessThan(TOLD_MAX_MS);
      expect(seen.map(({ hour }) => hour?.unique_users)).toEqual([2, 2, 2]);
      expect((await messageWith(other, () => true)).hour?.clicks).toBe(0);
      const complete = await messageWith(all, ({ ledger }) => ledger.stores?.writers?.length === 1);
      expect(complete).toMatchObject({ hot_store: { status: "ok" }, cold_store: { status: "ok" } });
      await Promise.all(viewers.map((viewer) => viewer.close()));
    });

    test("reads once a second, however many watch, and not at all when nobody does", async () => {
      const measured = () =>
        Promise.all([metric("hourglass_live_reads_total"), metric("process_cpu_seconds_total"), performance.now()]);
      const viewers = await Promise.all(Array.from({ length: VIEWERS }, () => watch("shop.spring")));
      const drained = viewers.map((viewer) => viewer.drain());
      expect(await metric("hourglass_live_viewers")).toBe(VIEWERS);
      const before = await measured();
      const counts = viewers.map(({ count }) => count);
      await waitFor("all to see some", () => viewers.every(({ count }, i) => count >= counts[i]! + MEASURED_EVENTS));
      const after = await measured();
      const seconds = (performance.now() - before[2]) / 1_000;
      expect(after[0] - before[0]).toBeLessThanOrEqual(seconds + 1);
      const cpu = ((after[1] - before[1]) / seconds) * 100;
      console.log(`GET /live, ${name}: ${VIEWERS} viewers, ${cpu.toFixed(1)} % of a core in all`);
      await Promise.all(viewers.map((viewer) => viewer.close()));
      await Promise.all(drained);
      await waitFor("all to be gone", async () => (await metric("hourglass_live_viewers")) === 0);
      const readings = await metric("hourglass_live_reads_total");
      const goneMs = performance.now();
      const another = await watch("another");
      await another.next();
      await another.next();
      const more = (await metric("hourglass_live_reads_total")) - readings;
      expect(more).toBeLessThanOrEqual((performance.now() - goneMs) / 1_000 + 1);
      await another.close();
    });

    test("serves a bounded number of streams, and others once those are no longer watched", async () => {
      const viewers: EventStream[] = [];
      const expectRefusal = async (address: string, status: number, code: string) => {
        const answer = await fetch(`${service.url}/live?stream=one.more`, {
          headers: { "x-forwarded-for": address },
        });
        expect([answer.status, answer.headers.get("retry-after")]).toEqual([status, "5"]);
        expect(await answer.json()).toMatchObject({ error: { code } });
      };
      for (let i = 0; i < 4; i++) {
        for (let n = 0; n < 25; n++) viewers.push(await watch(`stream-${viewers.length}`, `203.0.113.${i}`));
        // A client that has its share leaves the rest to others.
        await expectRefusal(`203.0.113.${i}`, 429, "too_many_feeds");
      }
      await expectRefusal("203.0.113.9", 503, "overloaded");
      const shared = await watch("stream-0");
      expect(await shared.next<Message>()).toMatchObject({ stream: "stream-0" });
      await Promise.all([shared, ...viewers].map((viewer) => viewer.close()));
      const again = await waitFor("room", () => watch("one.more"));
      expect(await again.next<Message>()).toMatchObject({ stream: "one.more" });
      await again.close();
    });

    test("is not compressed, buffered or cached on the way", async () => {
      const answer = await fetch(`${service.url}/live`, { headers: { "accept-encoding": "gzip" } });
      const { headers } = answer;
      expect(headers.get("content-encoding")).toBeNull();
      expect(headers.get("cache-control")).toContain("no-transform");
      expect(headers.get("x-accel-buffering")).toBe("no");
      await answer.body!.cancel();
    });

    if (name === "redis+mysql") {
      test("reports when a store goes down, and when it is back", async () => {
        const { redis, mariaDb } = site.servers!;
        const viewer = await watch("counted");
        await postEvent(service.port, { at: Date.now(), user: "ann", kind: "click", stream: "counted" });
        await messageWith(viewer, ({ hour }) => hour?.clicks === 1);
        await mariaDb.kill();
        await messageWith(viewer, ({ cold_store }) => cold_store.status === "away");
        const { hour } = await messageWith(viewer, ({ ledger }) => ledger.stores?.unavailable === "cold_store_away");
        expect(hour?.clicks).toBe(1);
        await mariaDb.start();
        await messageWith(viewer, ({ cold_store }) => cold_store.status === "ok");
        await redis.kill();
        await messageWith(viewer, ({ hot_store }) => hot_store.status === "away");
        await redis.start();
        const back = await messageWith(viewer, ({ hot_store }) => hot_store.status === "ok");
        expect(back).toMatchObject({ hot_store: { name: "Redis" }, cold_store: { name: "MySQL" } });
        await viewer.close();
      });

      test("says that Redis alone is away when a flush fails because of Redis", async () => {
        const { redis } = site.servers!;
        const slow = await site.start({ FLUSH_INTERVAL_MS: "3000" });
        const viewer = await EventStream.open(`${slow.url}/live?stream=shop.spring`);
        await messageWith(viewer, ({ hour }) => hour !== null);
        await postEvent(slow.port, { at: Date.now(), user: "zoe", kind: "click", stream: "shop.spring" });
        // The event can be flushed to MySQL, but its journal cannot be trimmed.
        await redis.kill();
        const failing = async () => {
          const readiness = (await (await fetch(`${slow.url}/readyz`)).json()) as Readiness;
          return readiness.flusher.error?.startsWith("Redis could not do 'trim'");
        };
        await waitFor("the flush to fail", failing);
        const seen: Message[] = [];
        const away = () => seen.filter(({ hot_store }) => hot_store.status === "away");
        await messageWith(viewer, (message) => seen.push(message) > 0 && away().length === 2);
        for (const { hot_store } of away()) {
          expect(hot_store).toEqual({ name: "Redis", status: "away", since: expect.stringMatching(/^20.*Z$/) });
        }
        for (const { cold_store } of seen) expect(cold_store).toEqual({ name: "MySQL", status: "ok" });
        await redis.start();
        await messageWith(viewer, ({ hot_store }) => hot_store.status === "ok");
        await viewer.close();
        await slow.stop();
      });
    }

    test("ends at SIGTERM, at once and in order", async () => {
      const viewers = await Promise.all(Array.from({ length: 50 }, () => watch("shop.spring")));
      await Promise.all(viewers.map((viewer) => viewer.next()));
      const ended = Promise.all(viewers.map((viewer) => viewer.drain()));
      const startedMs = performance.now();
      await service.kill("SIGTERM");
      await withDeadline(ended, END_MAX_MS, () => new Error("a connection is still open"));
      expect(performance.now() - startedMs).toBeLessThan(END_MAX_MS);
      expect({ exitCode: service.exitCode, log: service.log() }).toMatchObject({ exitCode: 0 });
    });
  });
}

describe("a feed", () => {
  const FAST = { intervalMs: 1, silenceMaxMs: 60_000 };
  const never: Spectator = {
    ...{ signal: new AbortController().signal, seesAll: true, client: undefined },
    isLetIn: () => true,
  };
  const watched = (feeds: LiveFeeds, stream: string, spectator: Spectator) => {
    const body = feeds.watch(stream, spectator);
    if (typeof body === "string") throw new Error(body);
    return body;
  };
  const reading = (ofStream: object, ofAll: object = {}) => ({ ofStream, ofAll });

  test("queues nothing for a viewer that does not read, and disconnects it in the end", async () => {
    const feeds = new LiveFeeds(async () => reading({ text: "x".repeat(1_000) }), FAST);
    const unread = watched(feeds, "a", never);
    await waitFor("it to be cut off", () => feeds.viewerCount === 0);
    expect(feeds.readCount).toBeLessThan(50);
    const parts = await Array.fromAsync(unread);
    expect(parts.length).toBe(2);
  });

  test("is not kept alive by a connection that nobody reads from", async () => {
    const feeds = new LiveFeeds(async () => reading({ text: "x".repeat(100_000) }), FAST);
    await using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: ({ signal }) => new Response(watched(feeds, "a", { ...never, signal })),
    });
    const socket = connect({ port: server.port!, host: "127.0.0.1" });
    socket.pause();
    socket.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await waitFor("it to be watched", () => feeds.viewerCount === 1);
    await waitFor("it to be cut off", () => feeds.viewerCount === 0);
    // What the system itself holds for a connection, and no more: some megabytes.
    expect(feeds.readCount).toBeLessThan(200);
    socket.destroy();
  });

  test("shows a new viewer no old message, but the next one", async () => {
    const second = Promise.withResolvers<Reading>();
    let count = 0;
    const feeds = new LiveFeeds(() => {
      count += 1;
      return count === 1 ? Promise.resolve(reading({ count })) : second.promise;
    }, FAST);
    watched(feeds, "a", never);
    await waitFor("the second reading", () => feeds.readCount === 2);
    const oldAtMs = performance.now() + 10 * FAST.intervalMs;
    await waitFor("the first message to be old", () => performance.now() > oldAtMs);
    const late = watched(feeds, "a", never).getReader();
    const text = async () => new TextDecoder().decode((await late.read()).value);
    expect(await text()).toStartWith("retry:");
    second.resolve(reading({ count: 2 }));
    expect(await text()).toBe('data: {"count":2}\n\n');
    feeds.end();
  });

  test("reads on at once after readings that failed slowly", async () => {
    const slowMs = 300;
    const feeds = new LiveFeeds(async () => {
      const endMs = performance.now() + slowMs;
      if (feeds.readCount <= 3) await waitFor("the end of a slow reading", () => performance.now() > endMs);
      return { ...reading({}), hasFailed: feeds.readCount <= 3 };
    }, FAST);
    watched(feeds, "a", never);
    await waitFor("the slow readings", () => feeds.readCount > 3);
    const startMs = performance.now();
    await waitFor("the next ones", () => feeds.readCount > 6);
    expect(performance.now() - startMs).toBeLessThan(10 * slowMs);
    feeds.end();
  });

  test("keeps connections alive during a slow read, and starts no second one", async () => {
    const slow = Promise.withResolvers<Reading>();
    const feeds = new LiveFeeds(() => slow.promise, { intervalMs: 1, silenceMaxMs: 5 });
    const reader = watched(feeds, "a", never).getReader();
    const text = async () => new TextDecoder().decode((await reader.read()).value);
    expect(await text()).toStartWith("retry:");
    for (let i = 0; i < 3; i++) expect(await text()).toStartWith(":");
    expect(feeds.readCount).toBe(1);
    slow.resolve(reading({ a: 1 }));
    await waitFor("the reading", async () => (await text()) === 'data: {"a":1}\n\n');
    await reader.cancel();
    expect(feeds.viewerCount).toBe(0);
  });

  test("sends no further message to a viewer that is no longer admitted, and continues for others", async () => {
    let isLetIn = true;
    let count = 0;
    const feeds = new LiveFeeds(async () => {
      count += 1;
      return reading({ count }, { secret: true });
    }, FAST);
    const limited = watched(feeds, "a", { ...never, seesAll: false, isLetIn: () => isLetIn });
    const texts: string[] = [];
    const watching = (async () => {
      for await (const part of limited) texts.push(`${count} ${isLetIn} ${new TextDecoder().decode(part)}`);
    })();
    const other = watched(feeds, "a", never).getReader();
    await waitFor("some messages", () => texts.length > 5);
    isLetIn = false;
    await watching;
    expect(feeds.viewerCount).toBe(1);
    expect(texts.filter((text) => text.includes("secret") || text.includes("false"))).toEqual([]);
    for (let i = 0; i < 3; i++) expect((await other.read()).done).toBe(false);
    await other.cancel();
  });

  test("is busy for a twentieth of the time at most, once it is known to take long", async () => {
    const startsMs: number[] = [];
    const feeds = new LiveFeeds(async () => {
      const startMs = performance.now();
      startsMs.push(startMs);
      while (performance.now() - startMs < 5);
      return reading({});
    }, FAST);
    const ending = new AbortController();
    const body = watched(feeds, "a", { ...never, signal: ending.signal });
    const all = Array.fromAsync(body);
    await waitFor("some readings", () => startsMs.length > 6);
    // From the start of the third on, three readings of 5 ms.
    expect((3 * 5) / (startsMs[5]! - startsMs[2]!)).toBeLessThan(0.07);
    ending.abort();
    await all;
  });

  test("leaves room for others: a client has its share of streams and of connections, and gets it back", async () => {
    const feeds = new LiveFeeds(async () => reading({}), FAST);
    const ofClient = (client: string, ending = new AbortController()) => ({
      ...{ ...never, client, signal: ending.signal },
    });
    const ending = new AbortController();
    for (let i = 0; i < 25; i++) watched(feeds, `s${i}`, ofClient("a", ending));
    expect(feeds.watch("another", ofClient("a"))).toBe("share used");
    for (let i = 25; i < 250; i++) watched(feeds, "s0", ofClient("a", ending));
    expect(feeds.watch("s0", ofClient("a"))).toBe("share used");
    for (const client of ["b", "c", "d"]) {
      for (let i = 0; i < 25; i++) watched(feeds, `${client}${i}`, ofClient(client, ending));
    }
    expect(feeds.watch("another", ofClient("e"))).toBe("full");
    watched(feeds, "s0", ofClient("e", ending));
    ending.abort();
    expect(feeds.viewerCount).toBe(0);
    for (let i = 0; i < 25; i++) watched(feeds, `t${i}`, ofClient("a"));
    feeds.end();
    expect(feeds.viewerCount).toBe(0);
  });
});
