/** The log of a running service: a line per change and incident, none per request, and no secrets. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { version } from "../../package.json";
import { answerToError } from "../../src/http/answers.ts";
import { traceOf } from "../../src/http/requests/log-lines.ts";
import { ColdUnavailableError } from "../../src/store/cold.ts";
import { StoreWatch } from "../../src/store/store-watch.ts";
import { RecordedLog } from "../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { Tmpfs } from "../harness/servers/tmpfs.ts";
import { eventTarget, postEvent } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** All lines that are JSON; the others are the first ones, for people. */
function linesOf(service: Service): Line[] {
  const texts = service.log().split("\n");
  return texts.filter((text) => text.startsWith("{")).map((text) => JSON.parse(text) as Line);
}

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID = "b7ad6b7169203331";
const TRACE_PARENT = `00-${TRACE_ID}-${PARENT_ID}-01`;

for (const { name, needs, open } of MODES) {
  describeWithServers(`the log, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ FLUSH_INTERVAL_MS: "50" });
    });
    afterAll(() => site.close());

    const messages = () => linesOf(service).map(({ msg }) => msg);
    const lineOf = (msg: string) =>
      waitFor(`'${msg}' in the log`, () => linesOf(service).find((line) => line.msg === msg));
    const post = (user: string) => postEvent(service.port, { at: Date.now(), user, kind: "click" });

    test("has a line for the start, none for a request, and two for the stop", async () => {
      await post("somebody");
      await ask(service.port, { method: "GET", target: "/analytics?timestamp=nonsense" });
      await service.restart();
      const [started, ...rest] = linesOf(service).filter(({ msg }) => msg !== "set up the hot store");
      expect(started).toMatchObject({ msg: "started", level: 30, version, mode: name, url: service.url });
      expect(rest.map(({ msg }) => msg)).toEqual(["stopping", "stopped", "started"]);
      expect(service.log()).not.toContain("somebody");
    });

    if (name === "embedded") return;

    test("logs once that MySQL is unavailable, and once that it is back", async () => {
      const { mariaDb } = site.servers!;
      // Its first flush asks for more than later ones do.
      const before = await site.cold.countEvents();
      await post("before");
      await waitFor("its row", async () => (await site.cold.countEvents()) === before + 1);
      await mariaDb.kill("SIGKILL");
      await post("meanwhile");
      // The flush's, or that of whatever else asked first.
      expect(await lineOf("the cold store is unavailable")).toMatchObject({ level: 40, operation: expect.any(String) });
      expect(await lineOf("flush failed; retrying")).toMatchObject({ level: 40 });
      await mariaDb.start();
      expect(await lineOf("flushing works again; the backlog is draining")).toMatchObject({ level: 30 });
      const back = await lineOf("the cold store is available again");
      expect(back["unavailableMs"]).toBeGreaterThan(0);
      expect(back["errors"]).toBeGreaterThan(0);
      for (const once of ["the cold store is unavailable", "flush failed; retrying"]) {
        expect(messages().filter((msg) => msg === once)).toHaveLength(1);
      }
    });

    test("logs that Redis is unavailable, that events are refused, and the end of both", async () => {
      const { redis } = site.servers!;
      redis.pause();
      expect(await lineOf("the hot store is unavailable")).toMatchObject({ level: 40 });
      expect(await lineOf("events are refused")).toMatchObject({ level: 40, reason: "hot_store_away" });
      const refused = await ask(service.port, {
        method: "POST",
        target: "/analytics?timestamp=1578651952635&user=u&click",
      });
      expect(refused.status).toBe(503);
      redis.resume();
      await lineOf("the hot store is available again");
      const taken = await lineOf("events are accepted again");
      expect(taken).toMatchObject({ level: 30, reason: "hot_store_away", refusedEvents: 1 });
      expect(messages().filter((msg) => msg.startsWith("could not"))).toEqual([]);
    });

    test("logs that the journal is full, and that it has room again", async () => {
      const full = await site.start({ JOURNAL_MAX_EVENTS: "1", FLUSH_INTERVAL_MS: "50" });
      const { mariaDb } = site.servers!;
      mariaDb.pause();
      try {
        await postEvent(full.port, { at: Date.now(), user: "u", kind: "click" });
        await waitFor("the journal to be full", () =>
          linesOf(full).some(({ msg, reason }) => msg === "events are refused" && reason === "journal_full"),
        );
      } finally {
        mariaDb.resume();
      }
      await waitFor("it to have room again", () =>
        linesOf(full).some(({ msg, reason }) => msg === "events are accepted again" && reason === "journal_full"),
      );
    });

    test("logs the adoption of a journal", async () => {
      const { mariaDb } = site.servers!;
      mariaDb.pause();
      await post("left behind");
      await service.kill("SIGKILL");
      const heir = await site.start({ LEASE_MS: "200" });
      mariaDb.resume();
      const adoption = () => linesOf(heir).find(({ msg }) => msg === "adopted the journal of a writer that ended");
      // Its lease was 10 s, and MySQL may take as long to be noticed again.
      const adopted = await waitFor("the adoption", adoption, { timeoutMs: 60_000 });
      expect(adopted["eventCount"]).toBeGreaterThan(0);
      await service.start();
    });
  });
}

const disk = Tmpfs.mount(6);

describe.skipIf(typeof disk === "string")("a full disk", () => {
  const small = disk as Tmpfs;
  let service: Service;

  beforeAll(async () => {
    service = await startService({ settings: { DATA_DIR: small.path, FLUSH_INTERVAL_MS: "50" } });
  });
  afterAll(async () => {
    await service.stop();
    await small.close();
  });

  test("is not ready, and refuses, until there is room: which the log says once each", async () => {
    const linesWith = (msg: string) => linesOf(service).filter((line) => line.msg === msg);
    const target = eventTarget({ at: Date.now(), user: "u", kind: "click" });
    const post = async () => (await ask(service.port, { method: "POST", target })).status;
    const readiness = async () => (await ask(service.port, { method: "GET", target: "/readyz" })).status;
    let refused = 0;
    const isRefused = async () => {
      // What the service frees meanwhile is taken too.
      small.fill();
      if ((await post()) !== 503) return false;
      refused += 1;
      return true;
    };
    await waitFor("a refusal", isRefused);
    // From now on each look at the disk fails.
    const failed = async () => {
      const { body } = await ask(service.port, { method: "GET", target: "/metrics" });
      return Number(/^hourglass_store_errors_total\{store="hot",operation="renewLease"\} (\d+)$/m.exec(body)?.[1]);
    };
    const seen = new Set<number>();
    await waitFor("ten failed looks", async () => {
      seen.add(await readiness());
      return (await failed()) >= 10;
    });
    expect([...seen]).toEqual([503]);
    expect(await post()).toBe(503);
    refused += 1;
    await waitFor("the line", () => linesWith("events are refused").length > 0);
    small.free();
    await waitFor("readiness", async () => (await readiness()) === 200);
    const [accepted] = await waitFor("the line", () => {
      const found = linesWith("events are accepted again");
      return found.length > 0 && found;
    });
    expect(accepted).toMatchObject({ reason: "hot_store_away", refusedEvents: refused });
    await waitFor("the hot store", () => linesWith("the hot store is available again").length > 0);
    for (const once of ["events are refused", "events are accepted again", "the hot store is available again"]) {
      expect([once, linesWith(once).length]).toEqual([once, 1]);
    }
  });
});

describe("LOG_REQUESTS", () => {
  let site: Site;
  let service: Service;

  beforeAll(async () => {
    site = await MODES[0]!.open();
    service = await site.start({ LOG_REQUESTS: "1", USER_SALT: "the salt of users" });
  });
  afterAll(() => site.close());

  test("logs each request once, by its path and the ids that it came with, and nothing of its query", async () => {
    const target = "/analytics?timestamp=1578651952635&user=unmistakable&click";
    const headers = ["X-Request-Id: req-1", `Traceparent: ${TRACE_PARENT}`];
    const answer = await ask(service.port, { method: "POST", target, headers });
    expect(answer.headers.get("x-request-id")).toBe("req-1");
    await ask(service.port, {
      method: "GET",
      target: "/nowhere?user=unmistakable",
      headers: ["X-Request-Id: a b"],
    });
    await ask(service.port, { method: "GET", target: "/series?from=never" });
    const lines = await waitFor("the lines", () => {
      const found = linesOf(service).filter(({ msg, path }) => msg === "request" && path !== "/readyz");
      return found.length >= 3 && found;
    });
    expect(lines[0]).toMatchObject({
      ...{ level: 30, method: "POST", path: "/analytics", status: 204 },
      ...{ requestId: "req-1", traceId: TRACE_ID, parentId: PARENT_ID },
    });
    expect(lines[0]!["ms"]).toBeGreaterThan(0);
    expect(lines[1]).toMatchObject({ method: "GET", path: "/nowhere", status: 404 });
    expect(lines[1]!["requestId"]).toMatch(/^[0-9a-f-]{36}$/);
    expect(lines[2]).toMatchObject({ path: "/series", status: 422 });
    expect(lines).toHaveLength(3);
    for (const secret of ["unmistakable", "the salt"]) expect(service.log()).not.toContain(secret);
  });
});

describe("the trace of a request", () => {
  const traced = (headers: Record<string, string>) => traceOf(new Headers(headers));

  test("has the sender's id if that can stand in a log, else a new one", () => {
    for (const id of ["a", "req-1", "1234:5/6.7@b+c=", "x".repeat(128)]) {
      expect(traced({ "x-request-id": id })).toEqual({ requestId: id });
    }
    for (const id of ["", "a b", 'a"b', "ä", "x".repeat(129)]) {
      expect(traced({ "x-request-id": id }).requestId).toMatch(/^[0-9a-f-]{36}$/);
    }
    expect(traced({}).requestId).not.toBe(traced({}).requestId);
  });

  test("has the parent that the sender names, if it is one", () => {
    const parentOf = (traceparent: string) => traced({ traceparent }).parentId;
    expect(traced({ traceparent: TRACE_PARENT })).toMatchObject({ traceId: TRACE_ID, parentId: PARENT_ID });
    expect(parentOf(`cc-${TRACE_ID}-${PARENT_ID}-01-of-a-later-version`)).toBe(PARENT_ID);
    for (const wrong of [
      `00-${TRACE_ID}-${PARENT_ID}-01-more`,
      `ff-${TRACE_ID}-${PARENT_ID}-01`,
      `00-${"0".repeat(32)}-${PARENT_ID}-01`,
      `00-${TRACE_ID}-${"0".repeat(16)}-01`,
      `00-${TRACE_ID.toUpperCase()}-${PARENT_ID}-01`,
      `00-${TRACE_ID}-${PARENT_ID}`,
    ]) {
      expect([wrong, parentOf(wrong)]).toEqual([wrong, undefined]);
    }
  });

  test("is in the line of a fault of ours, and its id in the answer", async () => {
    const log = new RecordedLog();
    const headers = { "x-request-id": "req-7", traceparent: TRACE_PARENT };
    const answer = answerToError(new Error("bang"), log, new Request("http://localhost/", { headers }));
    expect([answer.status, answer.headers.get("x-request-id")]).toEqual([500, "req-7"]);
    expect(await answer.text()).not.toContain("bang");
    expect(log.entries).toHaveLength(1);
    expect(log.entries[0]).toMatchObject({
      level: "error",
      fields: { requestId: "req-7", traceId: TRACE_ID, parentId: PARENT_ID, error: "bang" },
    });
  });
});

describe("a store that is watched", () => {
  class FlakyStore {
    readonly #secret = 7;
    isDown = false;

    get description(): string {
      return `number ${this.#secret}`;
    }

    async open(): Promise<void> {}

    async read(): Promise<number> {
      if (this.isDown) throw new ColdUnavailableError("gone");
      return this.#secret;
    }

    async flush(): Promise<void> {
      if (this.isDown) throw new ColdUnavailableError("full");
    }

    async refuse(): Promise<never> {
      throw new RangeError("not like that");
    }
  }

  test("is unavailable from a failed write to the next write, whatever it reads", async () => {
    const log = new RecordedLog();
    const watch = new StoreWatch("cold", log);
    const store = new FlakyStore();
    const watched = watch.watched(store);
    store.isDown = true;
    await expect(watched.flush()).rejects.toThrow("full");
    store.isDown = false;
    expect(await watched.read()).toBe(7);
    expect(watch.isUnavailable).toBe(true);
    await watched.flush();
    expect(watch.isUnavailable).toBe(false);
    store.isDown = true;
    await expect(watched.read()).rejects.toThrow("gone");
    store.isDown = false;
    await watched.read();
    expect(watch.isUnavailable).toBe(false);
  });

  test("answers as the store does, and is unavailable from its first failure to its next answer", async () => {
    const log = new RecordedLog();
    const watch = new StoreWatch("cold", log);
    const store = new FlakyStore();
    const watched = watch.watched(store);
    expect([watched.description, await watched.read()]).toEqual(["number 7", 7]);
    expect(watched.refuse()).rejects.toBeInstanceOf(RangeError);
    expect(watch.isUnavailable).toBe(false);
    store.isDown = true;
    for (let i = 0; i < 3; i++) await expect(watched.read()).rejects.toThrow("gone");
    // It says from memory that it was opened: that shows nothing.
    await watched.open();
    expect(watch.isUnavailable).toBe(true);
    store.isDown = false;
    expect(await watched.read()).toBe(7);
    expect(watch.isUnavailable).toBe(false);
    expect(Object.fromEntries(watch.errors)).toEqual({ read: 3 });
    const lines: object[] = log.entries.map(({ level, message, fields }) => ({ level, message, ...fields }));
    expect(lines).toEqual([
      { level: "warn", message: "the cold store is unavailable", operation: "read", error: "gone" },
      { level: "info", message: "the cold store is available again", errors: 3, unavailableMs: expect.any(Number) },
    ]);
  });
});
