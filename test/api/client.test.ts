/** The example client does what it says, and its types match the API description. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Static } from "@sinclair/typebox";
import {
  type Batch,
  Hourglass,
  HourglassError,
  type HourglassEvent,
  type Series,
  type Streams,
} from "../../examples/client.ts";
import type { readSchemas } from "../../src/http/openapi/read-routes.ts";
import type { writeSchemas } from "../../src/http/openapi/write-routes.ts";
import type { EventObjectSchema } from "../../src/protocol/event/object-rules.ts";
import { freePort } from "../harness/servers/ports.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";

const AT = Date.UTC(2026, 0, 31, 12, 30);

function event(user: string, kind: HourglassEvent["event"], more: Partial<HourglassEvent> = {}): HourglassEvent {
  return { timestamp: AT, user, event: kind, ...more };
}

/** Compiles only if what is described is all that the client takes it for; and the other way for what it sends. */
export const described = {
  event: (sent: HourglassEvent): Static<typeof EventObjectSchema> => sent,
  batch: (answer: Static<typeof writeSchemas.Batch>): Batch => answer,
  series: (answer: Static<typeof readSchemas.Series>): Series => answer,
  streams: (answer: Static<typeof readSchemas.Streams>): Streams => answer,
};

for (const { name, needs, open } of MODES) {
  describeWithServers(`the client, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    let hourglass: Hourglass;

    beforeAll(async () => {
      site = await open();
      service = await site.start();
      hourglass = new Hourglass(service.url);
    });
    afterAll(() => site.close());

    test("counts one event, and reads its hour", async () => {
      await hourglass.count(event("ann", "click", { stream: "one" }));
      await hourglass.count(event("ann", "impression", { stream: "one" }));
      expect(await hourglass.hour(AT, "one")).toEqual({ uniqueUsers: 1, clicks: 1, impressions: 1 });
      expect(await hourglass.hour(AT, "none")).toEqual({ uniqueUsers: 0, clicks: 0, impressions: 0 });
    });

    test("counts an event with an id once", async () => {
      const once = event("ann", "click", { stream: "once", id: "order-17" });
      await Promise.all([hourglass.count(once), hourglass.count(once)]);
      expect(await hourglass.hour(AT, "once")).toMatchObject({ clicks: 1 });
    });

    test("counts many, and reads them as a series and by their streams", async () => {
      const many = Array.from({ length: 1_000 }, (_, i) =>
        event(`user-${i % 100}`, i % 4 === 0 ? "click" : "impression", { stream: `many.${i % 2}` }),
      );
      const outcome = await hourglass.countAll([...many, event("", "click")]);
      expect(outcome).toMatchObject({ events: 1_001, accepted: 1_000, invalid: 1, refused: 0 });
      expect(outcome.errors).toMatchObject([{ index: 1_000, code: "invalid_parameter" }]);
      const question = { from: "2026-01-31", to: "2026-02-01" } as const;
      const series = await hourglass.series({ ...question, step: "day", stream: "many.*" });
      expect(series.rows).toHaveLength(1);
      expect(series.total).toMatchObject({ clicks: 250, impressions: 750, ctr: 1 / 3 });
      const { streams } = await hourglass.streams({ ...question, stream: "many.*", order: "impressions" });
      expect(streams.map(({ stream }) => stream)).toEqual(["many.1", "many.0"]);
    });

    test("says what is wrong with what it was given", async () => {
      const refused = hourglass.count(event("ann", "click", { timestamp: Number.NaN }));
      await expect(refused).rejects.toThrow("timestamp");
      await expect(refused).rejects.toBeInstanceOf(HourglassError);
    });

    test("retries until the service is available", async () => {
      const late = new Hourglass(service.url, { attempts: 30 });
      await service.kill("SIGKILL");
      const counting = late.count(event("ann", "click", { stream: "late" }));
      await service.start();
      await counting;
      expect(await hourglass.hour(AT, "late")).toMatchObject({ clicks: 1 });
    });

    test("gives up in the end", async () => {
      const nobody = new Hourglass(`http://127.0.0.1:${await freePort()}`, { attempts: 1 });
      await expect(nobody.hour(AT)).rejects.toThrow();
    });
  });
}

describe("the client, if the service fails", () => {
  const NO_WAIT = { "retry-after": "0" };
  const TROUBLE: Readonly<Record<string, () => Response | Promise<Response>>> = {
    "503": () => Response.json({ error: { code: "hot_store_away", message: "" } }, { status: 503, headers: NO_WAIT }),
    "504": () => Response.json({ error: { code: "unknown_outcome", message: "" } }, { status: 504, headers: NO_WAIT }),
    "429": () => Response.json({ error: { code: "rate_limited", message: "" } }, { status: 429, headers: NO_WAIT }),
    "400 without the service's body": () => new Response(null, { status: 400, headers: NO_WAIT }),
    "502 of a proxy": () => new Response("<html>", { status: 502, headers: NO_WAIT }),
    "no answer": () => new Promise<Response>(() => {}),
  };

  /** Answers the first request with trouble, and all others well. */
  function serverWith(trouble: () => Response | Promise<Response>, bodies: string[]) {
    return Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        const { searchParams } = new URL(request.url);
        bodies.push(searchParams.get("id") ?? (await request.text()));
        if (bodies.length === 1) return await trouble();
        if (request.url.includes("/analytics")) return new Response(null, { status: 204 });
        return Response.json({
          events: 2,
          accepted: 2,
          duplicates: 0,
          invalid: 0,
          refused: 0,
          unknown: 0,
          errors: [],
        });
      },
    });
  }

  for (const [what, trouble] of Object.entries(TROUBLE)) {
    test(`sends the same ids again after ${what}`, async () => {
      const ids: string[] = [];
      await using server = serverWith(trouble, ids);
      const client = new Hourglass(`http://127.0.0.1:${server.port}`, { timeoutMs: 1_000 });
      await client.count(event("ann", "click"));
      expect(ids).toEqual([ids[0]!, ids[0]!]);
      expect(ids[0]).toMatch(/^[0-9a-f-]{36}$/);
      const bodies: string[] = [];
      await using batches = serverWith(trouble, bodies);
      const many = new Hourglass(`http://127.0.0.1:${batches.port}`, { timeoutMs: 1_000 });
      expect(await many.countAll([event("ann", "click"), event("bob", "click")])).toMatchObject({
        accepted: 2,
      });
      expect(bodies).toEqual([bodies[0]!, bodies[0]!]);
      const sent = bodies[0]!
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).id);
      expect(new Set(sent).size).toBe(2);
    });
  }

  test("waits a second if a proxy names a date to retry after", async () => {
    const headers = { "retry-after": new Date().toUTCString() };
    await using server = serverWith(() => new Response("<html>", { status: 503, headers }), []);
    const startMs = performance.now();
    await new Hourglass(`http://127.0.0.1:${server.port}`).count(event("ann", "click"));
    expect(performance.now() - startMs).toBeGreaterThan(900);
  });

  test("sends the same id again when the connection breaks", async () => {
    const ids: (string | null)[] = [];
    let first = true;
    await using server = Bun.listen({
      port: 0,
      hostname: "127.0.0.1",
      socket: {
        data(socket, bytes) {
          ids.push(/[?&]id=([^& ]+)/.exec(bytes.toString())?.[1] ?? null);
          if (first) socket.terminate();
          else socket.end("HTTP/1.1 204 No Content\r\n\r\n");
          first = false;
        },
      },
    });
    const client = new Hourglass(`http://127.0.0.1:${server.port}`);
    await client.count(event("ann", "click"));
    expect(ids.length).toBeGreaterThan(1);
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).not.toBeNull();
  });
});
