/**
 * The routes for browsers, over a real socket, in both modes: what pixel, beacon and redirect count, what they refuse
 * or omit without counting it, and that a redirect leads nowhere else.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { signatureOf } from "../../src/http/ingest/redirect-targets.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { type Counts, readHour } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { type Answer, ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

/** An hour that nothing else is counted in: 2020-01-10T10:00:00Z. */
const OLD = 1_578_650_400_000;
const SECRET = "the redirect secret";
const PAGE = "https://shop.example/spring?a=1&b=%20#top";
const ORIGIN = "https://ads.example:8443";
const SETTINGS = { FLUSH_INTERVAL_MS: "20", REDIRECT_SECRET: SECRET, REDIRECT_ORIGINS: ORIGIN };

function get({ port }: Service, target: string, ...headers: string[]): Promise<Answer> {
  return ask(port, { method: "GET", target, headers });
}

function post({ port }: Service, target: string, ...headers: string[]): Promise<Answer> {
  return ask(port, { method: "POST", target, headers });
}

function redirectTarget(to: string, more: Readonly<Record<string, string>> = {}): string {
  return `/r?${new URLSearchParams({ to, ...more })}`;
}

function signedTarget(to: string, stream: string, more: Readonly<Record<string, string>> = {}): string {
  return redirectTarget(to, { stream, sig: signatureOf(SECRET, to, stream), ...more });
}

/** Events counted at the server's time: the hour may have turned since the test began. */
async function countsSince(at: number, { port }: Service, stream: string): Promise<Counts> {
  const hours = Array.from({ length: (hourOf(Date.now()) - hourOf(at)) / HOUR_MS + 1 }, (_, i) => {
    return readHour(port, at + i * HOUR_MS, stream);
  });
  return (await Promise.all(hours)).reduce((a, b) => ({
    uniqueUsers: Math.max(a.uniqueUsers, b.uniqueUsers),
    clicks: a.clicks + b.clicks,
    impressions: a.impressions + b.impressions,
  }));
}

async function ledgerOf(service: Service) {
  return JSON.parse((await get(service, "/ledger")).body).instance;
}

interface Refused {
  readonly target: string;
  readonly method?: "GET" | "POST";
  readonly status: number;
  readonly code: string;
  readonly field?: string;
}

const INVALID = { status: 422, code: "invalid_parameter" };
const MALFORMED = { status: 400, code: "malformed_query" };
const NOT_ALLOWED = { status: 403, code: "target_not_allowed" };

/** All of them name the stream `no`, where they name one: nothing may be counted there. */
const REFUSED: Readonly<Record<string, Refused>> = {
  "a pixel at no time": { target: "/pixel.gif?stream=no&timestamp=NaN", ...INVALID, field: "timestamp" },
  "a pixel of tomorrow's tomorrow": {
    target: `/pixel.gif?stream=no&timestamp=${Date.now() + 50 * HOUR_MS}`,
    ...INVALID,
    field: "timestamp",
  },
  "a pixel in a bad stream": { target: "/pixel.gif?stream=n%20o", ...INVALID, field: "stream" },
  "a pixel of an empty user": { target: "/pixel.gif?stream=no&user=", ...INVALID, field: "user" },
  "a pixel of a long user": {
    target: `/pixel.gif?stream=no&user=${"u".repeat(256)}`,
    ...INVALID,
    field: "user",
  },
  "a pixel that is a click": { target: "/pixel.gif?stream=no&click", ...INVALID, field: "event" },
  "a pixel with an unknown parameter": { target: "/pixel.gif?stream=no&usr=a", ...INVALID, field: "usr" },
  "a pixel with two users": { target: "/pixel.gif?stream=no&user=a&user=b", ...MALFORMED, field: "user" },
  "a pixel that is badly encoded": { target: "/pixel.gif?stream=no&user=%ff", ...MALFORMED, field: "user" },
  "a beacon of no kind": { target: "/beacon?stream=no", method: "POST", ...INVALID, field: "event" },
  "a beacon of two kinds": {
    target: "/beacon?stream=no&click&impression",
    method: "POST",
    ...INVALID,
    field: "event",
  },
  "a redirect to nowhere": { target: "/r?stream=no", ...INVALID, field: "to" },
  "a redirect to a path": { target: redirectTarget("/spring", { stream: "no" }), ...INVALID, field: "to" },
  "a redirect to a program": { target: signedTarget("javascript:alert(1)", "no"), ...INVALID, field: "to" },
  "a redirect to data": { target: signedTarget("data:text/html,hi", "no"), ...INVALID, field: "to" },
  "a redirect to two pages": { target: `${signedTarget(PAGE, "no")}&to=x`, ...MALFORMED, field: "to" },
  "a redirect to two pages of an allowed origin": {
    target: `${redirectTarget(`${ORIGIN}/a`, { stream: "no" })}&t%6F=${encodeURIComponent(`${ORIGIN}/b`)}`,
    ...MALFORMED,
    field: "to",
  },
  "a redirect to a badly encoded page": { target: `/r?stream=no&to=${ORIGIN}/%ff`, ...MALFORMED, field: "to" },
  "a redirect to a badly encoded page and another": {
    target: `/r?stream=no&to=%ff&to=${ORIGIN}/`,
    ...MALFORMED,
    field: "to",
  },
  "a redirect signed for one of two streams": {
    target: `${signedTarget(PAGE, "no")}&stream=yes`,
    ...MALFORMED,
    field: "stream",
  },
  "a redirect with two signatures": { target: `${signedTarget(PAGE, "no")}&sig=x`, ...MALFORMED, field: "sig" },
  "a redirect that is not signed": { target: redirectTarget(PAGE, { stream: "no" }), ...NOT_ALLOWED },
  "a redirect signed for another page": {
    target: redirectTarget(`${PAGE}!`, { stream: "no", sig: signatureOf(SECRET, PAGE, "no") }),
    ...NOT_ALLOWED,
  },
  "a redirect signed for another stream": {
    target: redirectTarget(PAGE, { stream: "no", sig: signatureOf(SECRET, PAGE, "yes") }),
    ...NOT_ALLOWED,
  },
  "a redirect signed with another secret": {
    target: redirectTarget(PAGE, { stream: "no", sig: signatureOf(`${SECRET}!`, PAGE, "no") }),
    ...NOT_ALLOWED,
  },
  "a redirect whose stream holds a part of the signed page": {
    target: redirectTarget("https://evil.example/", {
      stream: "no https://good.example/?",
      sig: signatureOf(SECRET, "https://good.example/? https://evil.example/", "no"),
    }),
    ...INVALID,
    field: "stream",
  },
  "a redirect with half a signature": {
    target: redirectTarget(PAGE, { stream: "no", sig: signatureOf(SECRET, PAGE, "no").slice(0, 20) }),
    ...NOT_ALLOWED,
  },
  "a redirect to another port of an allowed host": {
    target: redirectTarget("https://ads.example/", { stream: "no" }),
    ...NOT_ALLOWED,
  },
  "a redirect to an allowed host in the clear": {
    target: redirectTarget("http://ads.example:8443/", { stream: "no" }),
    ...NOT_ALLOWED,
  },
  "a redirect with an allowed host as its user": {
    target: redirectTarget("https://ads.example:8443@evil.example/", { stream: "no" }),
    ...NOT_ALLOWED,
  },
  "a redirect with an allowed host as part of another": {
    target: redirectTarget("https://ads.example:8443.evil.example/", { stream: "no" }),
    ...INVALID,
    field: "to",
  },
  "a redirect with a backslash": {
    target: redirectTarget("https:\\\\evil.example\\@ads.example:8443/", { stream: "no" }),
    ...NOT_ALLOWED,
  },
};

for (const { name, needs, open } of MODES) {
  describeWithServers(`for browsers, ${name}`, needs, () => {
    const startedAt = Date.now();
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start(SETTINGS);
    });
    afterAll(() => site.close());

    const countsOf = (stream: string) => countsSince(startedAt, service, stream);
    const eventsOf = async (stream: string, count: number) =>
      await waitFor(`${count} rows of ${stream}`, async () => {
        const events = await site.cold.events(stream);
        return events.length === count && events;
      });

    test("a pixel counts an impression at the current time, and is a 43-byte GIF that is not cached", async () => {
      const answer = await fetch(`${service.url}/pixel.gif?stream=pixel&user=ann`);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("content-type")).toBe("image/gif");
      expect(answer.headers.get("cache-control")).toBe("no-store");
      expect(answer.headers.get("hourglass-not-counted")).toBeNull();
      const bytes = await answer.bytes();
      expect(bytes.length).toBe(43);
      expect(Buffer.from(bytes).toString("latin1")).toStartWith("GIF89a\x01\0\x01\0");
      expect(await countsOf("pixel")).toEqual({ uniqueUsers: 1, clicks: 0, impressions: 1 });
    });

    test("timestamp, user and id work as in POST /analytics", async () => {
      const query = `timestamp=${OLD}&user=ann&stream=old&id=once`;
      for (const target of [`/pixel.gif?${query}`, `/pixel.gif?${query}&impression`]) {
        expect((await get(service, target)).status).toBe(200);
      }
      expect((await post(service, `/beacon?${query}&event=impression`)).status).toBe(204);
      expect(
        (await get(service, redirectTarget(`${ORIGIN}/`, Object.fromEntries(new URLSearchParams(query))))).status,
      ).toBe(302);
      expect(await readHour(service.port, OLD, "old")).toEqual({ uniqueUsers: 1, clicks: 0, impressions: 1 });
      expect(await eventsOf("old", 1)).toEqual([
        { stream: "old", hour: OLD, at: OLD, kind: "impression", user: "ann", id: "once" },
      ]);
    });

    test("a beacon counts the event in its query, whatever its body", async () => {
      for (const kind of ["click", "event=click", "impression", "event=impression"]) {
        const { status, body } = await post(service, `/beacon?stream=beacon&user=ann&${kind}`);
        expect({ status, body }).toEqual({ status: 204, body: "" });
      }
      const request = { method: "POST", target: "/beacon?stream=beacon&user=bob&click", body: "hello" };
      const headers = ["Content-Type: text/plain;charset=UTF-8", "Content-Length: 5"];
      expect((await ask(service.port, { ...request, headers })).status).toBe(204);
      expect(await countsOf("beacon")).toEqual({ uniqueUsers: 2, clicks: 3, impressions: 2 });
    });

    test("a redirect that is signed, or of an allowed origin, leads there and counts a click", async () => {
      const allowed = `${ORIGIN}/x?y=1`;
      const links = [
        [signedTarget(PAGE, "r", { user: "ann" }), PAGE],
        [redirectTarget(allowed, { stream: "r", user: "bob" }), allowed],
        // Who passes a link on appends to it.
        [signedTarget(PAGE, "r", { user: "ann", fbclid: "x", utm_source: "y" }), PAGE],
      ] as const;
      for (const [target, location] of links) {
        const { status, headers } = await get(service, target);
        expect({ status, location: headers.get("location") }).toEqual({ status: 302, location });
        expect(headers.get("cache-control")).toBe("no-store");
        expect(headers.get("hourglass-not-counted")).toBeUndefined();
      }
      expect(await countsOf("r")).toEqual({ uniqueUsers: 2, clicks: 3, impressions: 0 });
    });

    test("a link by `sign-redirect` leads to its page", async () => {
      const settings = { REDIRECT_SECRET: SECRET };
      const options = ["--stream", "signed.link", "--base", service.url];
      const { exitCode, output } = await runCommand(settings, "sign-redirect", PAGE, ...options);
      expect(exitCode).toBe(0);
      const answer = await fetch(output.trim(), { redirect: "manual" });
      expect([answer.status, answer.headers.get("location")]).toEqual([302, PAGE]);
      expect(await countsOf("signed.link")).toMatchObject({ clicks: 1 });
    });

    test("`sign-redirect` refuses a base that would break the link", async () => {
      const settings = { REDIRECT_SECRET: SECRET };
      for (const base of ["/sub?x=1", "/#top", "/?", "/sub#"].map((rest) => `https://count.example${rest}`)) {
        const result = await runCommand(settings, "sign-redirect", PAGE, "--base", base);
        expect(result).toMatchObject({ exitCode: 2, output: "" });
        expect(result.errors).toContain("without a query or fragment");
      }
      for (const base of ["https://count.example/sub", "https://count.example/sub/"]) {
        const { output } = await runCommand(settings, "sign-redirect", PAGE, "--base", base);
        expect(output).toStartWith("https://count.example/sub/r?to=");
      }
    });

    test("a redirect leads on whatever its link has, and counts if known parameters are readable", async () => {
      const { accepted, refused } = await ledgerOf(service);
      const page = `${ORIGIN}/x`;
      const links = [redirectTarget(page, { stream: "appended" }), signedTarget(PAGE, "appended")];
      const appended = ["utm=a&utm=b", "a[]=1&a[]=2", "utm_campaign=%E9t%E9", "x=%", "%zz=1", "user=%C3%A9&%", "&=&=&"];
      const unreadable = ["user=%FF", "user=a&user=b", "id=a&id=b", "timestamp=%", "timestamp=1&timestamp=1"];
      const follow = async (target: string, location: string, notCounted: string | undefined) => {
        const { status, headers } = await get(service, target);
        const got = [status, headers.get("location"), headers.get("hourglass-not-counted")];
        expect({ target, got }).toEqual({ target, got: [302, location, notCounted] });
      };
      for (const [i, link] of links.entries()) {
        const location = [page, PAGE][i]!;
        for (const more of appended) await follow(`${link}&${more}`, location, undefined);
        for (const more of unreadable) await follow(`${link}&${more}`, location, "invalid");
      }
      // Where an origin allows the target, no signature depends on these.
      for (const more of ["stream=b*", "stream=%ff", "stream=a&stream=b"]) {
        await follow(`${redirectTarget(page)}&${more}`, page, "invalid");
      }
      await follow(`${links[0]}&sig=a&sig=%ff`, page, undefined);
      const after = await ledgerOf(service);
      expect(after.accepted - accepted).toBe(2 * appended.length + 1);
      expect(after.refused.invalid - refused.invalid).toBe(2 * unreadable.length + 3);
    });

    test("an invalid click is not counted, and the redirect still leads to its target", async () => {
      const { refused } = await ledgerOf(service);
      const { status, headers } = await get(service, signedTarget(PAGE, "no-user", { user: "" }));
      expect([status, headers.get("location")]).toEqual([302, PAGE]);
      expect(headers.get("hourglass-not-counted")).toBe("invalid");
      expect(await countsOf("no-user")).toEqual({ uniqueUsers: 0, clicks: 0, impressions: 0 });
      expect((await ledgerOf(service)).refused.invalid).toBe(refused.invalid + 1);
    });

    for (const [what, { target, method = "GET", status, code, field }] of Object.entries(REFUSED)) {
      test(`refused: ${what}`, async () => {
        const before = await ledgerOf(service);
        const answer = await ask(service.port, { method, target });
        const { error } = JSON.parse(answer.body);
        expect({ status: answer.status, code: error.code, field: error.field }).toEqual({
          status,
          code,
          field,
        });
        expect(answer.headers.get("location")).toBeUndefined();
        const after = await ledgerOf(service);
        expect(after.refused.invalid).toBe(before.refused.invalid + 1);
        expect(after.accepted).toBe(before.accepted);
        expect(await countsOf("no")).toEqual({ uniqueUsers: 0, clicks: 0, impressions: 0 });
      });
    }

    test("a beacon takes an Idempotency-Key as its id", async () => {
      const target = "/beacon?stream=beacon.key&user=ann&click";
      for (const more of ["", "", "&id=once"]) {
        expect((await post(service, target + more, "Idempotency-Key: once")).status).toBe(204);
      }
      for (const [more, key] of [
        ["&id=once", "twice"],
        ["", '""'],
      ] as const) {
        const answer = await post(service, target + more, `Idempotency-Key: ${key}`);
        expect([answer.status, JSON.parse(answer.body).error.field]).toEqual([422, "idempotency-key"]);
      }
      expect(await countsOf("beacon.key")).toEqual({ uniqueUsers: 1, clicks: 1, impressions: 0 });
    });

    test("a beacon with a large body is refused", async () => {
      const { accepted } = await ledgerOf(service);
      const body = "x".repeat(65_537);
      const request = { method: "POST", target: "/beacon?stream=no&click", body };
      const answer = await ask(service.port, { ...request, headers: [`Content-Length: ${body.length}`] });
      expect([answer.status, JSON.parse(answer.body).error.code]).toEqual([413, "body_too_large"]);
      expect((await ledgerOf(service)).accepted).toBe(accepted);
    });

    test("a GET with a body in chunks is refused, whole or broken: Bun answers what is broken by itself", async () => {
      const { accepted } = await ledgerOf(service);
      const headers = ["Transfer-Encoding: chunked"];
      for (const target of ["/pixel.gif?stream=no", signedTarget(PAGE, "no")]) {
        const whole = { method: "GET", target, headers, body: "5\r\nhello\r\n0\r\n\r\n" };
        expect(JSON.parse((await ask(service.port, whole)).body).error.code).toBe("unreadable_body");
        expect((await ask(service.port, { ...whole, body: "zz\r\nhello" })).status).toBe(400);
        expect(
          (await ask(service.port, { ...whole, headers: ["Content-Length: 5"], body: "hello" })).status,
        ).toBeLessThan(303);
      }
      await get(service, "/pixel.gif?stream=last");
      expect((await ledgerOf(service)).accepted).toBe(accepted + 3);
    });

    test("other methods are refused; HEAD and OPTIONS count nothing", async () => {
      const { accepted } = await ledgerOf(service);
      const redirect = signedTarget(PAGE, "head");
      const asked = async (method: string, target: string) => (await ask(service.port, { method, target })).status;
      expect(await asked("HEAD", "/pixel.gif?stream=head")).toBe(200);
      expect(await asked("HEAD", redirect)).toBe(302);
      expect(await asked("HEAD", "/beacon?stream=head&click")).toBe(405);
      for (const target of ["/pixel.gif?stream=head", redirect]) {
        for (const method of ["POST", "PUT", "OPTIONS"]) expect(await asked(method, target)).toBe(405);
      }
      for (const method of ["GET", "PUT", "OPTIONS"]) {
        expect(await asked(method, "/beacon?stream=head&click")).toBe(405);
      }
      expect((await ledgerOf(service)).accepted).toBe(accepted);
    });

    test("visitors without an id are distinguished by address and user agent, not by what they claim", async () => {
      const requests = [["User-Agent: a"], ["User-Agent: a"], ["User-Agent: b"]];
      for (const headers of requests) {
        await get(service, "/pixel.gif?stream=visitors", ...headers);
        await get(service, signedTarget(PAGE, "visitors"), ...headers, "X-Forwarded-For: 203.0.113.77");
        await post(service, "/beacon?stream=visitors&click", ...headers, "X-Forwarded-For: 203.0.113.78");
      }
      expect(await countsOf("visitors")).toEqual({ uniqueUsers: 2, clicks: 6, impressions: 3 });
      const users = (await eventsOf("visitors", 9)).map(({ user }) => user);
      expect(new Set(users).size).toBe(2);
      for (const user of users) expect(user).toMatch(/^anon-[\w-]{22}$/);
    });

    test("requests are in the metrics, by route and status", async () => {
      const before = await scrape(service.port);
      await get(service, "/pixel.gif?stream=metrics");
      await get(service, "/pixel.gif?stream=metrics&usr=a");
      await post(service, "/beacon?stream=metrics&click");
      await get(service, signedTarget(PAGE, "metrics"));
      const after = await scrape(service.port);
      const grown = (method: string, route: string, status: number) => {
        const sample = `hourglass_http_requests_total{method="${method}",route="${route}",status="${status}"}`;
        return (after.get(sample) ?? 0) - (before.get(sample) ?? 0);
      };
      expect([grown("GET", "/pixel.gif", 200), grown("GET", "/pixel.gif", 422)]).toEqual([1, 1]);
      expect([grown("POST", "/beacon", 204), grown("GET", "/r", 302)]).toEqual([1, 1]);
    });

    if (name === "embedded") return;

    test("with Redis frozen: the sent event's outcome is unknown, others are refused, redirects lead on", async () => {
      const { redis } = site.servers!;
      const { refused, unknown } = await ledgerOf(service);
      redis.pause();
      try {
        const sent = get(service, "/pixel.gif?stream=away");
        await waitFor("it to be not ready", async () => (await get(service, "/readyz")).status === 503);
        const beacon = await post(service, "/beacon?stream=away&click");
        expect([beacon.status, beacon.headers.get("retry-after")]).toEqual([503, "1"]);
        expect(JSON.parse(beacon.body).error.code).toBe("hot_store_away");
        const { status, headers } = await get(service, signedTarget(PAGE, "away"));
        expect([status, headers.get("location")]).toEqual([302, PAGE]);
        expect(headers.get("hourglass-not-counted")).toBe("hot_store_away");
        const pixel = await sent;
        expect([pixel.status, JSON.parse(pixel.body).error.code]).toEqual([504, "outcome_unknown"]);
      } finally {
        redis.resume();
      }
      await waitFor("it to take events again", async () => (await get(service, "/readyz")).status === 200);
      await get(service, "/pixel.gif?stream=away&user=ann");
      const { clicks, impressions } = await countsOf("away");
      // The pixel of unknown outcome counts once, or not at all.
      expect([clicks, [1, 2].includes(impressions)]).toEqual([0, true]);
      const after = await ledgerOf(service);
      expect(after.refused.hot_store_away).toBe(refused.hot_store_away + 2);
      expect(after.unknown.total).toBe(unknown.total + 1);
    });

    test("instances with the same USER_SALT, and workers, know a visitor by one name", async () => {
      const alike = { USER_SALT: "the same for all of them" };
      const services = await Promise.all([site.start(alike), site.start(alike), site.start({ WORKERS: "2" })]);
      const [first, second, workers] = services as [Service, Service, Service];
      for (const instance of [first, second]) await get(instance, "/pixel.gif?stream=salt");
      expect(await countsOf("salt")).toEqual({ uniqueUsers: 1, clicks: 0, impressions: 2 });
      const writers = new Set<string>();
      await waitFor("both workers to answer", async () => {
        writers.add(JSON.parse((await get(workers, "/readyz")).body).writer);
        return writers.size === 2;
      });
      // Each connection is dealt to one or the other.
      for (let i = 0; i < 40; i++) await get(workers, "/pixel.gif?stream=workers");
      expect(await countsOf("workers")).toEqual({ uniqueUsers: 1, clicks: 0, impressions: 40 });
      await get(service, "/pixel.gif?stream=salt");
      expect(await countsOf("salt")).toEqual({ uniqueUsers: 2, clicks: 0, impressions: 3 });
    });
  });
}

describe("settings for browsers", () => {
  const startedAt = Date.now();
  const BOT = "User-Agent: Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
  const OMITTED = [
    ["DNT: 1", "do_not_track"],
    ["Sec-GPC: 1", "do_not_track"],
    [BOT, "bot"],
  ] as const;
  const ADDRESS = "203.0.113.77";
  let service: Service;

  beforeAll(async () => {
    service = await startService({
      settings: {
        ...SETTINGS,
        RESPECT_DNT: "1",
        BOT_FILTER: "1",
        TRUST_PROXY: "1",
        CORS_ORIGINS: "https://page.example, http://localhost:3000",
        LOG_LEVEL: "debug",
      },
    });
  });
  afterAll(() => service.stop());

  const countsOf = (stream: string) => countsSince(startedAt, service, stream);

  test("visitors with Do Not Track, and bots, get the usual answers and are not counted", async () => {
    for (const [header, reason] of OMITTED) {
      const { omitted, accepted } = await ledgerOf(service);
      const answers = [
        await get(service, "/pixel.gif?stream=omitted&user=ann", header),
        await post(service, "/beacon?stream=omitted&click", header),
        await get(service, signedTarget(PAGE, "omitted"), header),
      ];
      expect(answers.map(({ status }) => status)).toEqual([200, 204, 302]);
      expect(answers.map(({ headers }) => headers.get("hourglass-not-counted"))).toEqual(Array(3).fill(reason));
      const after = await ledgerOf(service);
      expect(after.omitted).toEqual({ ...omitted, [reason]: omitted[reason] + 3 });
      expect(after.accepted).toBe(accepted);
    }
    expect(await countsOf("omitted")).toEqual({ uniqueUsers: 0, clicks: 0, impressions: 0 });
    const samples = await scrape(service.port);
    expect(samples.get('hourglass_events_omitted_total{reason="do_not_track"}')).toBe(6);
    expect(samples.get('hourglass_events_omitted_total{reason="bot"}')).toBe(3);
  });

  test("other visitors are counted, and so are events of POST /analytics", async () => {
    for (const header of ["DNT: 0", "Sec-GPC: 0", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"]) {
      const { headers } = await get(service, "/pixel.gif?stream=others&user=ann", header);
      expect(headers.get("hourglass-not-counted")).toBeUndefined();
    }
    for (const [header] of OMITTED) {
      await post(service, `/analytics?timestamp=${Date.now()}&stream=others&user=ann&impression`, header);
    }
    expect(await countsOf("others")).toMatchObject({ impressions: 6 });
  });

  test("off, everybody is counted", async () => {
    const plain = await startService();
    try {
      for (const [header] of OMITTED) {
        const { headers } = await get(plain, "/pixel.gif?stream=all", header);
        expect(headers.get("hourglass-not-counted")).toBeUndefined();
      }
      expect(await countsSince(startedAt, plain, "all")).toMatchObject({ impressions: 3 });
    } finally {
      await plain.stop();
    }
  });

  test("new streams beyond MAX_STREAMS are refused", async () => {
    const bounded = await startService({ settings: { ...SETTINGS, MAX_STREAMS: "1" } });
    try {
      expect((await get(bounded, "/pixel.gif?stream=one")).status).toBe(200);
      const refused = await get(bounded, "/pixel.gif?stream=two");
      expect([refused.status, JSON.parse(refused.body).error.code]).toEqual([422, "too_many_streams"]);
      expect((await post(bounded, "/beacon?stream=two&click")).status).toBe(422);
      const { status, headers } = await get(bounded, signedTarget(PAGE, "two"));
      expect([status, headers.get("hourglass-not-counted")]).toEqual([302, "invalid"]);
      expect((await ledgerOf(bounded)).accepted).toBe(1);
    } finally {
      await bounded.stop();
    }
  });

  test("behind a proxy, the address that it saw counts; neither it nor the user agent is kept anywhere", async () => {
    const agent = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; Unmistakable) Gecko/20100101 Firefox/140.0";
    const forwarded = (entries: string) => `X-Forwarded-For: ${entries}`;
    for (const entries of [ADDRESS, `198.51.100.9, ${ADDRESS}`, "203.0.113.78"]) {
      await get(service, "/pixel.gif?stream=proxy", agent, forwarded(entries));
      await post(service, "/beacon?stream=proxy&bad", agent, forwarded(entries));
    }
    expect(await countsOf("proxy")).toEqual({ uniqueUsers: 2, clicks: 0, impressions: 3 });
    await waitFor("them to be flushed", async () => (await ledgerOf(service)).pending === 0);
    const kept = [service.log(), ...filesBelow(dirname(service.dataDir))].join("\n");
    expect(kept).toContain("anon-");
    for (const secret of [ADDRESS, "203.0.113.78", "Unmistakable"]) expect(kept).not.toContain(secret);
  });

  test("CORS: pages of these origins may read answers, and preflights say so", async () => {
    for (const origin of ["https://page.example", "http://localhost:3000"]) {
      const preflight = await ask(service.port, {
        method: "OPTIONS",
        target: "/analytics",
        headers: [`Origin: ${origin}`, "Access-Control-Request-Method: POST"],
      });
      expect(preflight.status).toBe(204);
      expect(Object.fromEntries(preflight.headers)).toMatchObject({
        "access-control-allow-origin": origin,
        "access-control-allow-methods": "GET, POST",
        "access-control-max-age": "86400",
        vary: "Origin",
      });
      const target = `/analytics?timestamp=${Date.now()}&user=ann&click&stream=cors`;
      const targets = [target, "/beacon?click&stream=cors", "/beacon?bad"];
      for (const answer of await Promise.all(targets.map((path) => post(service, path, `Origin: ${origin}`)))) {
        expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
        expect(answer.headers.get("vary")).toBe("Origin");
      }
      // Its headers are made once, for all answers.
      const read = await get(service, `/analytics?timestamp=${Date.now()}`, `Origin: ${origin}`);
      expect(read.headers.get("access-control-allow-origin")).toBe(origin);
      expect(read.headers.get("vary")).toBe("Origin");
    }
    expect(await countsOf("cors")).toMatchObject({ clicks: 4 });
  });

  test("CORS: pages of other origins are not allowed, and other routes allow no origin", async () => {
    const origin = "Origin: https://evil.example";
    const others = [
      await post(service, "/beacon?click&stream=cors-2", origin),
      await ask(service.port, { method: "OPTIONS", target: "/beacon", headers: [origin] }),
      await get(service, "/ledger", "Origin: https://page.example"),
    ];
    expect(others.map(({ status }) => status)).toEqual([204, 204, 200]);
    for (const { headers } of others) expect(headers.get("access-control-allow-origin")).toBeUndefined();
    expect(others[0]!.headers.get("vary")).toBe("Origin");
  });

  test("CORS: for any origin, and for none", async () => {
    for (const [settings, expected] of [
      [{ CORS_ORIGINS: "*" }, ["*", 204]],
      [{}, [undefined, 405]],
    ] as const) {
      const other = await startService({ settings });
      try {
        const headers = ["Origin: https://page.example"];
        const answer = await post(other, "/beacon?click", ...headers);
        expect(answer.status).toBe(204);
        expect(answer.headers.get("access-control-allow-origin")).toBe(expected[0]);
        const preflight = await ask(other.port, { method: "OPTIONS", target: "/beacon", headers });
        expect(preflight.status).toBe(expected[1]);
      } finally {
        await other.stop();
      }
    }
  });
});

test("signatures never change, because signed links are in mails and on pages", () => {
  const signature = signatureOf("the redirect secret", "https://shop.example/spring", "ads");
  expect(signature).toBe("9NKZj_smCyL6ZotZkmx0IgDIGq8nIPadn_6b7Sp2sto");
});

describe("GET /hourglass.js", () => {
  let service: Service;
  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.stop());

  test("is under 2 KB, compressed if the client accepts that, and 304 if the client has it", async () => {
    const headers = { "accept-encoding": "gzip" };
    const whole = await fetch(`${service.url}/hourglass.js`, { headers, decompress: false });
    expect(whole.headers.get("content-encoding")).toBe("gzip");
    expect(whole.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(whole.headers.get("cache-control")).toContain("max-age=86400");
    const bytes = Buffer.from(await whole.arrayBuffer());
    expect(bytes.length).toBeLessThan(2_000);
    const source = readFileSync(join(import.meta.dir, "../../src/http/ingest/hourglass.js"), "utf8");
    expect(new TextDecoder().decode(Bun.gunzipSync(bytes))).toBe(source);
    const plain = await get(service, "/hourglass.js");
    expect(plain.body).toBe(source);
    const etag = plain.headers.get("etag");
    const again = await get(service, "/hourglass.js", `If-None-Match: ${etag}`);
    expect([again.status, again.body]).toEqual([304, ""]);
    expect((await get(service, "/hourglass.js", 'If-None-Match: W/"other"')).status).toBe(200);
  });
});

function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));
}
