/**
 * The API description is true: it is valid, it has every route and no other, its examples work, random requests in its
 * terms are answered as described, and every listed answer is reachable.
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { Validator } from "@seriousme/openapi-schema-validator";
import fc from "fast-check";
import { newToken, SCOPES, type Scope } from "../../src/domain/api-key.ts";
import { HOUR_MS } from "../../src/domain/event.ts";
import type { RateLimit } from "../../src/domain/rate-limit.ts";
import { REFUSAL_REASONS, type RefusalReason, UNKNOWN } from "../../src/domain/refusal-reasons.ts";
import { Access } from "../../src/http/access/access.ts";
import { KeyRing } from "../../src/http/access/key-ring.ts";
import { RateLimiter } from "../../src/http/access/rate-limiter.ts";
import { accessOf } from "../../src/http/access/route-scopes.ts";
import { createApp } from "../../src/http/app.ts";
import { API_DOCUMENT, type ApiDocument } from "../../src/http/openapi/document.ts";
import { ClientAddresses } from "../../src/http/requests/client-address.ts";
import type { Pipeline } from "../../src/pipeline/pipeline.ts";
import { RangeTooLargeError } from "../../src/pipeline/read/range-reader.ts";
import { BODY_MAX_BYTES, LINES_MAX } from "../../src/protocol/body/limits.ts";
import { TooManyStreamsError } from "../../src/protocol/input-error.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import type { Log } from "../../src/runtime/log.ts";
import { Metrics } from "../../src/runtime/metrics.ts";
import { SlotsFullError } from "../../src/runtime/slots.ts";
import { readConfig } from "../../src/settings/read-config.ts";
import type { ColdStore } from "../../src/store/cold.ts";
import { HotUnavailableError } from "../../src/store/hot.ts";
import {
  click,
  coldStoreAway,
  type Instance,
  NOON,
  pipelineModes,
  STREAM,
  unavailable,
} from "../harness/pipeline/pipeline-harness.ts";
import { type ApiAnswer, ApiDescription } from "../harness/project/api-description.ts";
import { type ApiRequest, anyRequest, exampleRequests } from "../harness/service/api-requests.ts";
import { ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";

/** The origin of the example in the description. */
const REDIRECT_ORIGINS = "https://shop.example";
const RUNS_PER_OPERATION = 200;

/** The description as served. */
const document = JSON.parse(JSON.stringify(API_DOCUMENT)) as ApiDocument;
const api = new ApiDescription(document);

async function answerOf(response: Response): Promise<ApiAnswer> {
  const isEndless = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  const body = isEndless ? await firstPart(response) : await response.text();
  return { status: response.status, headers: response.headers, body };
}

async function firstPart(response: Response): Promise<string> {
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  return new TextDecoder().decode(value);
}

describe("the description", () => {
  test("is valid OpenAPI 3.1", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    expect({ valid, errors }).toEqual({ valid: true, errors: undefined });
    const broken = { ...structuredClone(document), paths: { "/a": { get: { responses: { 200: {} } } } } };
    expect((await new Validator().validate(broken)).valid).toBe(false);
  });

  test("has examples that match its schemas", () => {
    const faults = examplesIn(document).flatMap(({ place, example }) => {
      const check = api.validator(...place);
      return check(example) ? [] : [{ place: place.join(" > "), errors: check.errors }];
    });
    expect(faults).toEqual([]);
    expect(examplesIn(document).length).toBeGreaterThan(30);
  });

  test("has an operationId, a summary and a tag for each operation", () => {
    const ids = api.operations.map(({ operation: { operationId } }) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    const tags = new Set(document.tags?.map(({ name }) => name));
    for (const {
      operation: { summary, tags: own },
    } of api.operations) {
      expect(summary).toBeString();
      expect(own!.every((tag) => tags.has(tag))).toBe(true);
    }
  });
});

interface Example {
  /** The path of the schema from the document's root. */
  readonly place: readonly string[];
  readonly example: unknown;
}

/** An example stands beside its schema. */
function examplesIn(node: unknown, place: readonly string[] = []): Example[] {
  if (typeof node !== "object" || node === null) return [];
  const { schema, example } = node as { schema?: unknown; example?: unknown };
  if (schema !== undefined && example !== undefined) return [{ place: [...place, "schema"], example }];
  return Object.entries(node).flatMap(([key, value]) => examplesIn(value, [...place, key]));
}

describe("a service", () => {
  let site: Site;
  let service: Service;

  beforeAll(async () => {
    site = await MODES[0]!.open();
    service = await site.start({ REDIRECT_ORIGINS });
  });
  afterAll(() => site.close());

  const fetched = async ({ method, target, headers, body }: ApiRequest): Promise<ApiAnswer> =>
    answerOf(
      await fetch(service.url + target, {
        method,
        headers,
        redirect: "manual",
        ...(body !== undefined && { body }),
      }),
    );

  test("serves the description, and answers 304 if the client has it", async () => {
    const first = await fetch(`${service.url}/openapi.json`);
    expect(await first.json()).toEqual(document);
    const etag = first.headers.get("etag")!;
    const again = await fetch(`${service.url}/openapi.json`, { headers: { "if-none-match": etag } });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  });

  test("serves the page with all that it needs, and lets it load nothing from elsewhere", async () => {
    const slash = await fetch(`${service.url}/docs/`);
    expect([slash.status, slash.url]).toEqual([200, `${service.url}/docs`]);
    const page = await fetch(`${service.url}/docs`);
    const policy = page.headers.get("content-security-policy")!.split("; ");
    expect(policy).toContain("default-src 'none'");
    expect(policy.filter((part) => /:\/\/|\*|unsafe/.test(part))).toEqual([]);
    const links = Array.from((await page.text()).matchAll(/(?:src|href)="(?!data:)([^"]+)"/g), ([, link]) => link!);
    expect(links.length).toBeGreaterThan(4);
    const types = { js: "text/javascript", css: "text/css", json: "application/json", "/": "text/html" };
    for (const link of links) {
      const part = await fetch(new URL(link, page.url));
      expect([link, part.status, new URL(part.url).origin]).toEqual([link, 200, service.url]);
      expect(part.headers.get("content-type")).toStartWith(types[link.split(".").at(-1) as keyof typeof types]);
    }
  });

  test("compresses its answers if the client accepts that", async () => {
    const head = ["accept-encoding: gzip;q=0, br", "accept-encoding: br, gzip;q=0.5", "accept: */*"];
    const [plain, packed, unasked] = await Promise.all(
      head.map((line) => ask(service.port, { method: "GET", target: "/docs/swagger-ui.css", headers: [line] })),
    );
    expect(packed!.headers.get("content-encoding")).toBe("gzip");
    expect(plain!.headers.get("content-encoding")).toBeUndefined();
    expect(unasked!.body).toBe(plain!.body);
    expect(packed!.body.length).toBeLessThan(plain!.body.length / 4);
  });

  for (const described of api.operations) {
    const { method, path, operation } = described;
    const name = `${method.toUpperCase()} ${path}`;

    test(`${name}: the examples work`, async () => {
      for (const request of exampleRequests(described)) {
        const answer = await fetched(request);
        expect(api.violations(described, answer)).toEqual([]);
        expect([200, 204, 302]).toContain(answer.status);
      }
    });

    test(`${name}: any request is answered as described`, async () => {
      const property = fc.asyncProperty(anyRequest(described, document), async (request) => {
        expect(api.violations(described, await fetched(request))).toEqual([]);
      });
      await fc.assert(property, { numRuns: operation.parameters === undefined ? 1 : RUNS_PER_OPERATION });
    });
  }
});

const NDJSON_TYPE = { "content-type": "application/x-ndjson" };

interface Provoked {
  readonly method?: string;
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | (() => ReadableStream);
}

const EVENT = `timestamp=${NOON}&user=ann&click`;
const OLD = NOON - 1_000 * HOUR_MS;
const LATE = `{"timestamp":${OLD},"user":"ann","event":"click","stream":"${STREAM}"}\n`;
const NDJSON = NDJSON_TYPE;
const PAGE = `to=${REDIRECT_ORIGINS}/spring`;
const RANGE = `from=${NOON - 2 * HOUR_MS}&to=${NOON - HOUR_MS}`;

/** Each of a key that is good for nothing but this. */
const KEYS = {
  write: newToken(randomBytes),
  read: newToken(randomBytes),
  admin: newToken(randomBytes),
  limited: newToken(randomBytes),
};
const HOUR_KEY = { count: 1, windowMs: HOUR_MS };
const ADDRESS = "203.0.113.9";

function bearing({ token }: { readonly token: string }): Record<string, string> {
  return { authorization: `Bearer ${token}` };
}

/** A request for each route that takes a key. */
const ASKED: Readonly<Record<string, Provoked>> = {
  "post /analytics": { target: `/analytics?timestamp=${NOON}&user=ann&click&stream=other` },
  "get /analytics": { target: `/analytics?timestamp=${NOON}&stream=other` },
  "post /events": { target: "/events", headers: NDJSON_TYPE, body: "{}\n" },
  "get /series": { target: `/series?from=${NOON}&to=${NOON + HOUR_MS}` },
  "get /streams": { target: `/streams?from=${NOON}&to=${NOON + HOUR_MS}` },
  "get /live": { target: "/live?stream=other" },
  "get /ledger": { target: "/ledger" },
  "get /metrics": { target: "/metrics" },
};

function askedWith(headers: Readonly<Record<string, string>>): Requests {
  return Object.fromEntries(
    Object.entries(ASKED).map(([name, asked]) => [name, [{ ...asked, headers: { ...asked.headers, ...headers } }]]),
  );
}

const OF_BROWSERS: Requests = {
  "get /pixel.gif": [{ target: "/pixel.gif?user=ann" }],
  "post /beacon": [{ target: "/beacon?user=ann&click" }],
};

/** Access with these four keys, if `areKnown`. */
async function accessWith(log: Log, areKnown = true, addressLimit?: RateLimit): Promise<Access> {
  const keys = Object.entries(KEYS).map(([name, { id, sha256 }]) => ({
    ...{ id, sha256, name, createdAt: 0, expiresAt: undefined, revokedAt: undefined },
    scopes: name === "limited" ? SCOPES : [name as Scope],
    streams: name === "limited" ? [] : ["shop.*"],
    limit: name === "limited" ? HOUR_KEY : undefined,
  }));
  const cold = { open: async () => {}, apiKeys: async () => keys } as unknown as ColdStore;
  const ring = new KeyRing({ cold, store: undefined, log, clock: systemClock() });
  if (areKnown) await ring.refresh();
  const limiter = (kind: string) => new RateLimiter({ kind, store: undefined, log, nowMs: () => performance.now() });
  return new Access({
    store: undefined,
    ...{ keys: ring, keyLimits: limiter("key"), addressLimits: limiter("address"), addressLimit },
    ...{ requiredScopes: new Set(SCOPES), addresses: new ClientAddresses(0, log) },
  });
}

function events(...timestamps: readonly number[]): string {
  return timestamps.map((timestamp) => `{"timestamp":${timestamp},"user":"ann","event":"click"}\n`).join("");
}

function batch(body: string, query = "", headers: Provoked["headers"] = NDJSON): Provoked {
  return { target: `/events${query}`, headers, body };
}

function brokenOff(): ReadableStream {
  return new ReadableStream({ pull: (controller) => controller.error(new Error("the connection broke")) });
}

const CHUNKED = { "transfer-encoding": "chunked" };

/** Requests by operation. */
type Requests = Readonly<Record<string, readonly Provoked[]>>;

const WELL: Requests = {
  "post /analytics": [
    { target: `/analytics?${EVENT}` },
    { target: `/analytics?${EVENT}&id=%ff` },
    { target: `/analytics?${EVENT}&impression` },
    { target: `/analytics?${EVENT}`, body: "x".repeat(65_537) },
    { target: `/analytics?${EVENT}`, body: brokenOff },
    { target: `/analytics?${EVENT}`, method: "PUT" },
  ],
  "get /analytics": [
    { target: `/analytics?timestamp=${NOON}` },
    { target: `/analytics?timestamp=${NOON}&timestamp=${NOON}` },
    { target: "/analytics?timestamp=now" },
    { target: `/analytics?timestamp=${NOON}`, method: "DELETE" },
  ],
  "post /events": [
    batch(events(NOON, NOON + 1)),
    batch("[{", "", { "content-type": "application/json" }),
    batch(events(...Array<number>(10_001).fill(NOON))),
    batch(events(NOON), "", { "content-type": "text/csv" }),
    batch(events(NOON), "", { ...NDJSON, "content-encoding": "br" }),
    batch(`${events(NOON)}{}\n`, "?atomic=1"),
    batch(events(NOON), "?atomic=yes"),
    batch(events(NOON), "?atomic=1&atomic=1"),
    batch("x".repeat(BODY_MAX_BYTES + 1)),
    batch("\n".repeat(LINES_MAX + 1)),
    { target: "/events", headers: NDJSON, body: brokenOff },
    { ...batch(events(NOON)), method: "PUT" },
  ],
  "get /pixel.gif": [
    { target: "/pixel.gif?user=ann" },
    { target: "/pixel.gif?user=ann&user=bob" },
    { target: "/pixel.gif?user=" },
    { target: "/pixel.gif?user=ann", headers: CHUNKED },
    { target: "/pixel.gif?user=ann", method: "PUT" },
  ],
  "post /beacon": [
    { target: "/beacon?user=ann&click" },
    { target: "/beacon?user=ann&click&click" },
    { target: "/beacon?user=ann" },
    { target: "/beacon?user=ann&click", body: "x".repeat(65_537) },
    { target: "/beacon?user=ann&click", body: brokenOff },
    { target: "/beacon?user=ann&click", method: "PUT" },
  ],
  "get /r": [
    { target: `/r?${PAGE}&user=ann` },
    { target: `/r?${PAGE}&user=ann&click&fbclid=1` },
    { target: `/r?${PAGE}&user=` },
    { target: `/r?${PAGE}&user=ann`, headers: CHUNKED },
    { target: `/r?${PAGE}&${PAGE}` },
    { target: "/r?to=https://elsewhere.example/" },
    { target: "/r?to=javascript:alert(1)" },
    { target: `/r?${PAGE}`, method: "PUT" },
  ],
  "get /hourglass.js": [
    { target: "/hourglass.js" },
    { target: "/hourglass.js", headers: { "if-none-match": "*" } },
    { target: "/hourglass.js", method: "PUT" },
  ],
  ...Object.fromEntries(
    ["/series", "/streams"].map((path) => [
      `get ${path}`,
      [
        { target: `${path}?${RANGE}` },
        { target: `${path}?${RANGE}`, headers: { "if-none-match": "*" } },
        { target: `${path}?${RANGE}&from=0` },
        { target: `${path}?from=yesterday` },
        { target: `${path}?${RANGE}`, method: "POST" },
      ],
    ]),
  ),
  "get /live": [
    { target: "/live?stream=*" },
    { target: "/live?stream=a&stream=b" },
    { target: "/live?streams=a" },
    { target: "/live", method: "POST" },
  ],
  "get /": [{ target: "/" }, { target: "/", headers: { "if-none-match": "*" } }, { target: "/", method: "PUT" }],
  "get /livez": [{ target: "/livez" }, { target: "/livez", method: "PUT" }],
  "get /readyz": [{ target: "/readyz" }, { target: "/readyz", method: "PUT" }],
  "get /ledger": [{ target: "/ledger" }, { target: "/ledger", method: "PUT" }],
  "get /metrics": [{ target: "/metrics" }, { target: "/metrics", method: "PUT" }],
  "get /openapi.json": [
    { target: "/openapi.json" },
    { target: "/openapi.json", headers: { "if-none-match": "*" } },
    { target: "/openapi.json", method: "PUT" },
  ],
  "get /docs": [
    { target: "/docs" },
    { target: "/docs", headers: { "if-none-match": "*" } },
    { target: "/docs", method: "PUT" },
  ],
};

/** It has to say what is in an hour that only it has, before an event is added to that. */
const COLD_STORE_AWAY: Requests = {
  "post /analytics": [{ target: `/analytics?timestamp=${OLD}&user=ann&click&stream=${STREAM}` }],
  "post /events": [batch(events(NOON) + LATE)],
  "get /series": [{ target: `/series?${RANGE}` }],
  "get /streams": [{ target: `/streams?${RANGE}` }],
  "get /ledger": [{ target: "/ledger" }],
};

const FAULTY: Requests = {
  "get /pixel.gif": [{ target: "/pixel.gif?user=ann" }],
  "post /beacon": [{ target: "/beacon?user=ann&click" }],
  "get /r": [{ target: `/r?${PAGE}&user=ann` }],
  "post /analytics": [{ target: `/analytics?${EVENT}` }],
  "get /analytics": [{ target: `/analytics?timestamp=${OLD}` }],
  "post /events": [batch(events(NOON))],
  "get /series": [{ target: `/series?${RANGE}` }],
  "get /streams": [{ target: `/streams?${RANGE}` }],
  "get /live": [{ target: "/live" }],
  "get /ledger": [{ target: "/ledger" }],
};

const UNANSWERED: Requests = {
  "get /pixel.gif": FAULTY["get /pixel.gif"]!,
  "post /beacon": FAULTY["post /beacon"]!,
  "get /r": FAULTY["get /r"]!,
  "post /analytics": FAULTY["post /analytics"]!,
  "post /events": FAULTY["post /events"]!,
};

const { "post /events": _batch, ...ONE_EVENT } = UNANSWERED;
const RANGES: Requests = { "get /series": FAULTY["get /series"]!, "get /streams": FAULTY["get /streams"]! };
const READS: Requests = { "get /analytics": FAULTY["get /analytics"]!, ...RANGES };

/** Answers with these reasons for a refusal have other statuses than 503. */
const OTHER_STATUS: readonly RefusalReason[] = ["invalid", "unauthorized", "rate_limited"];
/** These take hundreds of connections: service/live.test.ts provokes them. */
const OF_MANY_VIEWERS = ["GET /live 429 too_many_feeds", "GET /live 503 overloaded"];

const STOPPING: Requests = { "get /live": [{ target: "/live" }] };

const BOTH_AWAY: Requests = { ...FAULTY, "get /readyz": [{ target: "/readyz" }] };

/** A pipeline in which every part fails, by default unexpectedly. */
function faulty(pipeline: Pipeline, error = new Error("a fault")): Pipeline {
  return new Proxy(pipeline, {
    get(target, name) {
      if (name === "ledger") return Reflect.get(target, name, target);
      throw error;
    },
  });
}

/** A pipeline that refuses all events. */
function refusing(pipeline: Pipeline, reason: RefusalReason): Pipeline {
  const refusal = { reason, retryAfterS: 1 };
  return new Proxy(pipeline, {
    get(target, name) {
      if (name === "submit") return async () => refusal;
      if (name !== "submitAll") return Reflect.get(target, name, target);
      return async (all: readonly unknown[]) => {
        return { accepted: 0, duplicates: 0, refused: [{ refusal, positions: [...all.keys()] }], unknown: [] };
      };
    },
  });
}

/** A pipeline whose hot store does not answer in time. */
function unanswered(pipeline: Pipeline): Pipeline {
  return new Proxy(pipeline, {
    get(target, name) {
      if (name === "submit") return async () => UNKNOWN;
      if (name !== "submitAll") return Reflect.get(target, name, target);
      return async (all: readonly unknown[]) => {
        return { accepted: 0, duplicates: 0, refused: [], unknown: [...all.keys()] };
      };
    },
  });
}

function stopping(pipeline: Pipeline): Pipeline {
  return new Proxy(pipeline, {
    get(target, name) {
      return name === "stopping" ? AbortSignal.abort() : Reflect.get(target, name, target);
    },
  });
}

describe("every answer that is described", () => {
  const mode = pipelineModes()[0]!;
  const seen = new ApiDescription(document);
  let site: Awaited<ReturnType<typeof mode.open>>;
  let instance: Instance;

  function appOf(pipeline: Pipeline, access?: Access) {
    const { log } = instance;
    const browserSettings = readConfig({ REDIRECT_ORIGINS, ...(access && { REQUIRE_KEYS: "write" }) });
    const app = createApp({
      access,
      pipeline,
      sources: [],
      log,
      metrics: new Metrics(),
      now: site.clock.now,
      sharesPort: false,
      idleTimeoutS: 30,
      addresses: new ClientAddresses(0, log),
      browserSettings,
    });
    // Without a socket nobody has an address.
    Object.assign(app, { server: { requestIP: () => ({ address: ADDRESS }), timeout: () => {} } });
    return app;
  }

  beforeAll(async () => {
    site = await mode.open();
    instance = await site.start();
  });
  afterAll(async () => {
    instance.guard.intercept = undefined;
    await site.close();
    await mode.end();
  });

  test("is of a request that was routed synchronously: Elysia takes a hook for async by its text", () => {
    expect(appOf(instance.pipeline).fetch.constructor.name).toBe("Function");
  });

  async function expectDescribed(app: ReturnType<typeof appOf>, requests: Requests): Promise<void> {
    for (const [name, some] of Object.entries(requests)) {
      const described = api.operations.find(({ method, path }) => `${method} ${path}` === name)!;
      for (const { target, method = described.method.toUpperCase(), headers = {}, body = null } of some) {
        const sent = typeof body === "function" ? body() : body;
        const request = new Request(`http://localhost${target}`, { method, headers, body: sent });
        const answer = await answerOf(await app.handle(request));
        expect({ target, violations: seen.violations(described, answer) }).toEqual({
          target,
          violations: [],
        });
      }
    }
  }

  /** Checks the answers about keys and limits. */
  async function expectAccessDescribed(pipeline: Pipeline, log: Log): Promise<void> {
    const app = appOf(pipeline, await accessWith(log));
    await expectDescribed(app, askedWith({}));
    await expectDescribed(app, askedWith(bearing(newToken(randomBytes))));
    for (const key of [KEYS.write, KEYS.read, KEYS.admin]) await expectDescribed(app, askedWith(bearing(key)));
    await expectDescribed(app, OF_BROWSERS);
    for (let i = 0; i < 2; i++) await expectDescribed(app, askedWith(bearing(KEYS.limited)));
    const limited = appOf(pipeline, await accessWith(log, true, HOUR_KEY));
    for (let i = 0; i < 2; i++) await expectDescribed(limited, OF_BROWSERS);
    await expectDescribed(appOf(pipeline, await accessWith(log, false)), askedWith({}));
  }

  test("is of a route, and every route is described", () => {
    const described = api.operations.map(({ method, path }) => `${method.toUpperCase()} ${path}`);
    const app = appOf(instance.pipeline);
    const routes = app.routes.map(({ method, path }) => `${method} ${path}`);
    // The parts of the pages are not part of the API.
    const own = routes.filter((route) => !/^GET .(docs|dashboard)./.test(route));
    expect(own.sort()).toEqual(described.sort());
    // A route that is missing in the list of scopes is closed.
    expect(app.routes.filter(({ method, path }) => accessOf(method, path) === "unlisted")).toEqual([]);
  });

  test("can be had", async () => {
    const { guard, pipeline } = instance;
    const app = appOf(pipeline);
    await expectDescribed(app, WELL);
    await expectDescribed(appOf(faulty(pipeline)), FAULTY);
    await expectDescribed(appOf(unanswered(pipeline)), UNANSWERED);
    for (const reason of REFUSAL_REASONS.filter((name) => !OTHER_STATUS.includes(name))) {
      await expectDescribed(appOf(refusing(pipeline, reason)), UNANSWERED);
    }
    await expectDescribed(appOf(faulty(pipeline, new TooManyStreamsError(STREAM))), ONE_EVENT);
    await expectDescribed(appOf(faulty(pipeline, new HotUnavailableError("it does not answer", false))), READS);
    await expectDescribed(appOf(faulty(pipeline, new RangeTooLargeError("too many events"))), RANGES);
    await expectDescribed(appOf(faulty(pipeline, new SlotsFullError())), RANGES);
    await expectAccessDescribed(pipeline, instance.log);
    await expectDescribed(appOf(stopping(pipeline)), STOPPING);
    await instance.take(click("ann", OLD));
    await instance.drained();
    expect(await pipeline.retire()).toBeGreaterThan(0);
    guard.intercept = coldStoreAway;
    await expectDescribed(app, COLD_STORE_AWAY);
    guard.intercept = async ({ store }) => {
      throw unavailable(store);
    };
    await expectDescribed(app, BOTH_AWAY);
    expect(Array.from(seen.listed.difference(seen.seen))).toEqual(OF_MANY_VIEWERS);
  });
});
