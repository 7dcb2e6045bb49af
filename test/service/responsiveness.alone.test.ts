/**
 * No request can hold up the others: while the service works on the most expensive requests that it accepts, /livez
 * keeps answering. The bound is that of an idle service measured in the same run plus 100 ms, so that a busy machine
 * does not decide. A request fails only if each of its attempts did.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { RANGE_MAX_HOURS } from "../../src/domain/hour-range.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { openConnection } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";

const BLOCKED_MAX_MS = 100;
const ATTEMPTS = 10;
const BODY_BYTES = 4_194_304;
const HOUR = hourOf(Date.now());
/** Leaves room for the next hour, which may have begun by then. */
const FROM = HOUR - (RANGE_MAX_HOURS - 2) * HOUR_MS;
const STREAMS = 2_000;
const NDJSON = "application/x-ndjson";

interface Expensive {
  readonly path: string;
  readonly init?: RequestInit;
  readonly status: number;
}

function posted(body: string | Buffer, status: number, encoding?: string, type = NDJSON): Expensive {
  const headers: Record<string, string> = { "content-type": type };
  if (encoding !== undefined) headers["content-encoding"] = encoding;
  return { path: "/events", init: { method: "POST", body, headers }, status };
}

function lines(count: number, line: (i: number) => object): string {
  return Array.from({ length: count }, (_, i) => JSON.stringify(line(i))).join("\n");
}

const click = (i: number) => ({ timestamp: HOUR, user: `user-${i}`, event: "click", stream: "one" });
const ESCAPED = '\\"'.repeat(8_000);
const GIVEN_TWICE = `{"user":"${ESCAPED}","timestamp":${HOUR},"user":"u","event":"click"}`;
const LINE_ENDS = Buffer.alloc(BODY_BYTES, "\n");

const REQUESTS: Readonly<Record<string, Expensive>> = {
  "4 MiB of line ends": posted(LINE_ENDS, 413),
  "4 MiB of line ends, gzip": posted(gzipSync(LINE_ENDS), 413, "gzip"),
  "4 MiB of line ends, zstd": posted(zstdCompressSync(LINE_ENDS), 413, "zstd"),
  "4 MiB of blanks": posted(Buffer.alloc(BODY_BYTES, " "), 200),
  "4 MiB in one text": posted(`"${"x".repeat(BODY_BYTES - 2)}"`, 422),
  "4 MiB of brackets": posted("[".repeat(BODY_BYTES), 400, undefined, "application/json"),
  "as many lines as are allowed, nearly all blank": posted("\n".repeat(39_999), 200),
  "10,000 events of one stream": posted(lines(10_000, click), 200),
  "10,000 events of as many hours": posted(
    lines(10_000, (i) => ({ ...click(i), timestamp: FROM + i * HOUR_MS })),
    200,
  ),
  "10,000 events of 2,000 streams": posted(
    lines(10_000, (i) => ({ ...click(i), stream: `many.${i % STREAMS}` })),
    200,
  ),
  "10,000 events with ids": posted(
    lines(10_000, (i) => ({ ...click(i), id: `id-${i}` })),
    200,
  ),
  "10,000 events that are invalid": posted(
    lines(10_000, (i) => ({ ...click(i), user: "" })),
    422,
  ),
  "250 long events with a member given twice": posted(Array(250).fill(GIVEN_TWICE).join("\n"), 422),
  "a series of all hours": { path: `/series?from=${FROM}&stream=*`, status: 200 },
  "a series of all hours in a time zone": {
    path: `/series?from=${FROM}&stream=*&step=day&tz=America/New_York`,
    status: 200,
  },
  "a series with exact users": { path: `/series?from=${FROM}&stream=*&exact=1`, status: 200 },
  "all streams": { path: `/streams?from=${FROM}&limit=10000`, status: 200 },
  metrics: { path: "/metrics", status: 200 },
  "the API's description": { path: "/docs/swagger-ui.js", status: 200 },
};

for (const { name, needs, open } of MODES) {
  describeWithServers(`a service at work, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    let idle: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start();
      idle = await startService();
    });
    afterAll(() => Promise.all([site.close(), idle.stop()]));

    async function blockedMs({ path, init, status }: Expensive): Promise<number> {
      const work = fetch(`${service.url}${path}`, init).then(async (answer) => {
        await answer.arrayBuffer();
        return answer.status;
      });
      const times = await Promise.all([service, idle].map(({ port }) => longestAnswerMs(port, work)));
      expect(await work).toBe(status);
      return times[0]! - times[1]!;
    }

    for (const [what, request] of Object.entries(REQUESTS)) {
      test(`answers /livez beside ${what}`, async () => {
        let shortestMs = Number.POSITIVE_INFINITY;
        for (let attempt = 0; attempt < ATTEMPTS && shortestMs > BLOCKED_MAX_MS; attempt++) {
          shortestMs = Math.min(shortestMs, await blockedMs(request));
        }
        expect(shortestMs).toBeLessThan(BLOCKED_MAX_MS);
      });
    }
  });
}

/** Asks /livez again and again until the work is over. */
async function longestAnswerMs(port: number, work: Promise<unknown>): Promise<number> {
  const connection = await openConnection(port);
  let isOver = false;
  const end = () => {
    isOver = true;
  };
  work.then(end, end);
  let longest = 0;
  while (!isOver) {
    const startMs = performance.now();
    await connection.send({ method: "GET", target: "/livez" });
    longest = Math.max(longest, performance.now() - startMs);
  }
  connection.close();
  return longest;
}
