/**
 * POST /events, in both modes: every event of a body is accepted, a duplicate, invalid or refused. The answer says
 * which, and the stores and the ledger agree with it, even when a store is unavailable or the service is killed.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { gzipSync, zstdCompressSync } from "node:zlib";
import type { Static } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { Elysia } from "elysia";
import fc from "fast-check";
import { DAY_MS, HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { events } from "../../src/http/ingest/events.ts";
import { INVALID_MAX_LISTED } from "../../src/protocol/body/limits.ts";
import { type BodyFormat, readEvents } from "../../src/protocol/body/read-events.ts";
import { EventObjectSchema } from "../../src/protocol/event/object-rules.ts";
import { RequestCounts } from "../../src/runtime/metrics.ts";
import { pipelineModes } from "../harness/pipeline/pipeline-harness.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { usersChosenByPublicHash } from "../harness/pipeline/test-users.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { openConnection } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const NDJSON = "application/x-ndjson";
const ARRAY = "application/json";
const HOUR = hourOf(Date.now());
const CHOSEN_USERS_PER_REQUEST = 1_000;
/** Bun looks at its connections every 4 s. */
const BODY_TIMEOUT_S = 4;

interface SentEvent {
  readonly timestamp: number;
  readonly user: string;
  readonly event: "click" | "impression";
  readonly stream?: string;
  readonly id?: string;
}

interface ListedError {
  readonly index: number;
  readonly code: string;
  readonly field?: string;
  readonly got?: string | null;
  readonly expected?: string;
}

interface Outcome {
  readonly events: number;
  readonly accepted: number;
  readonly duplicates: number;
  readonly invalid: number;
  readonly refused: number;
  readonly unknown: number;
  readonly errors: readonly ListedError[];
  readonly error?: { readonly code: string; readonly field?: string; readonly message: string };
}

interface Sent {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Outcome;
}

function clicks(stream: string, count: number, more: Partial<SentEvent> = {}): SentEvent[] {
  return Array.from({ length: count }, (_, i) => {
    return { timestamp: HOUR + i, user: `user-${i}`, event: "click", stream, ...more } as const;
  });
}

function ndjson(events: readonly unknown[]): string {
  return events.map((event) => JSON.stringify(event)).join("\n");
}

function withIds(events: readonly SentEvent[], name: string): SentEvent[] {
  return events.map((event, i) => ({ ...event, id: `${name}-${i}` }));
}

function all(outcome: Partial<Outcome>) {
  return { accepted: 0, duplicates: 0, invalid: 0, refused: 0, unknown: 0, ...outcome };
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`POST /events, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ FLUSH_INTERVAL_MS: "100", LEASE_MS: "1000", OUTCOME_TIMEOUT_MS: "1500" });
    });
    afterAll(() => site.close());

    async function send(
      body: string | Buffer,
      headers: Record<string, string> = { "content-type": NDJSON },
      query = "",
    ): Promise<Sent> {
      const answer = await fetch(`${service.url}/events${query}`, { method: "POST", body, headers });
      const text = await answer.text();
      return { status: answer.status, headers: answer.headers, body: text === "" ? {} : JSON.parse(text) };
    }

    async function expectOutcome(
      sent: Promise<Sent>,
      outcome: Partial<Outcome>,
      status = outcome.invalid === undefined || outcome.invalid === 0 ? 200 : 207,
    ) {
      const { status: found, body } = await sent;
      expect({ status: found, ...body }).toMatchObject({ status, ...all(outcome) });
      expect(body.accepted + body.duplicates + body.invalid + body.refused + body.unknown).toBe(body.events);
      return body;
    }

    async function countOf(stream: string, at = HOUR): Promise<number> {
      const { clicks: clicked, impressions } = await readHour(service.port, at, stream);
      return clicked + impressions;
    }

    /** Again after a 503, which a busy machine may bring about, and which has counted nothing. */
    function sendUntilTaken(body: string): Promise<Sent> {
      return waitFor("a body to be taken", async () => {
        const sent = await send(body);
        if (sent.status === 503) throw new Error(JSON.stringify(sent.body));
        return sent;
      });
    }

    async function ledger() {
      const answer = await fetch(`${service.url}/ledger`);
      return ((await answer.json()) as { instance: Record<string, number> & { holds: boolean } }).instance;
    }

    test("times may be ISO 8601 or left out; seconds are refused unless `old=1`", async () => {
      const seconds = Math.floor(HOUR / 1_000);
      const events = [
        { timestamp: new Date(HOUR).toISOString(), user: "a", event: "click", stream: "times" },
        { user: "b", event: "click", stream: "times" },
        { timestamp: seconds, user: "c", event: "click", stream: "times" },
      ];
      const { errors } = await expectOutcome(send(ndjson(events)), { accepted: 2, invalid: 1 });
      expect(errors[0]!.expected).toContain("did you send seconds?");
      expect((await countOf("times")) + (await countOf("times", HOUR + HOUR_MS))).toBe(2);
      const old = send(ndjson(events.slice(2)), { "content-type": NDJSON }, "?old=1");
      await expectOutcome(old, { accepted: 1 });
      expect(await countOf("times", seconds)).toBe(1);
    });

    test("16,384 users that were chosen by the public hash of Redis count as 16,384", async () => {
      const users = usersChosenByPublicHash();
      for (let from = 0; from < users.length; from += CHOSEN_USERS_PER_REQUEST) {
        const some = users.slice(from, from + CHOSEN_USERS_PER_REQUEST);
        const events = some.map((user) => ({ timestamp: HOUR, user, event: "click", stream: "chosen" }));
        await expectOutcome(send(ndjson(events)), { accepted: some.length });
      }
      const { uniqueUsers } = await readHour(service.port, HOUR, "chosen");
      // Three standard errors; under the public hash it would be more than 150,000.
      expect(Math.abs(uniqueUsers - users.length)).toBeLessThan(3 * 0.0081 * users.length);
    });

    test("a body in which no event is valid is refused, with the counts", async () => {
      const sent = send(ndjson(clicks("none", 3, { user: "" })));
      const body = await expectOutcome(sent, { invalid: 3 }, 422);
      expect([body.error?.code, body.errors.length]).toEqual(["invalid_events", 3]);
      await expectOutcome(send("\n\n"), {});
    });

    test("lines, an array, gzip and zstd are the same events", async () => {
      const events = clicks("forms", 50);
      const [lines, array] = [ndjson(events), JSON.stringify(events)];
      await expectOutcome(send(lines), { accepted: 50 });
      await expectOutcome(send(`${lines}\n`), { accepted: 50 });
      await expectOutcome(send(`\ufeff${lines.replaceAll("\n", "\r\n\n")}`), { accepted: 50 });
      await expectOutcome(send(array, { "content-type": ARRAY }), { accepted: 50 });
      await expectOutcome(
        send(` ${JSON.stringify(events, null, 2)}\n`, { "content-type": `${ARRAY}; charset=utf-8` }),
        {
          accepted: 50,
        },
      );
      const packed = { "content-type": NDJSON, "content-encoding": "gzip" };
      await expectOutcome(send(gzipSync(lines), packed), { accepted: 50 });
      await expectOutcome(send(zstdCompressSync(lines), { ...packed, "content-encoding": "zstd" }), {
        accepted: 50,
      });
      expect(await countOf("forms")).toBe(350);
      await waitFor("the rows", async () => (await rowsOf("forms")) === 350);
    });

    const rowsOf = (stream: string) => site.cold.countEvents(stream);

    test("10,000 events of which 1 in 100 is bad: the others count, and each bad one is named", async () => {
      let stream = "";
      // A busy machine may refuse a part: then it is tried with another stream.
      const sent = await waitFor("nothing to be refused", async () => {
        stream = `large-${crypto.randomUUID()}`;
        const events: unknown[] = clicks(stream, 10_000);
        for (let i = 0; i < events.length; i += 100) events[i] = { ...(events[i] as SentEvent), user: "" };
        const answer = await send(ndjson(events));
        return answer.body.refused === 0 && answer;
      });
      const body = await expectOutcome(Promise.resolve(sent), { accepted: 9_900, invalid: 100 });
      expect(body.errors.map(({ index }) => index)).toEqual(Array.from({ length: 100 }, (_, i) => i * 100));
      expect(body.errors[0]).toMatchObject({ code: "invalid_parameter", field: "user", got: "" });
      expect(await countOf(stream)).toBe(9_900);
    });

    test("says what is wrong with each line", async () => {
      const good = clicks("lines", 1)[0]!;
      const bad: readonly (readonly [line: string, code: string, field: string | undefined])[] = [
        ["nothing", "malformed_event", undefined],
        ["[]", "malformed_event", undefined],
        ["{}", "invalid_parameter", "user"],
        [JSON.stringify({ ...good, timestamp: String(HOUR) }), "invalid_parameter", "timestamp"],
        [JSON.stringify({ ...good, timestamp: HOUR + 0.5 }), "invalid_parameter", "timestamp"],
        [JSON.stringify({ ...good, timestamp: Date.now() + 2 * DAY_MS }), "invalid_parameter", "timestamp"],
        [JSON.stringify({ ...good, event: "view" }), "invalid_parameter", "event"],
        [JSON.stringify({ ...good, stream: "a b" }), "invalid_parameter", "stream"],
        [JSON.stringify({ ...good, user: "x".repeat(256) }), "invalid_parameter", "user"],
        [JSON.stringify({ ...good, user: "\ud800" }), "invalid_parameter", "user"],
        [JSON.stringify({ ...good, id: 7 }), "invalid_parameter", "id"],
        [JSON.stringify({ ...good, ip: "192.0.2.1" }), "invalid_parameter", "ip"],
        [`${JSON.stringify(good).slice(0, -1)},"user":"other"}`, "malformed_event", "user"],
        [`{"user":"${"\\u0041".repeat(4_000)}"}`, "malformed_event", undefined],
      ];
      const lines = bad.flatMap(([line]) => [line, JSON.stringify(good)]);
      const body = await expectOutcome(send(lines.join("\n")), { accepted: bad.length, invalid: bad.length });
      const found = body.errors.map(({ index, code, field }) => [lines[index], code, field]);
      expect(found).toEqual(bad.map((each) => [...each]));
    });

    test("unknown=ignore: members of others are left out, and what is known has to be right all the same", async () => {
      const good = { timestamp: HOUR, user: "ann", event: "click", stream: "shipped", id: "one" };
      const others = { "@timestamp": "now", host: { name: "a", user: "root", tags: [{ id: 1 }, { id: 2 }] } };
      const body = [
        JSON.stringify({ ...others, ...good }),
        JSON.stringify({ ...good, ...others }),
        JSON.stringify({ ...others, ...good, user: undefined }),
        '{"user": "ann", "event": "click", "stream": "shipped", "event": "impression", "host": 1}',
      ].join("\n");
      const { errors, ...strict } = await expectOutcome(send(body), { invalid: 4 }, 422);
      expect([strict.accepted, errors.length]).toEqual([0, 4]);
      const sent = await expectOutcome(send(body, undefined, "?unknown=ignore"), {
        ...{ accepted: 1, duplicates: 1, invalid: 2 },
      });
      expect(sent.errors).toMatchObject([
        { index: 2, field: "user", got: null },
        { index: 3, code: "malformed_event", field: "event" },
      ]);
    });

    test("plain text, as sendBeacon sends it, is lines or an array", async () => {
      const headers = { "content-type": "text/plain;charset=UTF-8" };
      const events = clicks("plain", 10);
      await expectOutcome(send(ndjson(events), headers), { accepted: 10 });
      await expectOutcome(send(` ${JSON.stringify(events)}`, headers), { accepted: 10 });
    });

    test("atomic=1: all or none", async () => {
      const events = clicks("atomic", 100);
      const broken = [...events, { ...events[0], event: "view" }];
      const { status, body } = await send(ndjson(broken), { "content-type": NDJSON }, "?atomic=1");
      expect([status, body.error?.code, body.invalid, body.errors[0]?.index]).toEqual([422, "invalid_events", 1, 100]);
      expect(await countOf("atomic")).toBe(0);
      await expectOutcome(send(ndjson(events), { "content-type": NDJSON }, "?atomic=1"), { accepted: 100 });
      await expectOutcome(send(ndjson(broken), { "content-type": NDJSON }, "?atomic=0"), {
        accepted: 100,
        invalid: 1,
      });
      expect(await countOf("atomic")).toBe(200);
    });

    test("an id counts once: in the body, in bodies sent at once, and beside single events", async () => {
      const events = withIds(clicks("ids", 500), "ids");
      await expectOutcome(send(ndjson([...events, ...events.slice(0, 100)])), {
        accepted: 500,
        duplicates: 100,
      });
      await expectOutcome(send(ndjson(events)), { duplicates: 500 });
      await postEvent(service.port, { at: HOUR, user: "u", kind: "click", stream: "ids", id: "single" });
      const late = { timestamp: HOUR, user: "u", event: "click", stream: "ids", id: "single" } as const;
      const more = withIds(clicks("ids", 300), "more");
      const answers = await Promise.all([1, 2, 3].map(() => send(ndjson([late, ...more]))));
      const sum = (field: "accepted" | "duplicates") => answers.reduce((n, { body }) => n + body[field], 0);
      expect([sum("accepted"), sum("duplicates")]).toEqual([300, 603]);
      expect(await countOf("ids")).toBe(801);
    });

    test("many hours and streams in one body, also those that are long over", async () => {
      const days = 40;
      const events = Array.from({ length: 5_000 }, (_, i): SentEvent => {
        const timestamp = HOUR - (i % days) * DAY_MS + i;
        return {
          timestamp,
          user: `user-${i % 700}`,
          event: i % 3 === 0 ? "impression" : "click",
          stream: `s-${i % 7}`,
        };
      });
      await expectOutcome(send(ndjson(events)), { accepted: 5_000 });
      for (const [stream, ofStream] of Map.groupBy(events, (event) => event.stream!)) {
        for (const [hour, ofHour] of Map.groupBy(ofStream, ({ timestamp }) => hourOf(timestamp))) {
          expect(await countOf(stream, hour)).toBe(ofHour.length);
        }
      }
      const ofThird = events.filter(({ stream }) => stream === "s-3").length;
      await waitFor("the rows", async () => (await rowsOf("s-3")) === ofThird);
    });

    test("a body without events is accepted", async () => {
      await expectOutcome(send(""), { events: 0 });
      await expectOutcome(send("\n \n"), { events: 0 });
      await expectOutcome(send("[]", { "content-type": ARRAY }), { events: 0 });
    });

    describe("refuses a body as a whole, and counts nothing of it:", () => {
      const good = () => ndjson(clicks("refused", 10));
      const packed = (encoding: string) => ({ "content-type": NDJSON, "content-encoding": encoding });
      type Case = readonly [body: () => string | Buffer, headers: Record<string, string>, status: number, code: string];
      const CASES: Readonly<Record<string, Case>> = {
        "no type": [() => Buffer.from(good()), {}, 415, "unsupported_type"],
        "another type": [good, { "content-type": "text/csv" }, 415, "unsupported_type"],
        "another character set": [good, { "content-type": `${NDJSON}; charset=latin1` }, 415, "unsupported_type"],
        "text in UTF-16": [good, { "content-type": "text/plain; charset=utf-16" }, 415, "unsupported_type"],
        "text in Latin-1": [good, { "content-type": 'Text/Plain;charset="ISO-8859-1"' }, 415, "unsupported_type"],
        "another encoding": [good, packed("br"), 415, "unsupported_encoding"],
        "no gzip": [good, packed("gzip"), 400, "malformed_body"],
        "gzip that is cut off": [() => gzipSync(good()).subarray(0, -9), packed("gzip"), 400, "malformed_body"],
        "zstd that is cut off": [() => zstdCompressSync(good()).subarray(0, -2), packed("zstd"), 400, "malformed_body"],
        "no array": [() => JSON.stringify({ events: [] }), { "content-type": ARRAY }, 400, "malformed_body"],
        "an array without an end": [
          () => `[${good().split("\n").join()}`,
          { "content-type": ARRAY },
          400,
          "malformed_body",
        ],
        "an array with a hole": [() => "[1,,2]", { "content-type": ARRAY }, 400, "malformed_body"],
        "10,001 events": [() => ndjson(clicks("refused", 10_001)), { "content-type": NDJSON }, 413, "too_many_events"],
        "40,001 lines, all but one of them blank": [
          () => good().split("\n", 1)[0] + "\n".repeat(40_001),
          { "content-type": NDJSON },
          413,
          "too_many_lines",
        ],
        "more than 4 MiB": [() => Buffer.alloc(4_194_305, " "), { "content-type": NDJSON }, 413, "body_too_large"],
        "what unpacks to more": [() => gzipSync(Buffer.alloc(4_194_305, " ")), packed("gzip"), 413, "body_too_large"],
        "what unpacks to very much": [
          () => zstdCompressSync(Buffer.alloc(1 << 28)),
          packed("zstd"),
          413,
          "body_too_large",
        ],
      };
      test.each(Object.entries(CASES))("%s", async (_, [body, headers, status, code]) => {
        const { status: found, body: answer } = await send(body(), headers);
        expect([found, answer.error?.code]).toEqual([status, code]);
        expect(await countOf("refused")).toBe(0);
      });
      test("an array that is no JSON says which element, and what its mistake may be", async () => {
        const event = `{"user":"ann","event":"click","stream":"refused"}`;
        for (const [array, words] of [
          [`[${event}\n${event}]`, "element 0 is not one JSON value: a comma between } and { seems to be missing"],
          [`[${event},]`, "element 1 is empty: there seems to be a comma too many"],
          [`[${event},,${event}]`, "element 1 is empty: there seems to be a comma too many"],
          [`[${event},{"user":ann}]`, 'element 1 is not JSON: Unexpected identifier "ann"'],
        ] as const) {
          const { status, body } = await send(array, { "content-type": ARRAY });
          const message = `The body must be a JSON array: ${words}. Nothing was counted.`;
          expect([status, body.error]).toEqual([400, { code: "malformed_body", message }]);
        }
        expect(await countOf("refused")).toBe(0);
      });

      test("an unknown parameter, another method", async () => {
        const typo = await send(good(), { "content-type": NDJSON }, "?unknown=drop");
        expect([typo.status, typo.body.error?.field]).toEqual([422, "unknown"]);
        const unknown = await send(good(), { "content-type": NDJSON }, "?atomc=1");
        expect([unknown.status, unknown.body.error?.field]).toEqual([422, "atomc"]);
        const other = await fetch(`${service.url}/events`);
        expect([other.status, other.headers.get("allow")]).toEqual([405, "POST"]);
      });
    });

    test("many bodies and single events at once: all are counted, and the books hold", async () => {
      const before = await ledger();
      const bodies = Array.from({ length: 20 }, (_, i) => ndjson(clicks(`many-${i % 4}`, 1_000)));
      const singles = Array.from({ length: 200 }, (_, i) => {
        return postEvent(service.port, { at: HOUR, user: `single-${i}`, kind: "click", stream: "many-0" });
      });
      const answers = await Promise.all(bodies.map(sendUntilTaken));
      await Promise.all(singles);
      expect(answers.map(({ body }) => body.accepted)).toEqual(Array(20).fill(1_000));
      expect(await countOf("many-0")).toBe(5_200);
      const after = await ledger();
      expect(after.holds).toBe(true);
      expect(after["accepted"]! - before["accepted"]!).toBe(20_200);
    });

    test("kill -9 among bodies: what was acknowledged is there once, and what was sent again too", async () => {
      const random = new Random(seedFor(`bodies and kills, ${name}`));
      const acknowledged = new Set<string>();
      for (let round = 0; round < 5; round++) {
        const bodies = Array.from({ length: 6 }, (_, i) => withIds(clicks("killed", 700), `kill-${round}-${i}`));
        const sending = bodies.map((events) =>
          send(ndjson(events)).then(
            () => true,
            () => false,
          ),
        );
        await new Promise<void>((resolve) => {
          setTimeout(() => void service.kill().then(resolve), random.below(60));
        });
        await Promise.all(sending);
        await service.start();
        for (const events of bodies) {
          const { body } = await waitFor("a body to be taken", async () => {
            const sent = await send(ndjson(events));
            return sent.status === 200 && sent;
          });
          expect(body.accepted + body.duplicates).toBe(700);
          for (const { id } of events) acknowledged.add(id!);
        }
      }
      expect(await countOf("killed")).toBe(acknowledged.size);
      await waitFor("the rows", async () => (await rowsOf("killed")) >= acknowledged.size);
      const rows = await site.cold.events("killed");
      expect(rows.length).toBe(acknowledged.size);
      expect(new Set(rows.map(({ id }) => id))).toEqual(acknowledged);
    });

    const untilTaken = () =>
      waitFor("events to be taken", async () => (await send(ndjson(clicks("back", 1)))).status === 200);

    if (name === "redis+mysql") {
      test("with Redis frozen: what was sent is of unknown outcome, the rest is refused and never counts", async () => {
        const { redis } = site.servers!;
        await untilTaken();
        redis.pause();
        try {
          const events = withIds(clicks("away", 5_000), "away");
          const { status, headers, body } = await send(ndjson(events));
          expect({ status, ...body }).toMatchObject({
            status: 207,
            ...all({ unknown: 2_000, refused: 3_000 }),
            refusals: [{ code: "hot_store_away", count: 3_000, indexes: [[2_000, 4_999]] }],
            unknowns: [{ code: "outcome_unknown", count: 2_000, indexes: [[0, 1_999]] }],
          });
          expect(headers.get("retry-after")).toBe("1");
          // Refused by now without a wait, as is what comes next: by the fastest of several, on a busy machine.
          const tookMs: number[] = [];
          for (let i = 0; i < 5; i++) {
            const startMs = performance.now();
            const next = await send(ndjson(clicks("away", 10)));
            expect([next.status, next.body.error?.code]).toEqual([503, "hot_store_away"]);
            tookMs.push(performance.now() - startMs);
          }
          expect(Math.min(...tookMs)).toBeLessThan(500);
        } finally {
          redis.resume();
        }
        await untilTaken();
        expect(await countOf("away")).toBe(2_000);
        expect((await ledger())["unknown"] as unknown).toEqual({
          total: 2_000,
          stored: 2_000,
          unstored: 0,
          in_doubt: 0,
        });
        // With their ids all may be sent again.
        const again = withIds(clicks("away", 5_000), "away");
        await expectOutcome(send(ndjson(again)), { accepted: 3_000, duplicates: 2_000 });
      });

      test("a small body sent to a frozen Redis: 504, and nothing but unknown outcomes", async () => {
        const { redis } = site.servers!;
        await untilTaken();
        redis.pause();
        try {
          const { status, headers, body } = await send(ndjson(clicks("frozen", 5)));
          expect([status, body.error?.code]).toEqual([504, "outcome_unknown"]);
          expect(headers.get("retry-after")).toBeNull();
        } finally {
          redis.resume();
        }
        await untilTaken();
        expect(await countOf("frozen")).toBe(5);
      });

      test("with MySQL down: hours that have to be fetched are refused by name, the others count", async () => {
        const { redis, mariaDb } = site.servers!;
        const long = HOUR - 400 * DAY_MS;
        const now = Date.now();
        await untilTaken();
        await expectOutcome(send(ndjson(clicks("partly", 3, { timestamp: long }))), { accepted: 3 });
        await waitFor("the rows", async () => (await rowsOf("partly")) === 3);
        // Anew from nothing: then only the cold store knows of any hour before this one.
        await service.kill("SIGTERM");
        await redis.forgetAll();
        await service.start();
        // Fetched from there, as long as that can be.
        await expectOutcome(send(ndjson(clicks("partly", 1, { timestamp: now }))), { accepted: 1 });
        mariaDb.pause();
        try {
          const events = [
            ...clicks("partly", 2, { timestamp: now }),
            ...clicks("partly", 4, { timestamp: long - HOUR_MS }),
          ];
          const { status, headers, body } = await send(ndjson(events));
          const refusals = (body as unknown as { refusals?: { code: string; count: number; indexes: unknown }[] })
            .refusals;
          expect({ status, ...body }).toMatchObject({ status: 207, ...all({ accepted: 2, refused: 4 }) });
          expect(refusals).toMatchObject([{ code: "cold_store_away", count: 4, indexes: [[2, 5]] }]);
          expect(headers.get("retry-after")).not.toBeNull();
        } finally {
          mariaDb.resume();
        }
        expect(await countOf("partly", now)).toBe(3);
        expect(await countOf("partly", long - HOUR_MS)).toBe(0);
      });
    }
  });
}

test("events of streams beyond MAX_STREAMS are listed, the others count", async () => {
  const service = await startService({ settings: { MAX_STREAMS: "2" } });
  try {
    const events = ["a", "b", "c", "a", "d"].map((stream, i) => clicks(stream, 1, { timestamp: HOUR + i })[0]!);
    const headers = { "content-type": NDJSON };
    const answer = await fetch(`${service.url}/events`, { method: "POST", body: ndjson(events), headers });
    const body = (await answer.json()) as Outcome;
    expect({ status: answer.status, ...body }).toMatchObject({
      status: 207,
      ...all({ accepted: 3, invalid: 2 }),
    });
    expect(body.errors.map(({ index, code, got }) => [index, code, got])).toEqual([
      [2, "too_many_streams", "c"],
      [4, "too_many_streams", "d"],
    ]);
  } finally {
    await service.stop();
  }
});

test("streams of a body that was refused leave room for others", async () => {
  const service = await startService({ settings: { MAX_STREAMS: "2" } });
  try {
    const headers = { "content-type": NDJSON };
    const post = async (body: string) => {
      const answer = await fetch(`${service.url}/events?atomic=1`, { method: "POST", body, headers });
      return answer.status;
    };
    const named = (...streams: string[]) => ndjson(streams.flatMap((stream) => clicks(stream, 1)));
    expect(await post(`${named("never", "stored")}\n{}`)).toBe(422);
    expect(await post(named("a", "b"))).toBe(200);
    expect(await post(named("c"))).toBe(422);
  } finally {
    await service.stop();
  }
});

describe("an event in a body", () => {
  const now = Date.now();
  const reading = (format: BodyFormat) => ({
    ...{ format, now, earliest: 0, defaultAt: now, invalidMaxListed: INVALID_MAX_LISTED },
    admits: () => true,
  });
  const ISO: Readonly<Record<string, number>> = {
    "2026-01-31T12:30:00Z": Date.UTC(2026, 0, 31, 12, 30),
    "2026-01-31T12:30:00.250+01:00": Date.UTC(2026, 0, 31, 11, 30, 0, 250),
    "9998-01-31T12:30:00Z": Date.UTC(9998, 0, 31, 12, 30),
    "2026-02-30T12:30:00Z": Number.NaN,
  };
  const timeIn = (timestamp: unknown) => {
    if (timestamp === undefined) return now;
    return typeof timestamp === "string" ? ISO[timestamp]! : (timestamp as number);
  };
  const anyEvent = fc.record(
    {
      timestamp: fc.oneof(
        ...[fc.integer(), fc.double(), fc.constant(now), fc.string(), fc.nat(now)],
        fc.constantFrom(...Object.keys(ISO), "2026-01-31", "2026-01-31T12:30:00", "1578651952635"),
      ),
      user: fc.oneof(fc.string({ unit: "binary", maxLength: 300 }), fc.constant(null), fc.integer()),
      event: fc.oneof(fc.constantFrom("click", "impression", "view"), fc.anything()),
      stream: fc.oneof(fc.constantFrom("a", "a.b", "", "ä"), fc.string()),
      id: fc.oneof(fc.string({ minLength: 1 }), fc.boolean()),
      more: fc.anything(),
    },
    { requiredKeys: [] },
  );

  test("is accepted exactly if the schema, and the rules beside it, accept it", async () => {
    const property = fc.asyncProperty(anyEvent, async (value) => {
      const text = JSON.stringify(value);
      const parsed = JSON.parse(text);
      const { events, invalidCount } = await readEvents(text, reading("ndjson"));
      const isShort = (field: unknown) => {
        if (typeof field !== "string") return field === undefined;
        return Buffer.byteLength(field) <= 255 && field.isWellFormed() && !field.includes("\ufffd");
      };
      const isRight =
        Value.Check(EventObjectSchema, parsed) &&
        timeIn(parsed.timestamp) <= now + DAY_MS &&
        isShort(parsed.user) &&
        isShort(parsed.id);
      expect([events.length, invalidCount]).toEqual(isRight ? [1, 0] : [0, 1]);
      if (!isRight) return;
      const { timestamp, user, event, stream = "default", id } = parsed as Static<typeof EventObjectSchema>;
      expect(events[0]).toEqual({ stream, at: timeIn(timestamp), kind: event, user, id });
    });
    await fc.assert(property, { numRuns: 3_000 });
  });

  test("is the same one in lines and in an array, whatever is between", async () => {
    const space = fc.stringMatching(/^[ \t\r]{0,3}$/);
    const property = fc.asyncProperty(fc.array(anyEvent, { maxLength: 20 }), space, async (values, gap) => {
      const lines = values.map((value) => `${gap}${JSON.stringify(value)}${gap}`);
      const asLines = await readEvents(lines.join("\n"), reading("ndjson"));
      const asArray = await readEvents(`${gap}[${lines.join(`,${gap}\n`)}]${gap}`, reading("array"));
      expect(asArray.events).toEqual([...asLines.events]);
      expect(asArray.indexes).toEqual([...asLines.indexes]);
      expect(asArray.invalid.map(({ index, error }) => [index, error.message])).toEqual(
        asLines.invalid.map(({ index, error }) => [index, error.message]),
      );
    });
    await fc.assert(property, { numRuns: 300 });
  });
});

test("a body that stalls is cut off although idle connections are not, and counts nothing", async () => {
  const mode = pipelineModes()[0]!;
  const site = await mode.open();
  const { pipeline, log } = await site.start();
  const counts = new RequestCounts("POST", "/events");
  const options = { pipeline, log, now: site.clock.now, idleTimeoutS: 0 };
  const app = new Elysia({ serve: { idleTimeout: 0 } }).use(events(options, counts, BODY_TIMEOUT_S));
  const { server } = app.listen({ port: 0, hostname: "127.0.0.1" });
  const body = '{"user":"u","event":"click"}\n';
  const head = [`Content-Type: ${NDJSON}`, `Content-Length: ${body.length}`];
  const request = { method: "POST", target: "/events", headers: head };
  const whole = await openConnection(server!.port!);
  expect((await whole.send({ ...request, body })).status).toBe(200);
  const stalled = connect({ port: server!.port!, host: "127.0.0.1" });
  let isCutOff = false;
  stalled.on("close", () => {
    isCutOff = true;
  });
  stalled.write(`POST /events HTTP/1.1\r\nHost: a\r\n${head.join("\r\n")}\r\n\r\n${body.slice(1)}`);
  await waitFor("the stalled body to be cut off", () => isCutOff, { timeoutMs: 60_000 });
  // Its own time ended earlier, if it still had the time of a body.
  expect((await whole.send({ ...request, body })).status).toBe(200);
  expect(pipeline.ledger.accepted).toBe(2);
  await waitFor("the stalled body to be refused", () => pipeline.ledger.refused.invalid === 1);
  expect([...counts]).toEqual([
    { status: 200, count: 2 },
    { status: 400, count: 1 },
  ]);
  whole.close();
  await app.stop(true);
  await site.close();
  await mode.end();
}, 120_000);
