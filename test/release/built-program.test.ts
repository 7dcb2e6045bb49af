/**
 * Each feature once through the built program, in both modes: what is embedded, compressed, loaded late or started as a
 * thread may be missing there though not in the source. Details are tested from source.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { Hourglass } from "../../examples/client.ts";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { dataFile } from "../harness/service/access-log.ts";
import { type CommandResult, startCommand } from "../harness/service/command.ts";
import { buildProgram, type Program } from "../harness/service/program.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SETUP_TIMEOUT_MS = 240_000;
const BATCH = 10_000;
/** One in so many lines is no event. */
const BAD_EVERY = 100;
const LOG_EVENTS = 10_000;
const HOUR = hourOf(Date.now()) - HOUR_MS;
const LOG = dataFile("access.log.gz").name!;
const FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const REDIRECT_SECRET = "the redirect secret";

interface Sums {
  readonly clicks: number;
  readonly impressions: number;
  readonly unique_users: number;
  readonly unique_clickers: number;
  readonly unique_viewers: number;
}

function lineOf(i: number): string {
  if (i % BAD_EVERY === BAD_EVERY - 1) return `{"timestamp": ${HOUR}, "user": ""}`;
  const event = i % 10 === 0 ? "click" : "impression";
  const users = { user: `user-${i % 500}`, event, stream: "shop.spring", id: `line-${i}` };
  return JSON.stringify({ timestamp: HOUR + i, ...users });
}

let program: Program;
beforeAll(async () => {
  program = await buildProgram();
}, SETUP_TIMEOUT_MS);
afterAll(() => program.delete());

for (const { name, needs, open } of MODES) {
  describeWithServers(`the built program, ${name}`, needs, () => {
    const folder = mkdtempSync(join(tmpdir(), "hourglass-built-"));
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open(program.path);
      service = await site.start({ REDIRECT_SECRET, BOT_FILTER: "1", FLUSH_INTERVAL_MS: "100" });
    }, SETUP_TIMEOUT_MS);
    afterAll(async () => {
      await site.close();
      rmSync(folder, { recursive: true, force: true });
    }, SETUP_TIMEOUT_MS);

    async function run(...args: string[]): Promise<CommandResult> {
      const settings = { ...site.commandSettings(service), PORT: String(service.port), REDIRECT_SECRET };
      return await startCommand(settings, args, { binary: program.path }).result;
    }

    async function get(path: string, headers: Record<string, string> = {}): Promise<Response> {
      return await fetch(service.url + path, { headers, redirect: "manual" });
    }

    async function totalOf(stream: string, more = ""): Promise<Sums> {
      const range = `from=${HOUR}&to=${HOUR + 2 * HOUR_MS}&step=total`;
      const answer = await get(`/series?${range}&stream=${stream}${more}`);
      return ((await answer.json()) as { total: Sums }).total;
    }

    async function flushed(): Promise<void> {
      await waitFor("all to be rows", async () => {
        const { instance } = (await (await get("/ledger")).json()) as { instance: { pending: number } };
        return instance.pending === 0;
      });
    }

    test("accepts a compressed batch with some bad lines, once", async () => {
      const body = gzipSync(Array.from({ length: BATCH }, (_, i) => lineOf(i)).join("\n"));
      const headers = { "content-type": "application/x-ndjson", "content-encoding": "gzip" };
      const bad = BATCH / BAD_EVERY;
      const send = async () => {
        const answer = await fetch(`${service.url}/events`, { method: "POST", headers, body });
        return (await answer.json()) as Record<"accepted" | "duplicates" | "invalid" | "refused", number>;
      };
      let accepted = 0;
      // A busy machine may refuse a part, which is to be sent again.
      await waitFor("nothing to be refused", async () => {
        const answer = await send();
        accepted += answer.accepted;
        return answer.refused === 0;
      });
      expect(accepted).toBe(BATCH - bad);
      expect(await send()).toMatchObject({ accepted: 0, duplicates: BATCH - bad, invalid: bad, refused: 0 });
    });

    test("answers ranges, branches of streams, and users to the last one", async () => {
      const sums = { clicks: BATCH / 10, impressions: BATCH - BATCH / 10 - BATCH / BAD_EVERY };
      const { unique_users, unique_clickers, unique_viewers, ...counts } = await totalOf("shop.*");
      expect(counts).toMatchObject(sums);
      expect(unique_users).toBeWithin(480, 521);
      expect(unique_clickers).toBeWithin(48, 53);
      expect(unique_viewers).toBeWithin(434, 457);
      await flushed();
      const exact = { unique_users: 495, unique_clickers: 50, unique_viewers: 445 };
      expect(await totalOf("shop.spring", "&exact=1")).toMatchObject({ ...sums, ...exact });
      const range = `from=${HOUR}&to=${HOUR + HOUR_MS}`;
      const csv = await (await get(`/series?${range}&stream=shop.spring&format=csv`)).text();
      expect(csv.trim().split("\n")).toHaveLength(2);
      const streams = await (await get(`/streams?${range}&stream=shop*&depth=1&order=unique_users`)).text();
      expect(streams).toContain(String(sums.impressions));
    });

    test("counts for browsers: pixel, beacon, redirect, and no bot", async () => {
      const at = `timestamp=${HOUR}&stream=page`;
      const agent = { "user-agent": FIREFOX };
      expect((await get(`/pixel.gif?${at}`, agent)).headers.get("content-type")).toBe("image/gif");
      const bot = await get(`/pixel.gif?${at}`, { "user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)" });
      expect(bot.headers.get("hourglass-not-counted")).toBe("bot");
      const beacon = `${service.url}/beacon?${at}&click`;
      expect((await fetch(beacon, { method: "POST", headers: agent })).status).toBe(204);
      const page = "https://shop.example/spring";
      const signed = (await run("sign-redirect", page, "--stream", "page", "--base", service.url)).output.trim();
      const redirect = await fetch(`${signed}&timestamp=${HOUR}`, { headers: agent, redirect: "manual" });
      expect([redirect.status, redirect.headers.get("location")]).toEqual([302, page]);
      expect(await (await get("/hourglass.js")).text()).toContain("beacon");
      expect(await totalOf("page")).toMatchObject({ clicks: 2, impressions: 1, unique_users: 1 });
    });

    test("imports a log, once, and exports its rows", async () => {
      const import_ = ["import", "--url", service.url, "--stream", "log", "--state", join(folder, "state")];
      expect((await run(...import_, LOG)).output).toContain("10,000 events accepted");
      expect((await run(...import_, LOG)).output).toContain("imported before");
      await flushed();
      const exported = await run("export", "--stream", "log", "--format", "csv");
      expect(exported.output.trim().split("\n")).toHaveLength(LOG_EVENTS + 1);
    });

    test("forgets a user, finds no difference, and has nothing set aside", async () => {
      const forget = ["forget", "--user", "user-7", "--stream", "shop.spring", "--json", "--url", service.url];
      expect(JSON.parse((await run(...forget)).output)).toMatchObject({
        clicks: 0,
        impressions: BATCH / 500,
      });
      const verified = await run("verify", "--json");
      expect([verified.exitCode, verified.errors]).toEqual([0, ""]);
      expect((await run("dead-letters", "list", "--json")).output).toBe("");
      expect((await run("poison", "list", "--json")).output).toBe("");
    });

    test("has its description, its pages and its client", async () => {
      for (const path of ["/openapi.json", "/docs", "/docs/swagger-ui.js", "/", "/dashboard/main.js", "/metrics"]) {
        expect([path, (await get(path)).status]).toEqual([path, 200]);
      }
      const client = new Hourglass(service.url);
      await client.count({ timestamp: HOUR, user: "ann", event: "click", stream: "client" });
      expect(await totalOf("client")).toMatchObject({ clicks: 1 });
    });

    test("shows an hour live", async () => {
      const answer = await get("/live?stream=shop.spring");
      const decoder = new TextDecoder();
      let text = "";
      for await (const piece of answer.body!) {
        text += decoder.decode(piece, { stream: true });
        if (text.includes("data:")) break;
      }
      expect(text).toContain('"impressions"');
    });

    test("measures itself", async () => {
      const args = ["--url", service.url, "--seconds", "1", "--connections", "2", "--json"];
      expect(JSON.parse((await run("bench", ...args)).output)).toMatchObject({ failures: {} });
    });
  });

  describeWithServers(`the built program with keys, limits and retention, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open(program.path);
      service = await site.start({ REQUIRE_KEYS: "write,read,admin", RETENTION_DAYS: "30" });
    }, SETUP_TIMEOUT_MS);
    afterAll(() => site.close(), SETUP_TIMEOUT_MS);

    async function keys(...args: string[]): Promise<CommandResult> {
      const settings = site.commandSettings(service);
      return await startCommand(settings, ["keys", ...args], { binary: program.path }).result;
    }

    async function count(key: string, more = ""): Promise<number> {
      const url = `${service.url}/analytics?timestamp=${HOUR}&user=ann&click${more}`;
      return (await fetch(url, { method: "POST", headers: { authorization: `Bearer ${key}` } })).status;
    }

    test("admits a key for its streams and up to its limit, until it is revoked", async () => {
      const scope = ["--scope", "write", "--stream", "shop.*", "--limit", "5/h"];
      const made = await keys("create", "--name", "shop", ...scope, "--json");
      const { id, key } = JSON.parse(made.output) as { id: string; key: string };
      await waitFor("the key to be known", async () => (await count(key, "&stream=shop.a")) === 204);
      expect(await count("nonsense", "&stream=shop.a")).toBe(401);
      expect(await count(key, "&stream=other")).toBe(403);
      const old = HOUR - 60 * 24 * HOUR_MS;
      const refused = await fetch(`${service.url}/analytics?timestamp=${old}&user=ann&click&stream=shop.a`, {
        method: "POST",
        headers: { authorization: `Bearer ${key}` },
      });
      expect(refused.status).toBe(422);
      const statuses: number[] = [];
      for (let i = 0; i < 6; i++) statuses.push(await count(key, "&stream=shop.a"));
      expect(statuses.at(-1)).toBe(429);
      expect((await keys("revoke", id)).exitCode).toBe(0);
      await waitFor("the key to be refused", async () => (await count(key, "&stream=shop.a")) === 401);
    });
  });
}
