/**
 * The API over a real socket, in both modes: what it refuses without counting it, all accepted spellings, and that the
 * fast query reader accepts exactly what the schema describes.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { DAY_MS, HOUR_MS } from "../../src/domain/event.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { eventTarget, hourTarget, postEvent, readHour } from "../harness/service/analytics-client.ts";
import { type Answer, ask, bytesOf, openConnection, type Request } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import type { StoredEvent } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SETUP_TIMEOUT_MS = 120_000;
/** Bun gives a client 12 s for the head of its request. */
const SLOW_CLIENT_TIMEOUT_MS = 180_000;
const AT = Date.now();
/** An hour that nothing else is posted to: 2020-01-10T10:00:00Z. */
const OLD_HOUR = 1_578_650_400_000;

interface Refused {
  readonly request: Request;
  readonly status: number;
  /** Left out where Bun itself answers, before the service is asked: then there is no body. */
  readonly code?: string;
  readonly field?: string;
  readonly allow?: string;
}

const INVALID = { status: 422, code: "invalid_parameter" };
const MALFORMED = { status: 400, code: "malformed_query" };
const NOT_FOUND = { status: 404, code: "not_found" };
const INVALID_HOST = { status: 400, code: "invalid_host", field: "host" };
const NOT_ALLOWED = { status: 405, code: "method_not_allowed", allow: "GET, POST" };

function post(query: string | Buffer): Request {
  return { method: "POST", target: Buffer.concat([Buffer.from("/analytics"), Buffer.from(query)]) };
}

function get(query: string): Request {
  return { method: "GET", target: `/analytics${query}` };
}

/** A refused request, in which user and kind are valid. */
function withTimestamp(timestamp: string): Refused {
  return { request: post(`?${timestamp}&user=foo&click`), ...INVALID, field: "timestamp" };
}

function withUser(user: string, fault: { status: number; code: string } = INVALID): Refused {
  return { request: post(`?timestamp=${AT}&user=${user}&click`), ...fault, field: "user" };
}

function withKind(kind: string, field = "event"): Refused {
  return { request: post(`?timestamp=${AT}&user=foo${kind}`), ...INVALID, field };
}

/** Appended to a query that is right. */
function withMore(more: string, field: string, fault: { status: number; code: string } = INVALID): Refused {
  return { request: post(`?timestamp=${AT}&user=foo&click&${more}`), ...fault, field };
}

function withMethod(method: string): Refused {
  return { request: { ...post(`?timestamp=${AT}&user=foo&click`), method }, ...NOT_ALLOWED };
}

function withBody(headers: string[], body: string, status: number): Refused {
  return { request: { ...post(`?timestamp=${AT}&user=foo&click`), headers, body }, status };
}

function withPath(target: string, host = "localhost"): Refused {
  return { request: { method: "GET", target, host }, ...NOT_FOUND };
}

function withHost(host: string, target = "/ledger"): Refused {
  return { request: { method: "GET", target, host }, ...INVALID_HOST };
}

function latin1(query: string): Buffer {
  return Buffer.from(query, "latin1");
}

const GOOD = `timestamp=${AT}&user=foo&click`;
const TOO_LARGE = "x".repeat(65_537);
const CHUNKED = ["Transfer-Encoding: chunked"];

const REFUSED: Readonly<Record<string, Refused>> = {
  "no query": { request: post(""), ...INVALID, field: "user" },
  "an empty query": { request: post("?"), ...INVALID, field: "user" },
  "a query of separators": { request: post("?&&&"), ...INVALID, field: "user" },

  "an empty timestamp": withTimestamp("timestamp="),
  "a timestamp without a value": withTimestamp("timestamp"),
  "the timestamp NaN": withTimestamp("timestamp=NaN"),
  "the timestamp Infinity": withTimestamp("timestamp=Infinity"),
  "a negative timestamp": withTimestamp("timestamp=-1"),
  "minus zero": withTimestamp("timestamp=-0"),
  "a fraction of a millisecond": withTimestamp(`timestamp=${AT}.5`),
  "a timestamp with an exponent": withTimestamp("timestamp=1e12"),
  "a timestamp with a leading zero": withTimestamp(`timestamp=0${AT}`),
  "a timestamp with a leading plus, which is a space": withTimestamp(`timestamp=+${AT}`),
  "a timestamp with an encoded plus": withTimestamp(`timestamp=%2B${AT}`),
  "a timestamp with a space behind it": withTimestamp(`timestamp=${AT}%20`),
  "a hexadecimal timestamp": withTimestamp("timestamp=0x16f8a4c1d2b"),
  "a timestamp in other digits": withTimestamp("timestamp=%D9%A1%D9%A2%D9%A3"),
  "a date": withTimestamp("timestamp=2026-01-31"),
  "a time without its offset": withTimestamp("timestamp=2026-01-31T12:00:00"),
  "a day that there is not": withTimestamp("timestamp=2026-02-30T12:00:00Z"),
  "seconds for milliseconds": withTimestamp(`timestamp=${Math.floor(AT / 1_000)}`),
  "the last millisecond of 2000": withTimestamp(`timestamp=${Date.UTC(2001, 0, 1) - 1}`),
  "a timestamp of 16 digits": withTimestamp(`timestamp=${"9".repeat(16)}`),
  "a timestamp far ahead": withTimestamp(`timestamp=${"9".repeat(15)}`),
  // By an hour: the clock goes on. To the millisecond it is tested below, with a clock that stands still.
  "a timestamp over a day ahead": withTimestamp(`timestamp=${AT + DAY_MS + HOUR_MS}`),
  "two timestamps": { ...withTimestamp(`timestamp=${AT}&timestamp=${AT + 1}`), ...MALFORMED },
  "the same timestamp twice": { ...withTimestamp(`timestamp=${AT}&timestamp=${AT}`), ...MALFORMED },

  "no user": { request: post(`?timestamp=${AT}&click`), ...INVALID, field: "user" },
  "an empty user": withUser(""),
  "a user of 256 bytes": withUser("u".repeat(256)),
  "a user of 256 bytes in 128 characters": withUser("%C3%A9".repeat(128)),
  "a user of 258 bytes in 86 characters": withUser("%E2%82%AC".repeat(86)),
  "a user of 256 bytes in 64 characters": withUser("%F0%9F%98%80".repeat(64)),
  "a user of 256 raw bytes": withUser("é".repeat(128)),
  "a user of 8,000 bytes": withUser("u".repeat(8_000)),
  "two users": withUser("foo&user=bar", MALFORMED),
  "two users, one name percent-encoded": withUser("foo&us%65r=bar", MALFORMED),
  "an empty user and another": withUser("&user=bar", MALFORMED),
  "a percent sign alone": withUser("100%", MALFORMED),
  "half a percent-encoding": withUser("%4", MALFORMED),
  "a percent-encoding that is not hexadecimal": withUser("%zz", MALFORMED),
  "percent-encoded bytes that are not UTF-8": withUser("fo%FFo", MALFORMED),
  "a percent-encoded character that is cut off": withUser("fo%C3", MALFORMED),
  "an overlong encoding of NUL": withUser("%C0%80", MALFORMED),
  "half a surrogate pair": withUser("%ED%A0%80", MALFORMED),
  "raw bytes that are not UTF-8": {
    request: post(latin1(`?timestamp=${AT}&user=fo\xFF\xFEo&click`)),
    ...MALFORMED,
    field: "user",
  },
  "a raw character that is cut off": {
    request: post(latin1(`?timestamp=${AT}&user=foo\xC3&click`)),
    ...MALFORMED,
    field: "user",
  },
  // Nothing tells it from the two above, once Bun has read the URL.
  "the sign that stands for what was not UTF-8": withUser("fo%EF%BF%BD", MALFORMED),

  "no kind": withKind(""),
  "both kinds": withKind("&click&impression"),
  "a kind in two spellings": withKind("&click&event=click"),
  "the other kind in two spellings": withKind("&impression&event=impression"),
  "two kinds in two spellings": withKind("&click&event=impression"),
  "a click with a value": withKind("&click=1", "click"),
  "an impression with a value": withKind("&impression=true", "impression"),
  "a click that is denied": withKind("&click=false&impression", "click"),
  "an unknown event": withKind("&event=view", "event"),
  "an empty event": withKind("&event=", "event"),
  "an event in capitals": withKind("&event=Click", "event"),
  "an event with a space": withKind("&event=click%20", "event"),
  "two clicks": { ...withKind("&click&click", "click"), ...MALFORMED },
  "two impressions": { ...withKind("&impression&impression=", "impression"), ...MALFORMED },
  "two events": { ...withKind("&event=click&event=impression", "event"), ...MALFORMED },

  "an empty stream": withMore("stream=", "stream"),
  "a stream of 65 characters": withMore(`stream=${"s".repeat(65)}`, "stream"),
  "a stream with a space": withMore("stream=a%20b", "stream"),
  "a stream with a plus, which is a space": withMore("stream=a+b", "stream"),
  "a stream with a slash": withMore("stream=a/b", "stream"),
  "a stream with a colon": withMore("stream=a:b", "stream"),
  "a stream with a line's end": withMore("stream=a%0A", "stream"),
  "a stream with NUL": withMore("stream=a%00", "stream"),
  "a stream with a letter that is not of ASCII": withMore("stream=caf%C3%A9", "stream"),
  "two streams": withMore("stream=a&stream=b", "stream", MALFORMED),

  "an empty id": withMore("id=", "id"),
  "an id of 256 bytes": withMore(`id=${"i".repeat(256)}`, "id"),
  "an id of 256 bytes in 128 characters": withMore(`id=${"%C3%A9".repeat(128)}`, "id"),
  "two ids": withMore("id=a&id=b", "id", MALFORMED),

  "an unknown parameter": withMore("foo=bar", "foo"),
  "a parameter in capitals": withMore("ID=1", "ID"),
  "a parameter without a name": withMore("=1", ""),
  "a parameter of every object": withMore("__proto__=1", "__proto__"),
  "another one of those": withMore("constructor", "constructor"),
  "a name that is badly encoded": withMore("%zz=1", "parameter name", MALFORMED),
  "a question mark twice": { request: post(`??${GOOD}`), ...INVALID, field: "?timestamp" },

  "GET without a query": { request: get(""), ...INVALID, field: "timestamp" },
  "GET with an empty timestamp": { request: get("?timestamp="), ...INVALID, field: "timestamp" },
  "GET with a negative timestamp": { request: get("?timestamp=-1"), ...INVALID, field: "timestamp" },
  "GET with a timestamp that is no number": {
    request: get("?timestamp=now"),
    ...INVALID,
    field: "timestamp",
  },
  "GET with a timestamp far ahead": {
    request: get(`?timestamp=${"9".repeat(15)}`),
    ...INVALID,
    field: "timestamp",
  },
  "GET with two timestamps": {
    request: get(`?timestamp=${AT}&timestamp=${AT}`),
    ...MALFORMED,
    field: "timestamp",
  },
  "GET of a bad stream": { request: get(`?timestamp=${AT}&stream=a%20b`), ...INVALID, field: "stream" },
  "GET with a user": { request: get(`?timestamp=${AT}&user=foo`), ...INVALID, field: "user" },
  "GET with all that POST takes": { request: get(`?${GOOD}`), ...INVALID, field: "user" },
  "GET with an unknown parameter": { request: get(`?timestamp=${AT}&hour=1`), ...INVALID, field: "hour" },
  "GET with a bad percent-encoding": {
    request: get(`?timestamp=${AT}&stream=%`),
    ...MALFORMED,
    field: "stream",
  },

  PUT: withMethod("PUT"),
  DELETE: withMethod("DELETE"),
  PATCH: withMethod("PATCH"),
  OPTIONS: withMethod("OPTIONS"),

  "POST to the root": {
    request: { method: "POST", target: `/?${GOOD}` },
    ...{ ...NOT_ALLOWED, allow: "GET" },
  },
  "POST to a path below": { request: { method: "POST", target: `/analytics/x?${GOOD}` }, ...NOT_FOUND },
  "POST with the path in capitals": {
    request: { method: "POST", target: `/Analytics?${GOOD}` },
    ...NOT_FOUND,
  },
  "POST to readyz": {
    request: { method: "POST", target: `/readyz?${GOOD}` },
    ...{ ...NOT_ALLOWED, allow: "GET" },
  },
  "GET of nothing": { request: { method: "GET", target: "/nothing" }, ...NOT_FOUND },

  "a path with a slash at its end": withPath("/ledger/"),
  "a path with two slashes": withPath("//ledger"),
  "a path in dots": withPath("/./ledger"),
  "a path by way of another": withPath("/public/../ledger"),
  "a path by way of another, encoded": withPath("/public/%2e%2E/ledger"),
  "a path by way of another, with backslashes": withPath("/public\\..\\ledger"),
  "an encoded path": withPath("/%6cedger"),
  "a path with parameters": withPath("/ledger;a=b"),
  "a path with a fragment": withPath("/ledger#a"),
  "a path below another, with a host of 1 character": withPath("/abc/ledger", "x"),
  "a path below another, with a host of 3 characters": withPath("/abc/ledger", "web"),
  "a path below another, with an address": withPath("/abc/ledger", "[::1]:7777"),
  "a path below another, with no host": {
    request: { ...get(""), target: "/abcdefghij/ledger", host: null },
    ...NOT_FOUND,
  },
  "PUT, with a host of 3 characters": {
    ...withMethod("PUT"),
    request: { ...withMethod("PUT").request, host: "web" },
  },

  "a host with a path": withHost("x/ledger"),
  "a host with a path, to a path below": withHost("a/b", "/abcdefghij/ledger"),
  "a host with a query": withHost("x?y"),
  "a host with a fragment": withHost("x#y"),
  "a host with a user": withHost("x@y"),
  "a host with a space": withHost("a b"),
  "a host with a scheme": withHost("http://x"),
  "a host with an encoded slash": withHost("a%2fb"),
  "a host with a port that is no number": withHost("a:b"),
  "a host with a port that is too large": withHost("127.0.0.1:99999"),
  "half an address": withHost("[::1"),
  "two hosts, the second with a path": {
    request: { method: "GET", target: "/ledger", headers: ["Host: x/y"] },
    ...INVALID_HOST,
  },
  "the same host twice": {
    request: { method: "GET", target: "/ledger", headers: ["Host: localhost"] },
    ...INVALID_HOST,
  },
  "a host and an empty one": { request: { method: "GET", target: "/ledger", headers: ["Host:"] }, ...INVALID_HOST },
  "an event to two hosts": { request: { ...post(`?${GOOD}`), headers: ["Host: x"] }, ...INVALID_HOST },
  "an event to a host with a path": {
    request: { ...post(`?${GOOD}`), host: "a/b" },
    ...INVALID_HOST,
  },

  // From here on Bun answers by itself, but for the last.
  "a body over 64 KB": { ...withBody(["Content-Length: 65537"], TOO_LARGE, 413), code: "body_too_large" },
  "a body over 64 KB that never comes": {
    ...withBody(["Content-Length: 1000000"], "", 413),
    code: "body_too_large",
  },
  "a body over 64 KB of unknown length": {
    ...withBody(CHUNKED, `10001\r\n${TOO_LARGE}\r\n0\r\n\r\n`, 413),
    code: "body_too_large",
  },
  "a body over 8 MB": { ...withBody(["Content-Length: 8388609"], "", 413), code: "body_too_large" },
  "a body in broken chunks": withBody(CHUNKED, "zz\r\nhello", 400),
  "two different lengths": withBody(["Content-Length: 5", "Content-Length: 6"], "hello", 400),
  "a length beside chunks": withBody([...CHUNKED, "Content-Length: 15"], "5\r\nhello\r\n0\r\n\r\n", 400),
  "a length with a sign": withBody(["Content-Length: +5"], "hello", 400),
  "a header name with a blank": { request: { ...post(`?${GOOD}`), headers: ["X-Name : x"] }, status: 400 },
  "a URL of 17 KB": { request: post(`?timestamp=${AT}&click&user=${"u".repeat(17_000)}`), status: 431 },
  "a URL of 100 KB": { request: post(`?timestamp=${AT}&click&user=${"u".repeat(100_000)}`), status: 431 },
  "a header of 20 KB": {
    request: { ...post(`?${GOOD}`), headers: [`X-Large: ${"x".repeat(20_000)}`] },
    status: 431,
  },
  "a raw space in the URL": { request: post(`?timestamp=${AT}&user=fo o&click`), status: 505 },
  "a raw NUL in the URL": { request: post(`?timestamp=${AT}&user=fo\0o&click`), status: 505 },
  "a URL of 15 KB": withUser("u".repeat(15_000)),
};

const KEY_255 = "k".repeat(255);
const KEYS: Readonly<Record<string, readonly [header: string, id: string | null]>> = {
  "a key without quotes": ["8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"],
  "a key in quotes": ['"8e03978e"', "8e03978e"],
  "a key with escapes": ['"a\\"b\\\\c d"', 'a"b\\c d'],
  "a key of 255 characters": [KEY_255, KEY_255],
  "an empty key": ["", null],
  "an empty key in quotes": ['""', null],
  "a key of 256 characters": [`${KEY_255}k`, null],
  "a key with a blank": ["a b", null],
  "a key that is not ASCII": ["caf\u00e9", null],
  "a key whose quotes do not close": ['"a', null],
  "a key with an escape of something else": ['"a\\b"', null],
};

interface ErrorBody {
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly field?: string;
    readonly got?: string | null;
    readonly expected?: string;
  };
}

function expectRefusal(answer: Answer, { status, code, field, allow }: Refused): void {
  const { body } = answer;
  expect({ status: answer.status, body: code === undefined ? body : "" }).toEqual({ status, body: "" });
  expect(answer.headers.get("allow")).toBe(allow);
  if (code === undefined) return;
  expect(answer.headers.get("content-type")).toStartWith("application/json");
  const { error } = JSON.parse(body) as ErrorBody;
  expect({ code: error.code, field: error.field }).toEqual({ code, field });
  expect(error.message).not.toBe("");
  const names = field === undefined ? ["code", "message"] : ["code", "expected", "field", "got", "message"];
  expect(Object.keys(error).sort()).toEqual(names);
  if (field === undefined) return;
  expect(error.expected).not.toBe("");
  expect(error.got === null || typeof error.got === "string").toBe(true);
}

interface Spelling {
  readonly query: string;
  readonly user?: string;
  readonly kind?: string;
  readonly stream?: string;
  readonly id?: string;
}

const USER_255 = "u".repeat(255);

/** Each is an event of user foo, a click in the default stream, but for what is said here. */
const TAKEN: Readonly<Record<string, Spelling>> = {
  click: { query: "user=foo&click" },
  "click=": { query: "user=foo&click=" },
  impression: { query: "user=foo&impression", kind: "impression" },
  "impression=": { query: "user=foo&impression=", kind: "impression" },
  "event=click": { query: "user=foo&event=click" },
  "event=impression": { query: "user=foo&event=impression", kind: "impression" },
  "the kind first": { query: "click&user=foo" },
  "empty pairs": { query: "&&user=foo&&click&" },
  "a percent-encoded kind": { query: "user=foo&event=%63lick" },
  "percent-encoded names": { query: "us%65r=foo&%63lick" },
  "a stream": { query: "user=foo&click&stream=site-1.a_B", stream: "site-1.a_B" },
  "a stream of 64": { query: `user=foo&click&stream=${"s".repeat(64)}`, stream: "s".repeat(64) },
  "the default stream by its name": { query: "user=foo&click&stream=default" },
  "an id": { query: "user=foo&click&id=01JCN8-17", id: "01JCN8-17" },
  "an id of 255 bytes": { query: `user=foo&click&id=${"i".repeat(255)}`, id: "i".repeat(255) },
  "an id with a colon and a space": { query: "user=foo&click&id=a:b+c", id: "a:b c" },
  "a user of one byte": { query: "user=0&click", user: "0" },
  "a user of 255 bytes": { query: `user=${USER_255}&click`, user: USER_255 },
  "a user of 255 bytes in 85": { query: `user=${"%E2%82%AC".repeat(85)}&click`, user: "€".repeat(85) },
  "a percent-encoded user": { query: "user=%66%6f%6F%2fbar%26%3D%25&click", user: "foo/bar&=%" },
  "a user with an equals sign": { query: "user=a=b&click", user: "a=b" },
  "a plus for a space": { query: "user=a+b&click", user: "a b" },
  "an encoded plus": { query: "user=a%2Bb&click", user: "a+b" },
  "only a space": { query: "user=%20&click", user: " " },
  "a space at the end": { query: "user=foo%20&click", user: "foo " },
  "other letters": { query: "user=%C3%A9%E4%B8%AD%F0%9F%98%80&click", user: "é中😀" },
  "other letters, raw": { query: "user=é中😀&click", user: "é中😀" },
  "NUL and a line's end": { query: "user=a%00%0A&click", user: "a\0\n" },
  quotes: { query: "user=%27;DROP%20TABLE%20events;--%22%5C&click", user: "';DROP TABLE events;--\"\\" },
  "what looks like a number": { query: "user=007&click", user: "007" },
  "what looks like nothing": { query: "user=undefined&click", user: "undefined" },
};

for (const { name, needs, open } of MODES) {
  describeWithServers(`HTTP, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ FLUSH_INTERVAL_MS: "20" });
      for (const user of ["a", "b"]) await postEvent(service.port, { at: AT, user, kind: "click" });
      await postEvent(service.port, { at: AT, user: "a", kind: "impression" });
    }, SETUP_TIMEOUT_MS);
    afterAll(() => site.close(), SETUP_TIMEOUT_MS);

    /** The state that a refused request must leave as it is; an age that changes by itself is left out. */
    async function state() {
      const hours = await Promise.all([undefined, "a"].map((stream) => readHour(service.port, AT, stream)));
      const answer = await ask(service.port, { method: "GET", target: "/readyz" });
      const { flusher, ...ready } = JSON.parse(answer.body);
      return { hours, status: answer.status, ready, flusher: flusher.status };
    }

    /** Once what is posted last is there, so is all that was counted before it. */
    async function eventsOnceFlushed(): Promise<StoredEvent[]> {
      const user = `last-${crypto.randomUUID()}`;
      await postEvent(service.port, { at: AT, user, kind: "click", stream: "last" });
      return await waitFor("the last event's row", async () => {
        const events = await site.cold.events();
        const isThere = events.some((event) => event.user === user);
        return isThere && events.filter(({ stream }) => stream !== "last");
      });
    }

    describe("refuses", () => {
      for (const [what, refused] of Object.entries(REFUSED)) {
        test(what, async () => {
          const before = await state();
          expectRefusal(await ask(service.port, refused.request), refused);
          expect(await state()).toEqual(before);
        });
      }

      test("all of them without counting any", async () => {
        const before = await state();
        const eventsBefore = await eventsOnceFlushed();
        for (const { request } of Object.values(REFUSED)) await ask(service.port, request);
        expect(await eventsOnceFlushed()).toEqual(eventsBefore);
        expect(await state()).toEqual(before);
      });

      test("all of them at once without counting any", async () => {
        const before = await state();
        const eventsBefore = await eventsOnceFlushed();
        await Promise.all(Object.values(REFUSED).map(({ request }) => ask(service.port, request)));
        expect(await eventsOnceFlushed()).toEqual(eventsBefore);
        expect(await state()).toEqual(before);
      });

      test("a method that HTTP does not know, by closing the connection: Bun does", async () => {
        const before = await state();
        const request = { ...post(`?${GOOD}`), method: "BREW" };
        await expect(ask(service.port, request)).rejects.toThrow("closed before the answer");
        expect(await state()).toEqual(before);
      });
    });

    describe("Idempotency-Key", () => {
      const clicksOf = async (stream: string) => (await readHour(service.port, AT, stream)).clicks;
      const send = (stream: string, more: string, keys: readonly string[]) =>
        ask(service.port, {
          ...post(`?timestamp=${AT}&user=foo&click&stream=${stream}${more}`),
          headers: keys.map((key) => `Idempotency-Key: ${key}`),
        });

      for (const [i, [what, [header, id]]] of Object.entries(KEYS).entries()) {
        test(`${what} is ${id === null ? "refused" : "the id"}`, async () => {
          const stream = `keys-${i}`;
          const answer = await send(stream, "", [header]);
          if (id === null) {
            expectRefusal(answer, { request: get(""), ...INVALID, field: "idempotency-key" });
            expect(await clicksOf(stream)).toBe(0);
            return;
          }
          expect(answer.status).toBe(204);
          expect((await send(stream, `&id=${encodeURIComponent(id)}`, [])).status).toBe(204);
          expect((await send(stream, `&id=${encodeURIComponent(id)}`, [header])).status).toBe(204);
          expect(await clicksOf(stream)).toBe(1);
        });
      }

      test("and another id are refused, and so are two keys", async () => {
        for (const answer of [await send("keys", "&id=a", ["b"]), await send("keys", "", ["a", "a"])])
          expectRefusal(answer, { request: get(""), ...INVALID, field: "idempotency-key" });
        expect(await clicksOf("keys")).toBe(0);
      });
    });

    test("accepts any valid Host, and none at all", async () => {
      for (const host of ["x", "web", "a.b_c-d", "localhost:7777", "[::1]", "[::1]:7777", "192.0.2.1", null]) {
        const { status } = await ask(service.port, { ...get(`?timestamp=${AT}`), host });
        expect({ host, status }).toEqual({ host, status: 200 });
      }
    });

    test("HEAD is answered as GET is, without the body", async () => {
      const head = await ask(service.port, { method: "HEAD", target: hourTarget(AT) });
      const whole = await ask(service.port, { method: "GET", target: hourTarget(AT) });
      expect({ status: head.status, body: head.body }).toEqual({ status: 200, body: "" });
      for (const header of ["content-type", "cache-control", "content-length"]) {
        expect(head.headers.get(header)).toBe(whole.headers.get(header)!);
      }
      const bad = await ask(service.port, { method: "HEAD", target: "/analytics?timestamp=NaN" });
      expect({ status: bad.status, body: bad.body }).toEqual({ status: 422, body: "" });
    });

    test("an hour is text, or JSON by parameter or by Accept", async () => {
      const at = OLD_HOUR - 2 * HOUR_MS;
      const stream = `formats-${crypto.randomUUID()}`;
      await postEvent(service.port, { at, user: "ann", kind: "impression", stream });
      const read = (query: string, ...headers: string[]) =>
        ask(service.port, {
          method: "GET",
          target: `/analytics?timestamp=${at}&stream=${stream}${query}`,
          headers,
        });
      const text = "unique_users,1\nclicks,0\nimpressions,1\n";
      const json = {
        ...{ from: "2020-01-10T08:00:00Z", to: "2020-01-10T09:00:00Z", stream },
        ...{ clicks: 0, impressions: 1, ctr: 0, unique_users: 1 },
      };
      for (const answer of [await read(""), await read("&format=text"), await read("", "Accept: text/html, */*")])
        expect([answer.body, answer.headers.get("content-type")]).toEqual([text, "text/plain; charset=utf-8"]);
      for (const answer of [await read("&format=json"), await read("", "Accept: application/json")]) {
        expect(JSON.parse(answer.body)).toEqual(json);
        expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
      }
    });

    test("accepts ISO 8601, and defaults to now", async () => {
      const before = Date.now();
      const time = OLD_HOUR - HOUR_MS;
      const iso = new Date(time).toISOString();
      for (const [user, parameter] of Object.entries({
        "iso-z": `timestamp=${iso}&`,
        "iso-offset": `timestamp=${encodeURIComponent(iso.replace("Z", "+00:00"))}&`,
        none: "",
      })) {
        const answer = await ask(service.port, post(`?${parameter}user=${user}&click&stream=times`));
        expect([user, answer.status]).toEqual([user, 204]);
      }
      const stored = (await eventsOnceFlushed()).filter(({ stream }) => stream === "times");
      const at = Object.fromEntries(stored.map((event) => [event.user, event.at]));
      expect([at["iso-z"], at["iso-offset"]]).toEqual([time, time]);
      expect(at["none"]).toBeWithin(before, Date.now() + 1);
      const hour = await ask(service.port, get(`?timestamp=${iso}&stream=times`));
      expect(hour.body).toBe("unique_users,2\nclicks,2\nimpressions,0\n");
    });

    test("says that seconds may be the mistake", async () => {
      const { request } = REFUSED["seconds for milliseconds"]!;
      expect((await ask(service.port, request)).body).toContain("did you send seconds?");
    });

    test("accepts every spelling, and stores what was meant", async () => {
      const spellings = Object.values(TAKEN);
      const answers = await Promise.all(
        spellings.map(({ query }, i) =>
          ask(service.port, { method: "POST", target: `/analytics?timestamp=${OLD_HOUR + i}&${query}` }),
        ),
      );
      const outcomes = answers.map(({ status, body }, i) => ({ what: spellings[i]!.query, status, body }));
      expect(outcomes.filter(({ status, body }) => status !== 204 || body !== "")).toEqual([]);
      const events = (await eventsOnceFlushed()).filter(({ hour }) => hour === OLD_HOUR);
      expect(events.sort((a, b) => a.at - b.at)).toEqual(
        spellings.map(({ user = "foo", kind = "click", stream = "default", id = null }, i) => {
          return { stream, hour: OLD_HOUR, at: OLD_HOUR + i, kind, user, id };
        }),
      );
    });

    test("accepts a small body, which means nothing", async () => {
      const before = await readHour(service.port, AT, "body");
      const request = {
        method: "POST",
        target: eventTarget({ at: AT, user: "a", kind: "click", stream: "body" }),
      };
      const headers = ["Content-Type: application/json", "Content-Length: 2"];
      expect((await ask(service.port, { ...request, headers, body: "{}" })).status).toBe(204);
      const chunked = { ...request, headers: CHUNKED, body: "5\r\nhello\r\n0\r\n\r\n" };
      expect((await ask(service.port, chunked)).status).toBe(204);
      expect(await readHour(service.port, AT, "body")).toEqual({
        ...before,
        uniqueUsers: 1,
        clicks: before.clicks + 2,
      });
    });

    test("an hour has its first millisecond, and not its end", async () => {
      const hour = OLD_HOUR + 10 * HOUR_MS;
      for (const at of [hour - 1, hour, hour + HOUR_MS - 1, hour + HOUR_MS]) {
        await postEvent(service.port, { at, user: "a", kind: "click", stream: "edge" });
      }
      const clicksAt = async (at: number) => (await readHour(service.port, at, "edge")).clicks;
      const reads = [hour - 1, hour, hour + HOUR_MS - 1, hour + HOUR_MS].map(clicksAt);
      expect(await Promise.all(reads)).toEqual([1, 2, 2, 1]);
    });

    test("accepts the first millisecond of 2001, and nearly a day ahead", async () => {
      const ahead = AT + DAY_MS - HOUR_MS;
      for (const at of [Date.UTC(2001, 0, 1), ahead]) {
        await postEvent(service.port, { at, user: "a", kind: "impression", stream: "bounds" });
        expect(await readHour(service.port, at, "bounds")).toEqual({
          uniqueUsers: 1,
          clicks: 0,
          impressions: 1,
        });
      }
    });

    test("an id counts once in its stream, whatever else is sent with it", async () => {
      const event = { at: AT, user: "a", kind: "click", id: "once", stream: "ids" } as const;
      for (const again of [event, event, { ...event, user: "b", kind: "impression" } as const]) {
        await postEvent(service.port, again);
      }
      await postEvent(service.port, { ...event, stream: "ids-2" });
      expect(await readHour(service.port, AT, "ids")).toEqual({ uniqueUsers: 1, clicks: 1, impressions: 0 });
      expect(await readHour(service.port, AT, "ids-2")).toEqual({
        uniqueUsers: 1,
        clicks: 1,
        impressions: 0,
      });
    });

    test(
      "a client that is too slow with its request is cut off, and has counted nothing",
      async () => {
        const stream = `slow-${crypto.randomUUID()}`;
        const target = eventTarget({ at: AT, user: "slow", kind: "click", stream });
        const starts = ["", "POST /analytics?times", `POST ${target} HTTP/1.1\r\nHost: a\r\n`];
        const connections = await Promise.all(starts.map(() => openConnection(service.port)));
        const cut = connections.map((connection, i) => connection.sendBytes(Buffer.from(starts[i]!)));
        const outcomes = await Promise.all(cut.map((sending) => sending.catch((error) => error.name)));
        expect(outcomes).toEqual(Array(3).fill("LostConnectionError"));
        expect(await readHour(service.port, AT, stream)).toMatchObject({ clicks: 0 });
      },
      SLOW_CLIENT_TIMEOUT_MS,
    );

    // oven-sh/bun#38128. When this fails, Bun has mended it: say so in the documentation, and test that every
    // one of several requests is answered and counted.
    test("of pipelined requests the first alone is handled, and none answered", async () => {
      const stream = `pipelined-${crypto.randomUUID()}`;
      const requests = ["a", "b", "c"].map((user) =>
        bytesOf({ method: "POST", target: eventTarget({ at: AT, user, kind: "click", stream }) }),
      );
      const connection = await openConnection(service.port);
      const sending = connection.sendBytes(Buffer.concat(requests));
      expect(await sending.catch((error) => error.name)).toBe("LostConnectionError");
      const { clicks } = await waitFor("the first event", async () => {
        const counts = await readHour(service.port, AT, stream);
        return counts.clicks > 0 && counts;
      });
      expect(clicks).toBe(1);
    });
  });
}

test("an idle connection is closed after IDLE_TIMEOUT_S, and not before", async () => {
  const service = await startService({ settings: { IDLE_TIMEOUT_S: "8" } });
  try {
    const connection = await openConnection(service.port);
    await connection.send({ method: "GET", target: "/livez" });
    const startMs = performance.now();
    await waitFor("the end", () => connection.isOver, { timeoutMs: 60_000 });
    // Bun looks at its connections every 4 s.
    expect(performance.now() - startMs).toBeGreaterThan(3_500);
  } finally {
    await service.stop();
  }
});
