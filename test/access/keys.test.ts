/**
 * API keys under attack, over a real socket and in both modes: without a sufficient key nothing is counted, nothing is
 * revealed, and nothing helps to guess a key.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { createConnection } from "mysql2/promise";
import { createClient } from "redis";
import { Hourglass, HourglassError } from "../../examples/client.ts";
import { withColdStore } from "../../src/cli/shared/with-stores.ts";
import { newToken, type Scope } from "../../src/domain/api-key.ts";
import { DAY_MS, HOUR_MS } from "../../src/domain/event.ts";
import { KeyRing } from "../../src/http/access/key-ring.ts";
import { API_DOCUMENT } from "../../src/http/openapi/document.ts";
import { systemClock } from "../../src/runtime/clock.ts";
import { readConfig } from "../../src/settings/read-config.ts";
import type { ColdStore } from "../../src/store/cold.ts";
import { RecordedLog } from "../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { type CommandResult, runCommand } from "../harness/service/command.ts";
import { EventStream } from "../harness/service/event-stream.ts";
import { type Answer, ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const AT = Date.UTC(2026, 0, 31, 12, 30);
const RANGE = `from=${AT - 3_600_000}&to=${AT + 3_600_000}`;
/** 5 s are promised, of a machine that is not busy. */
const REVOKED_WITHIN_MS = 15_000;
const SLOWLY = { timeoutMs: 30_000 };

interface Key {
  readonly id: string;
  readonly key: string;
}

/** The requests of each scope, which are answered with 2xx to whoever may. */
const BY_SCOPE: Readonly<Record<Scope, readonly (readonly [method: string, target: string])[]>> = {
  write: [["POST", `/analytics?timestamp=${AT}&user=ann&click&stream=scopes`]],
  read: [
    ["GET", `/analytics?timestamp=${AT}&stream=scopes`],
    ["GET", `/series?${RANGE}&stream=scopes`],
    ["GET", `/streams?${RANGE}&stream=scopes*`],
  ],
  admin: [
    ["GET", "/ledger"],
    ["GET", "/metrics"],
  ],
};

function errorOf({ body }: Answer): { code: string; message: string; field?: string } {
  return JSON.parse(body).error;
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`API keys, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    let settings: Readonly<Record<string, string>>;
    let all: Key;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ REQUIRE_KEYS: "write,read,admin" });
      settings = site.commandSettings(service);
      all = await created("--scope", "write,read,admin");
    });
    afterAll(() => site.close());

    const keys = (...args: readonly string[]) => runCommand(settings, "keys", ...args);

    /** Once the service knows of it. */
    async function created(...args: readonly string[]): Promise<Key> {
      const { output, errors, exitCode } = await keys("create", "--name", "test", "--json", ...args);
      expect([errors, exitCode]).toEqual(["", 0]);
      const key = JSON.parse(output) as Key;
      await waitFor("the service to know the key", async () => (await asKnown(key)) !== "key_invalid", SLOWLY);
      return key;
    }

    /** Whatever its scope is, and without an effect. */
    async function asKnown({ key }: Key): Promise<string> {
      const answer = await send("GET", "/analytics", key);
      return errorOf(answer).code;
    }

    function send(method: string, target: string, key?: string, headers: readonly string[] = []): Promise<Answer> {
      const authorization = key === undefined ? [] : [`Authorization: Bearer ${key}`];
      return ask(service.port, { method, target, headers: [...authorization, ...headers] });
    }

    function sendEvents(key: string | undefined, events: readonly object[], query = ""): Promise<Answer> {
      const body = events.map((event) => `${JSON.stringify(event)}\n`).join("");
      const head = ["Content-Type: application/x-ndjson", `Content-Length: ${Buffer.byteLength(body)}`];
      const authorization = key === undefined ? [] : [`Authorization: Bearer ${key}`];
      return ask(service.port, {
        method: "POST",
        target: `/events${query}`,
        headers: [...authorization, ...head],
        body,
      });
    }

    const event = (stream: string, user = "ann") => ({ timestamp: AT, user, event: "click", stream });

    async function clicksOf(stream: string): Promise<number> {
      const { status, body } = await send("GET", `/analytics?timestamp=${AT}&stream=${stream}`, all.key);
      expect(status).toBe(200);
      return Number(/^clicks,(\d+)$/m.exec(body)![1]);
    }

    async function refusedEvents(): Promise<Record<string, number>> {
      return JSON.parse((await send("GET", "/ledger", all.key)).body).instance.refused;
    }

    /** Each answered with this status, and nothing of it counted. */
    async function expectRefused(status: number, code: string, sendings: readonly (() => Promise<Answer>)[]) {
      const accepted = async () => JSON.parse((await send("GET", "/ledger", all.key)).body).instance.accepted;
      const before = await accepted();
      for (const [i, sending] of sendings.entries()) {
        const answer = await sending();
        expect([i, answer.status, errorOf(answer).code]).toEqual([i, status, code]);
        if (code !== "stream_not_allowed") expect(answer.headers.get("www-authenticate")).toStartWith("Bearer ");
      }
      expect(await accepted()).toBe(before);
    }

    test("every route that reads or writes counts requires a key", async () => {
      const guarded = Object.entries(API_DOCUMENT.paths).flatMap(([path, item]) =>
        (["get", "post"] as const).filter((m) => item[m]?.security).map((m) => [m.toUpperCase(), path] as const),
      );
      expect(guarded.length).toBeGreaterThanOrEqual(7);
      await expectRefused(
        401,
        "key_missing",
        guarded.map(
          ([method, path]) =>
            () =>
              send(method, path),
        ),
      );
      for (const path of ["/livez", "/readyz", "/openapi.json", "/docs", "/hourglass.js"]) {
        expect([path, (await send("GET", path)).status]).toEqual([path, 200]);
      }
    });

    test("anything but a valid key is rejected, however it looks", async () => {
      const other = await created("--scope", "write,read,admin");
      const { key, id } = all;
      const changed = (at: number) => key.slice(0, at) + (key[at] === "A" ? "B" : "A") + key.slice(at + 1);
      const sha256 = new Bun.CryptoHasher("sha256").update(key).digest("hex");
      const wrong: readonly string[] = [
        ...["", "Bearer", "Bearer ", `Basic ${btoa(`${id}:${key}`)}`, `Token ${key}`, key, `Bearer${key}`],
        ...[3, 18, 19, 20, 40, 61, 62].map((at) => `Bearer ${changed(at)}`),
        ...[`Bearer ${key.slice(0, -1)}`, `Bearer ${key}A`, `Bearer ${key} ${key}`, `Bearer ${key},${key}`],
        ...[`Bearer ${key.toUpperCase()}`, `Bearer "${key}"`, `Bearer ${encodeURIComponent(`${key}\0`)}`],
        ...[`Bearer hg_${id}_${other.key.slice(20)}`, `Bearer hg_${other.id}_${key.slice(20)}`],
        ...[`Bearer ${id}`, `Bearer hg_${id}_`, `Bearer hg_${id}_${sha256.slice(0, 43)}`, `Bearer ${sha256}`],
        ...[`Bearer ${newToken(randomBytes).token}`, `Bearer hg_${"0".repeat(16)}_${"A".repeat(43)}`, "Bearer *"],
        ...[`Bearer hg_' OR 1=1 --_${"A".repeat(43)}`, `Bearer ${"A".repeat(8_000)}`, "Bearer __proto__"],
      ];
      const refusedBefore = (await refusedEvents())["unauthorized"]!;
      const target = `/analytics?timestamp=${AT}&user=ann&click&stream=attack`;
      const sendings = wrong.flatMap((authorization) => {
        const headers = [`Authorization: ${authorization}`];
        return [
          () => ask(service.port, { method: "POST", target, headers }),
          () => ask(service.port, { method: "GET", target: `/series?${RANGE}&stream=attack`, headers }),
          () => ask(service.port, { method: "GET", target: "/ledger", headers }),
        ];
      });
      await expectRefused(401, "key_invalid", sendings);
      expect((await refusedEvents())["unauthorized"]! - refusedBefore).toBe(wrong.length);
      expect(await clicksOf("attack")).toBe(0);
    });

    test("a key in another place, or given twice, is rejected", async () => {
      const target = `/analytics?timestamp=${AT}&user=ann&click&stream=attack`;
      for (const where of [`&key=${all.key}`, `&authorization=Bearer%20${all.key}`, `&access_token=${all.key}`]) {
        expect((await send("POST", `${target}${where}`)).status).toBe(401);
      }
      for (const header of ["X-API-Key", "Cookie", "Proxy-Authorization"]) {
        expect((await send("POST", target, undefined, [`${header}: Bearer ${all.key}`])).status).toBe(401);
      }
      const twice = [`Authorization: Bearer ${all.key}`, `Authorization: Bearer ${newToken(randomBytes).token}`];
      expect((await send("POST", target, undefined, twice)).status).toBe(401);
      expect(await clicksOf("attack")).toBe(0);
    });

    test("the scheme may be in any case", async () => {
      for (const scheme of ["Bearer", "bearer", "BEARER", "Bearer  "]) {
        const headers = [`Authorization: ${scheme} ${all.key}`];
        expect((await ask(service.port, { method: "GET", target: "/ledger", headers })).status).toBe(200);
      }
    });

    test("no spelling of a path bypasses the check", async () => {
      const query = `?timestamp=${AT}&user=ann&click&stream=attack`;
      const paths = [
        ...["/analytics/", "//analytics", "/./analytics", "/x/../analytics", "/%61nalytics", "/analytics%2F"],
        ...["/Analytics", "/analytics;a", "/analytics//", "/analytics/.", "/events/", "/EVENTS", "http://x/analytics"],
      ];
      for (const path of paths) {
        for (const method of ["POST", "GET", "HEAD"]) {
          const { status } = await send(method, path + query);
          expect([path, method, [400, 401, 404, 405].includes(status), status]).toEqual([path, method, true, status]);
        }
      }
      for (const path of ["/ledger/", "/metrics/", "//ledger", "/series/", "/streams/"]) {
        expect([path, [401, 404].includes((await send("GET", path)).status)]).toEqual([path, true]);
      }
      const overrides = ["X-HTTP-Method-Override: POST", "X-Original-URL: /livez", "X-Forwarded-Uri: /livez"];
      expect((await send("GET", `/analytics${query}`, undefined, overrides)).status).toBe(401);
      expect((await send("HEAD", "/ledger")).status).toBe(401);
      expect(await clicksOf("attack")).toBe(0);
    });

    test("a scope grants its own routes and no others", async () => {
      for (const scope of Object.keys(BY_SCOPE) as Scope[]) {
        const { key } = await created("--scope", scope);
        for (const [asked, requests] of Object.entries(BY_SCOPE)) {
          if (asked === scope) {
            for (const [method, target] of requests) {
              const { status } = await send(method, target, key);
              expect([scope, target, status]).toEqual([scope, target, method === "POST" ? 204 : 200]);
            }
            continue;
          }
          const sendings = requests.map(
            ([method, target]) =>
              () =>
                send(method, target, key),
          );
          await expectRefused(403, "scope_missing", sendings);
        }
        const batch = await sendEvents(key, [event("scopes")]);
        expect([scope, batch.status]).toEqual([scope, scope === "write" ? 200 : 403]);
      }
    });

    test("a key restricted to streams writes to no others, in single requests or in batches", async () => {
      const { key } = await created("--scope", "write,read", "--stream", "shop.*", "--stream", "blog");
      const target = (stream: string) => `/analytics?timestamp=${AT}&user=ann&click${stream}`;
      for (const stream of ["&stream=shop.spring", "&stream=blog", "&stream=shop."]) {
        expect([stream, (await send("POST", target(stream), key)).status]).toEqual([stream, 204]);
      }
      const others = [
        "",
        "&stream=shop",
        "&stream=shopping",
        "&stream=Shop.spring",
        "&stream=blog.a",
        "&stream=a.blog",
      ];
      const before = await refusedEvents();
      await expectRefused(
        403,
        "stream_not_allowed",
        others.map((stream) => () => send("POST", target(stream), key)),
      );
      const events = [event("shop.spring", "bob"), event("news"), event("blog", "bob"), event("shop"), { bad: 1 }];
      const answer = await sendEvents(key, events);
      expect(answer.status).toBe(207);
      const { accepted, invalid, errors } = JSON.parse(answer.body);
      expect([accepted, invalid]).toEqual([2, 3]);
      expect(errors.map(({ index, code }: { index: number; code: string }) => [index, code])).toEqual([
        [1, "stream_not_allowed"],
        [3, "stream_not_allowed"],
        [4, "invalid_parameter"],
      ]);
      const atomic = await sendEvents(key, events, "?atomic=1");
      expect(atomic.status).toBe(422);
      const after = await refusedEvents();
      expect(after["unauthorized"]! - before["unauthorized"]!).toBe(others.length + 2 + 2);
      expect(after["invalid"]! - before["invalid"]!).toBe(1 + 3);
      expect([await clicksOf("shop.spring"), await clicksOf("blog")]).toEqual([2, 2]);
      for (const stream of ["shop", "news", "default", "blog.a"]) expect(await clicksOf(stream)).toBe(0);
    });

    test("a key restricted to streams reads no others, nor a branch that includes others", async () => {
      const { key } = await created("--scope", "read", "--stream", "shop.*,blog");
      const read = (stream: string) => send("GET", `/series?${RANGE}&stream=${stream}`, key);
      for (const stream of ["shop.spring", "shop.*", "shop.spring.*", "shop.spr*", "blog"]) {
        expect([stream, (await read(stream)).status]).toEqual([stream, 200]);
      }
      for (const stream of ["shop.*", "shop.spring*"]) {
        expect((await send("GET", `/streams?${RANGE}&stream=${stream}`, key)).status).toBe(200);
      }
      await expectRefused(403, "stream_not_allowed", [
        ...["shop", "*", "shop*", "s*", "blog*", "news", "default"].map((stream) => () => read(stream)),
        () => send("GET", `/series?${RANGE}`, key),
        () => send("GET", `/streams?${RANGE}`, key),
        ...["shop*", "blog*", "s*", "news.*"].map(
          (stream) => () => send("GET", `/streams?${RANGE}&stream=${stream}`, key),
        ),
        () => send("GET", `/analytics?timestamp=${AT}`, key),
        () => send("GET", `/analytics?timestamp=${AT}&stream=news`, key),
      ]);
    });

    test("a revoked key stops working soon, and for good", async () => {
      const { key, id } = await created("--scope", "write");
      const target = `/analytics?timestamp=${AT}&user=ann&click&stream=revoked`;
      expect((await send("POST", target, key)).status).toBe(204);
      const revoked = await keys("revoke", id);
      expect([revoked.exitCode, revoked.output]).toEqual([0, `${id}: revoked\n`]);
      const startedMs = performance.now();
      await waitFor("it to be refused", async () => (await send("POST", target, key)).status === 401);
      expect(performance.now() - startedMs).toBeLessThan(REVOKED_WITHIN_MS);
      const counted = await clicksOf("revoked");
      await expectRefused(401, "key_invalid", [() => send("POST", target, key)]);
      expect(await clicksOf("revoked")).toBe(counted);
      expect((await keys("revoke", id)).exitCode).toBe(1);
      expect((await keys("revoke", "0".repeat(16))).exitCode).toBe(1);
      expect((await keys("revoke", key)).exitCode).not.toBe(0);
    });

    test("browser routes, which need no key, count only in BROWSER_STREAMS", async () => {
      for (const [method, target] of [
        ["GET", "/pixel.gif?stream=shop.a"],
        ["POST", "/beacon?stream=shop.a&click"],
      ] as const) {
        const answer = await send(method, target);
        expect([answer.status, errorOf(answer).code]).toEqual([403, "stream_not_allowed"]);
        // A key is nothing that they look at.
        expect((await send(method, target, all.key)).status).toBe(403);
      }
      expect(await clicksOf("shop.a")).toBe(0);
    });

    test("secrets are never stored, logged or listed", async () => {
      const secrets = [all.key, all.key.slice(20), all.key.slice(20, 40)];
      const sources = [service.log(), (await keys("list")).output, (await keys("list", "--json")).output];
      sources.push(await storedText(site, service));
      for (const [i, text] of sources.entries()) {
        for (const secret of secrets) expect([i, text.includes(secret)]).toEqual([i, false]);
      }
      expect(sources.at(-1)).toContain(all.id);
      expect((await keys("list")).output).toContain(all.id);
    });

    test("the client sends its key, and reports an invalid one", async () => {
      const client = new Hourglass(service.url, { key: all.key });
      await client.count({ timestamp: AT, user: "ann", event: "click", stream: "client" });
      expect(await client.hour(AT, "client")).toMatchObject({ clicks: 1 });
      const stranger = new Hourglass(service.url).count({ timestamp: AT, user: "ann", event: "click" });
      await expect(stranger).rejects.toBeInstanceOf(HourglassError);
      await expect(stranger).rejects.toMatchObject({ status: 401, code: "key_missing" });
    });

    test("import sends its key", async () => {
      const file = join(service.dataDir, "..", "events.ndjson");
      writeFileSync(file, `${JSON.stringify(event("imported"))}\n`);
      const args = ["import", "--url", service.url, "--retry-for", "1", file];
      const without = await runCommand({ DATA_DIR: join(service.dataDir, "..") }, ...args);
      expect([without.exitCode, without.errors]).toEqual([2, expect.stringContaining("401")]);
      const withKey = await runCommand({ DATA_DIR: join(service.dataDir, ".."), API_KEY: all.key }, ...args);
      expect([withKey.errors, withKey.exitCode]).toEqual([expect.any(String), 0]);
      expect(await clicksOf("imported")).toBe(1);
    });

    test("a replay of poison sends its key", async () => {
      const body = JSON.stringify(event("replayed"));
      const piece = { origin: "test", messageId: "m", position: 0, eventId: "m#0", body, reason: "a test" };
      const poison = [{ ...piece, digest: "ab".repeat(32) }];
      await withColdStore(readConfig(settings), (cold) => cold.setAsidePoison(poison));
      const replay = (more: Readonly<Record<string, string>>) =>
        runCommand({ ...settings, ...more }, "poison", "replay", "--all", "--url", service.url);
      const without = await replay({});
      expect([without.exitCode, without.output]).toEqual([1, expect.stringContaining("requires an API key")]);
      const { key } = await created("--scope", "write");
      expect(await replay({ API_KEY: key })).toMatchObject({ exitCode: 0, output: "1 replayed, 0 refused\n" });
      expect(await clicksOf("replayed")).toBe(1);
    });

    const watch = (stream: string, { key }: Key) =>
      EventStream.open(`${service.url}/live?stream=${stream}`, { authorization: `Bearer ${key}` });

    /** Returns how many ms after `fromMs` it ended. */
    async function endsWithin(viewer: EventStream, fromMs: number): Promise<number> {
      await viewer.drain();
      return performance.now() - fromMs;
    }

    test("a feed ends soon after its key is revoked, and continues for others", async () => {
      const [revoked, other] = [await created("--scope", "read"), await created("--scope", "read")];
      const [viewer, onlooker] = [await watch("watched", revoked), await watch("watched", other)];
      expect(await viewer.next<object>()).toHaveProperty("ledger.instance.accepted");
      expect((await keys("revoke", revoked.id)).exitCode).toBe(0);
      expect(await endsWithin(viewer, performance.now())).toBeLessThan(REVOKED_WITHIN_MS);
      expect((await send("GET", "/live?stream=watched", revoked.key)).status).toBe(401);
      const seen = onlooker.count;
      while (onlooker.count < seen + 2) expect(await onlooker.next()).toBeDefined();
      await onlooker.close();
    });

    test("a feed ends soon after its key expires", async () => {
      const startMs = performance.now();
      await created("--scope", "read");
      // Long enough to create one, to have it known and to watch.
      const expiresAt = Math.ceil(Date.now() + 2_000 + 3 * (performance.now() - startMs));
      const key = await created("--scope", "read", "--expires", String(expiresAt));
      const viewer = await watch("watched", key);
      expect(await viewer.next()).toBeDefined();
      const expiresMs = performance.now() + expiresAt - Date.now();
      expect(await endsWithin(viewer, expiresMs)).toBeLessThan(REVOKED_WITHIN_MS);
      expect(Date.now()).toBeGreaterThanOrEqual(expiresAt);
    });

    test("a key restricted to streams gets their live counts, and no ledger", async () => {
      const key = await created("--scope", "read", "--stream", "shop.*");
      const [viewer, whole] = [await watch("shop.*", key), await watch("shop.*", all)];
      expect(await whole.next<object>()).toHaveProperty("ledger");
      const message = await viewer.next<object>();
      expect(message).toHaveProperty("hour.clicks");
      expect(message).not.toHaveProperty("ledger");
      expect(JSON.stringify(message)).not.toMatch(/writer|accepted|persisted/);
      await Promise.all([viewer.close(), whole.close()]);
    });

    test("the command explains what is wrong with its arguments", async () => {
      const faults: readonly (readonly string[])[] = [
        ["create", "--name", "a"],
        ["create", "--scope", "write"],
        ["create", "--name", "a", "--scope", "root"],
        ["create", "--name", "a", "--scope", ""],
        ["create", "--name", "a\nb", "--scope", "write"],
        ["create", "--name", "a", "--scope", "write", "--stream", "a b"],
        ["create", "--name", "a", "--scope", "write", "--stream", "*.shop"],
        ["create", "--name", "a", "--scope", "write", "--stream", "shop*"],
        ["create", "--name", "a", "--scope", "admin", "--stream", "shop"],
        ["create", "--name", "a", "--scope", "write", "--limit", "10"],
        ["create", "--name", "a", "--scope", "write", "--expires", "soon"],
        ["create", "--name", "a", "--scope", "write", "--expires", "2020-01-01"],
        ["revoke"],
      ];
      const before = (await keys("list")).output;
      const outcomes: CommandResult[] = [];
      // A few at a time: each is a process.
      for (let i = 0; i < faults.length; i += 4) {
        outcomes.push(...(await Promise.all(faults.slice(i, i + 4).map((args) => keys(...args)))));
      }
      for (const [i, { exitCode, output, errors }] of outcomes.entries()) {
        expect([faults[i], exitCode !== 0, output, errors !== ""]).toEqual([faults[i], true, "", true]);
      }
      expect((await keys("list")).output).toBe(before);
    });

    if (name === "embedded") return;

    test("MySQL down: keys stay valid, even on an instance that starts meanwhile", async () => {
      const { mariaDb } = site.servers!;
      const { key, id } = await created("--scope", "write");
      // Of an hour that is over MySQL would have to be asked, and this one may be over in a moment.
      const target = `/analytics?timestamp=${Date.now() + HOUR_MS}&user=ann&click&stream=away`;
      await mariaDb.kill();
      const second = await site.start({ REQUIRE_KEYS: "write" });
      for (const { port } of [service, second]) {
        const post = (token: string) =>
          ask(port, { method: "POST", target, headers: [`Authorization: Bearer ${token}`] });
        expect((await post(key)).status).toBe(204);
        expect((await post(newToken(randomBytes).token)).status).toBe(401);
      }
      await mariaDb.start();
      expect((await keys("revoke", id)).exitCode).toBe(0);
      for (const { port } of [service, second]) {
        const headers = [`Authorization: Bearer ${key}`];
        const post = () => ask(port, { method: "POST", target, headers });
        await waitFor("the key to be refused", async () => (await post()).status === 401);
      }
    });
  });
}

/** All that lies about keys in the stores. */
async function storedText({ servers }: Site, { dataDir }: Service): Promise<string> {
  if (servers === undefined) {
    const database = new Database(join(dataDir, "cold.sqlite"), { readonly: true, strict: true });
    const rows = database.query("SELECT * FROM api_keys").all();
    database.close();
    return JSON.stringify(rows);
  }
  const connection = await createConnection(servers.mariaDb.url);
  const [rows] = await connection.query("SELECT * FROM api_keys");
  await connection.end();
  const redis = createClient({ url: servers.redis.url });
  await redis.connect();
  const copy = await redis.get("hg:{0}:api-keys");
  redis.destroy();
  expect(copy).toContain("sha256");
  return JSON.stringify(rows) + copy;
}

describe("settings", () => {
  test("for scopes without a required key, no key is checked; browsers count in BROWSER_STREAMS", async () => {
    const site = await MODES[0]!.open();
    try {
      const { port } = await site.start({ REQUIRE_KEYS: "write", BROWSER_STREAMS: "web.*" });
      const statusOf = async (method: string, target: string, headers: readonly string[] = []) =>
        (await ask(port, { method, target, headers })).status;
      const wrong = ["Authorization: Bearer nonsense"];
      expect(await statusOf("GET", `/analytics?timestamp=${AT}`, wrong)).toBe(200);
      expect(await statusOf("GET", "/ledger", wrong)).toBe(200);
      expect(await statusOf("POST", `/analytics?timestamp=${AT}&user=ann&click`)).toBe(401);
      expect(await statusOf("GET", "/pixel.gif?user=ann&stream=web.a")).toBe(200);
      expect(await statusOf("GET", "/pixel.gif?user=ann&stream=web")).toBe(403);
      expect(await statusOf("POST", "/beacon?user=ann&click&stream=web.a")).toBe(204);
      expect(await statusOf("POST", "/beacon?user=ann&click")).toBe(403);
    } finally {
      await site.close();
    }
  });
});

describe("pages of other origins", () => {
  test("may send a preflight for a key, and read why they were refused", async () => {
    const site = await MODES[0]!.open();
    try {
      const { port } = await site.start({ REQUIRE_KEYS: "read", CORS_ORIGINS: "*", ADDRESS_LIMIT: "1/h" });
      const target = `/series?${RANGE}`;
      const headers = ["Origin: https://page.example", "Access-Control-Request-Method: GET"];
      const preflight = await ask(port, { method: "OPTIONS", target, headers });
      expect(preflight.status).toBe(204);
      expect(preflight.headers.get("access-control-allow-headers")).toContain("authorization");
      for (const status of [401, 429]) {
        const answer = await ask(port, { method: "GET", target, headers: ["Origin: https://page.example"] });
        expect([answer.status, answer.headers.get("access-control-allow-origin")]).toEqual([status, "*"]);
        expect(answer.headers.get("access-control-expose-headers")).toContain("ratelimit-policy");
      }
    } finally {
      await site.close();
    }
  });
});

describe("the duration of a refusal", () => {
  /** Creates a key ring with these keys, which looks keys up as for a request. */
  function ringOf(tokens: readonly ReturnType<typeof newToken>[]): KeyRing {
    const keys = tokens.map(({ id, sha256 }) => ({
      ...{ id, sha256, name: "a", scopes: ["write"], streams: [], limit: undefined },
      ...{ createdAt: 0, expiresAt: undefined, revokedAt: undefined },
    }));
    const cold = { open: async () => {}, apiKeys: async () => keys } as unknown as ColdStore;
    return new KeyRing({ cold, store: undefined, log: new RecordedLog(), clock: systemClock() });
  }

  test("reveals neither known ids nor how much of a secret is right", async () => {
    const tokens = Array.from({ length: 100 }, () => newToken(randomBytes));
    const ring = ringOf(tokens);
    await ring.refresh();
    const { token } = tokens[50]!;
    const flipped = (at: number) => token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
    const guesses = [newToken(randomBytes).token, flipped(20), flipped(40), flipped(62)];
    expect(guesses.map((guess) => ring.find(guess))).toEqual([undefined, undefined, undefined, undefined]);
    // In turns, so that all have the same share of whatever else the machine does; the median of many.
    const takenUs = guesses.map(() => [] as number[]);
    const rounds = 300;
    const perRound = 100;
    for (let round = 0; round < rounds; round++) {
      for (const [i, guess] of guesses.entries()) {
        const startMs = performance.now();
        for (let n = 0; n < perRound; n++) ring.find(guess);
        takenUs[i]!.push(((performance.now() - startMs) * 1_000) / perRound);
      }
    }
    const medians = takenUs.map((times) => times.sort((a, b) => a - b)[rounds / 2]!);
    expect(Math.max(...medians) / Math.min(...medians)).toBeLessThan(1.5);
  });

  test("a key is found, until it has expired", async () => {
    const { id, token, sha256 } = newToken(randomBytes);
    let now = 0;
    const key = { id, sha256, name: "a", scopes: ["read"], streams: [], limit: undefined };
    const times = { createdAt: 0, expiresAt: DAY_MS, revokedAt: undefined };
    const cold = {
      open: async () => {},
      apiKeys: async () => [{ ...key, ...times }],
    } as unknown as ColdStore;
    const ring = new KeyRing({
      cold,
      store: undefined,
      log: new RecordedLog(),
      clock: { ...systemClock(), now: () => now },
    });
    expect(ring.isKnown).toBe(false);
    await ring.refresh();
    expect(ring.find(token)).toMatchObject({ id });
    now = DAY_MS - 1;
    expect(ring.find(token)).toMatchObject({ id });
    now = DAY_MS;
    expect(ring.find(token)).toBeUndefined();
  });
});
