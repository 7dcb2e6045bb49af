/**
 * Limits of keys and addresses, over a real socket: requests beyond them are refused with the time to retry, and count
 * only as refused. The limits hold across instances.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createClient } from "redis";
import type { Scope } from "../../src/domain/api-key.ts";
import { Access } from "../../src/http/access/access.ts";
import { limitHeaders } from "../../src/http/access/denials.ts";
import { KeyRing } from "../../src/http/access/key-ring.ts";
import { RateLimiter } from "../../src/http/access/rate-limiter.ts";
import { ClientAddresses } from "../../src/http/requests/client-address.ts";
import type { ColdStore } from "../../src/store/cold.ts";
import { Clock, RecordedLog } from "../harness/pipeline/pipeline-harness.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Answer, ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const AT = Date.UTC(2026, 0, 31, 12, 30);

async function newKey(site: Site, service: Service, ...args: readonly string[]): Promise<string> {
  const settings = site.commandSettings(service);
  const create = ["keys", "create", "--name", "test", "--scope", "write,read", "--json"];
  const { output, errors } = await runCommand(settings, ...create, ...args);
  expect(errors).toBe("");
  const { key } = JSON.parse(output) as { key: string };
  await waitFor("the service to know the key", () => isKnown(service, key));
  return key;
}

/** Asked for a scope that it does not have, which costs nothing of its limit. */
async function isKnown(service: Service, key: string): Promise<boolean> {
  return (await send(service, "GET", "/ledger", key)).status === 403;
}

function send(
  { port }: Service,
  method: string,
  target: string,
  key?: string,
  headers: readonly string[] = [],
  body?: string,
): Promise<Answer> {
  const head = key === undefined ? headers : [`Authorization: Bearer ${key}`, ...headers];
  return ask(port, { method, target, headers: head, ...(body !== undefined && { body }) });
}

const postTarget = (stream: string) => `/analytics?timestamp=${AT}&user=ann&click&stream=${stream}`;

function sendEvents(service: Service, key: string, count: number, stream: string): Promise<Answer> {
  const body = `{"timestamp":${AT},"user":"ann","event":"click","stream":"${stream}"}\n`.repeat(count);
  const headers = ["Content-Type: application/x-ndjson", `Content-Length: ${body.length}`];
  return send(service, "POST", "/events", key, headers, body);
}

async function clicksOf(service: Service, stream: string, key: string): Promise<number> {
  const { status, body } = await send(service, "GET", `/analytics?timestamp=${AT}&stream=${stream}`, key);
  expect(status).toBe(200);
  return Number(/^clicks,(\d+)$/m.exec(body)![1]);
}

/** Sends `count` concurrent requests; returns how many got each status. */
async function statusesOf(count: number, sending: (i: number) => Promise<Answer>): Promise<Map<number, number>> {
  const answers = await Promise.all(Array.from({ length: count }, (_, i) => sending(i)));
  return new Map(
    Array.from(
      Map.groupBy(answers, ({ status }) => status),
      ([status, some]) => [status, some.length],
    ),
  );
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`limits, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    let reader: string;
    let admin: string;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ REQUIRE_KEYS: "write,read,admin" });
      reader = await newKey(site, service);
      const create = ["keys", "create", "--name", "admin", "--scope", "admin", "--json"];
      const { output } = await runCommand(site.commandSettings(service), ...create);
      admin = (JSON.parse(output) as { key: string }).key;
      await waitFor("the key", async () => (await send(service, "GET", "/ledger", admin)).status === 200);
    });
    afterAll(() => site.close());

    /** The refusals that the ledger counts. */
    const rateLimited = async () => {
      const samples = await scrape(service.port, [`Authorization: Bearer ${admin}`]);
      return samples.get('hourglass_events_refused_total{reason="rate_limited"}')!;
    };
    test("a key may send up to its limit, and learns when to retry", async () => {
      const key = await newKey(site, service, "--limit", "5/h");
      const before = await rateLimited();
      const statuses = await statusesOf(20, () => send(service, "POST", postTarget("limited"), key));
      expect(statuses).toEqual(
        new Map([
          [204, 5],
          [429, 15],
        ]),
      );
      expect(await clicksOf(service, "limited", reader)).toBe(5);
      expect((await rateLimited()) - before).toBe(15);
      const { status, headers, body } = await send(service, "GET", `/analytics?timestamp=${AT}`, key);
      expect([status, JSON.parse(body).error.code]).toEqual([429, "rate_limited"]);
      const retryS = Number(headers.get("retry-after"));
      // One comes back every 720 s, all of them in an hour.
      expect(retryS).toBeGreaterThan(600);
      expect(retryS).toBeLessThanOrEqual(720);
      expect(headers.get("ratelimit-policy")).toBe('"key";q=5;w=3600');
      expect(headers.get("ratelimit")).toMatch(/^"key";r=0;t=3[56]\d\d$/);
      expect([headers.get("ratelimit-limit"), headers.get("ratelimit-remaining")]).toEqual(["5", "0"]);
      expect(headers.get("ratelimit-reset")).toMatch(/^3[56]\d\d$/);
      // Others are not held up by it.
      expect((await send(service, "POST", postTarget("others"), reader)).status).toBe(204);
    });

    test("every answer that uses a limit says what is left of it", async () => {
      const key = await newKey(site, service, "--limit", "100/h");
      const told = ({ headers }: Answer) => [
        headers.get("ratelimit-policy"),
        headers.get("ratelimit")?.replace(/t=\d+/, "t=…"),
        headers.get("ratelimit-limit"),
        headers.get("ratelimit-remaining"),
      ];
      const left = (count: number) => ['"key";q=100;w=3600', `"key";r=${count};t=…`, "100", String(count)];
      expect(told(await send(service, "POST", postTarget("told"), key))).toEqual(left(99));
      expect(told(await sendEvents(service, key, 60, "told"))).toEqual(left(39));
      expect(told(await send(service, "GET", `/analytics?timestamp=${AT}&stream=told`, key))).toEqual(left(38));
      // It was let in, and was wrong.
      expect(told(await send(service, "GET", "/analytics", key))).toEqual(left(37));
      // Nothing was taken for it, or nothing is limited.
      for (const answer of [
        await send(service, "GET", "/ledger", key),
        await send(service, "GET", "/livez", key),
        await send(service, "GET", `/analytics?timestamp=${AT}`, reader),
      ])
        expect(told(answer)).toEqual([undefined, undefined, undefined, undefined]);
    });

    test("it comes back", async () => {
      const key = await newKey(site, service, "--limit", "2/s");
      const post = () => send(service, "POST", postTarget("back"), key);
      await waitFor("a refusal", async () => (await statusesOf(5, post)).has(429));
      const startedMs = performance.now();
      await waitFor("one more to be let in", async () => (await post()).status === 204);
      expect(performance.now() - startedMs).toBeLessThan(15_000);
    });

    test("a batch costs its number of events, including invalid ones", async () => {
      const key = await newKey(site, service, "--limit", "100/h");
      const before = await rateLimited();
      expect((await sendEvents(service, key, 60, "batch")).status).toBe(200);
      // It is let in whole, as something is left.
      expect((await sendEvents(service, key, 60, "batch")).status).toBe(200);
      const { status, body } = await sendEvents(service, key, 10, "batch");
      expect([status, JSON.parse(body).error.code]).toEqual([429, "rate_limited"]);
      expect((await send(service, "POST", postTarget("batch"), key)).status).toBe(429);
      expect(await clicksOf(service, "batch", reader)).toBe(120);
      expect((await rateLimited()) - before).toBe(2);
    });

    test("of concurrent batches, one may exceed the limit", async () => {
      const key = await newKey(site, service, "--limit", "100/h");
      const before = await rateLimited();
      const statuses = await statusesOf(10, () => sendEvents(service, key, 80, "crowd"));
      const letIn = statuses.get(200)!;
      expect(letIn).toBeLessThanOrEqual(2);
      expect(statuses.get(429)).toBe(10 - letIn);
      expect(await clicksOf(service, "crowd", reader)).toBe(80 * letIn);
      // Those that were read before they were refused count as what was in them.
      expect((await rateLimited()) - before).toBeGreaterThanOrEqual(10 - letIn);
    });

    test("a request refused for its scope or stream costs nothing of a shared limit", async () => {
      const key = await newKey(site, service, "--limit", "3/h", "--stream", "paid");
      for (let i = 0; i < 10; i++) expect((await send(service, "GET", "/metrics", key)).status).toBe(403);
      const statuses = await statusesOf(5, () => send(service, "POST", postTarget("paid"), key));
      expect(statuses).toEqual(
        new Map([
          [204, 3],
          [429, 2],
        ]),
      );
    });

    if (name === "embedded") return;

    test("instances share the limit of a key", async () => {
      const second = await site.start({ REQUIRE_KEYS: "write,read,admin" });
      const key = await newKey(site, service, "--limit", "40/h");
      await waitFor("the other to know the key", () => isKnown(second, key));
      const first = await statusesOf(60, () => send(service, "POST", postTarget("both"), key));
      expect(first.get(204)).toBe(40);
      // The other one learns of that with the first that it lets in.
      let letIn = 0;
      await waitFor("the other to refuse", async () => {
        const { status } = await send(second, "POST", postTarget("both"), key);
        if (status === 204) letIn += 1;
        return status === 429;
      });
      expect(letIn).toBeGreaterThan(0);
      expect(letIn).toBeLessThan(40);
      const statuses = await statusesOf(100, (i) => send(i % 2 ? service : second, "POST", postTarget("both"), key));
      expect(statuses).toEqual(new Map([[429, 100]]));
      expect(await clicksOf(service, "both", reader)).toBe(40 + letIn);
    });

    test("with Redis down reads still work, limited by each instance separately", async () => {
      const { redis } = site.servers!;
      const key = await newKey(site, service, "--limit", "4/h");
      redis.pause();
      try {
        const statuses: number[] = [];
        for (let i = 0; i < 6; i++) {
          statuses.push((await send(service, "GET", `/analytics?timestamp=${AT}&stream=away`, key)).status);
        }
        expect(statuses).toEqual([200, 200, 200, 200, 429, 429]);
      } finally {
        redis.resume();
      }
      await waitFor("it to be ready", async () => (await send(service, "GET", "/readyz")).status === 200);
    });
  });

  describeWithServers(`limits of addresses, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({
        ADDRESS_LIMIT: "5/h",
        TRUST_PROXY: "1",
        REDIRECT_ORIGINS: "https://shop.example",
      });
    });
    afterAll(() => site.close());

    const from = (address: string, target: string, method = "GET") =>
      send(service, method, target, undefined, [`X-Forwarded-For: ${address}`]);

    test("an address has one limit for all events and reads, and does not hold up others", async () => {
      const day = "from=2026-01-31&to=2026-02-01";
      const targets = [`/analytics?timestamp=${AT}`, `/streams?${day}`, `/series?${day}`, `/analytics?timestamp=${AT}`];
      for (const target of targets) expect((await from("203.0.113.9", target)).status).toBe(200);
      expect((await from("203.0.113.9", postTarget("a"), "POST")).status).toBe(204);
      for (const [method, target] of [
        ["POST", postTarget("a")],
        ["GET", `/series?${day}`],
        ["GET", "/pixel.gif?user=ann"],
        ["POST", "/beacon?user=ann&click"],
      ] as const) {
        const { status, headers } = await from("203.0.113.9", target, method);
        expect([target, status, headers.get("ratelimit-policy")]).toEqual([target, 429, '"address";q=5;w=3600']);
      }
      expect((await from("203.0.113.10", postTarget("a"), "POST")).status).toBe(204);
      // What a client says of itself means nothing: the proxy's word comes last.
      expect((await from("198.51.100.1, 203.0.113.9", targets[0]!)).status).toBe(429);
      for (const target of ["/livez", "/readyz", "/docs", "/hourglass.js", "/ledger", "/metrics"]) {
        expect([target, (await from("203.0.113.9", target)).status]).toEqual([target, 200]);
      }
    });

    test("a redirect beyond the limit still leads to its target, and is not counted", async () => {
      const target = "/r?to=https://shop.example/&user=ann";
      const clicks: (string | undefined)[] = [];
      for (let i = 0; i < 7; i++) {
        const { status, headers } = await from("203.0.113.20", target);
        expect(status).toBe(302);
        clicks.push(headers.get("hourglass-not-counted"));
      }
      expect(clicks).toEqual([...Array(5).fill(undefined), "rate_limited", "rate_limited"]);
    });

    test("IPv6 addresses are limited by network", async () => {
      const target = `/analytics?timestamp=${AT}`;
      for (const host of ["1", "2", "3:4", "ffff:0:1", "5"]) {
        expect((await from(`2001:db8:1:2::${host}`, target)).status).toBe(200);
      }
      expect((await from("2001:db8:1:2:ffff:ffff:ffff:ffff", target)).status).toBe(429);
      expect((await from("2001:db8:1:3::1", target)).status).toBe(200);
    });

    if (name === "embedded") return;

    test("no address is stored, and nothing derived from it outlives its limit", async () => {
      const redis = createClient({ url: site.servers!.redis.url });
      await redis.connect();
      try {
        const names = await waitFor("limits to be there", async () => {
          const found = await redis.keys("hg:{0}:limit:*");
          return found.length >= 3 && found;
        });
        for (const found of names) {
          expect(found).toMatch(/^hg:\{0\}:limit:[0-9a-f]{40}$/);
          expect(await redis.pTTL(found)).toBeGreaterThan(0);
        }
        expect(await redis.pTTL("hg:{0}:limit-salt")).toBeGreaterThan(0);
      } finally {
        redis.destroy();
      }
    });
  });
}

describe("batches that are read at the same time", () => {
  test("are refused once one of them was too much", () => {
    const clock = new Clock();
    const limiter = new RateLimiter({
      kind: "a",
      store: undefined,
      log: new RecordedLog(),
      nowMs: clock.now,
    });
    const access = new Access({
      store: undefined,
      ...{ requiredScopes: new Set<Scope>(), keyLimits: limiter, addressLimits: limiter },
      addresses: new ClientAddresses(0, new RecordedLog()),
      keys: new KeyRing({ cold: {} as ColdStore, store: undefined, log: new RecordedLog(), clock }),
      addressLimit: { count: 100, windowMs: 1_000 },
    });
    const peers = { requestIP: () => ({ address: "203.0.113.9" }) };
    const requests = Array.from({ length: 4 }, () => new Request("http://localhost/events", { method: "POST" }));
    for (const request of requests) expect(access.refusalOf(request, "/events", peers)).toBeUndefined();
    // 4 for the requests, 79 more for each batch: with the second it is over.
    const refusals = requests.map((request) => access.refusalOfBatch(request, 80)?.reason);
    expect(refusals).toEqual([undefined, undefined, "rate_limited", "rate_limited"]);
    const later = new Request("http://localhost/events", { method: "POST" });
    expect(access.refusalOf(later, "/events", peers)?.answer.status).toBe(429);
    clock.advance(640);
    expect(access.refusalOf(later, "/events", peers)).toBeUndefined();
    expect(access.refusalOfBatch(later, 1)).toBeUndefined();
  });
});

describe("the headers of limits", () => {
  test("list both key and address; older clients get the one with less left", () => {
    const state = (remaining: number) => ({ remaining, retryMs: 0, fullMs: 1_500 });
    const told = limitHeaders([
      { by: "address", bucket: { limit: { count: 50, windowMs: 1_000 } }, state: state(40) },
      { by: "key", bucket: { limit: { count: 10, windowMs: 60_000 } }, state: state(3) },
    ]);
    expect(told).toEqual({
      "ratelimit-policy": '"address";q=50;w=1, "key";q=10;w=60',
      ratelimit: '"address";r=40;t=2, "key";r=3;t=2',
      "ratelimit-limit": "10",
      "ratelimit-remaining": "3",
      "ratelimit-reset": "2",
    });
  });
});
