/** The load generator sends what it is told to, and reports the outcome truthfully. */
import { describe, expect, test } from "bun:test";
import { type LoadOptions, type Requests, sendLoad, startLoad } from "../harness/load/http-load.ts";
import { ACKNOWLEDGED, REFUSED, UNKNOWN, UNSENT } from "../harness/load/outcomes.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const HOST = "127.0.0.1";
const TIMEOUT_MS = 180_000;
const NO_CONTENT = "HTTP/1.1 204 No Content\r\n\r\n";

function requests(...texts: string[]): Requests {
  const starts = new Uint32Array(texts.length + 1);
  for (const [n, text] of texts.entries()) starts[n + 1] = starts[n]! + text.length;
  return { bytes: Buffer.from(texts.join("")), starts };
}

const POST = requests("POST /analytics?user=u HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");

function options(port: number, more: Partial<LoadOptions> = {}): LoadOptions {
  return { ports: [port], connections: 4, requests: POST, ratePerS: 200, seconds: 0.5, graceS: 10, ...more };
}

/** Answers each request with what `answer` says: in these pieces, and with an end if it answers undefined. */
function rawServer(answer: (request: string) => readonly string[] | undefined) {
  return Bun.listen({
    hostname: HOST,
    port: 0,
    socket: {
      async data(socket, chunk) {
        const pieces = answer(chunk.toString());
        if (pieces === undefined) return void socket.end();
        for (const piece of pieces) {
          socket.write(piece);
          socket.flush();
          // So that the pieces are sent apart.
          if (pieces.length > 1) await new Promise(setImmediate);
        }
      },
    },
  });
}

describe("the load driver", () => {
  test(
    "sends the requests in turn, whole, and as many as a rate says",
    async () => {
      const seen: string[] = [];
      const server = Bun.serve({
        ...{ hostname: HOST, port: 0 },
        async fetch(request) {
          seen.push(`${request.method} ${new URL(request.url).search} ${(await request.text()).length}`);
          return new Response(null, { status: 204 });
        },
      });
      // More than a socket takes at once.
      const body = "x".repeat(8_000_000);
      const large = `POST /b?large HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const all = requests("GET /a?small HTTP/1.1\r\nHost: x\r\n\r\n", large);
      const found = await sendLoad(options(server.port!, { requests: all, ratePerS: 20 }));
      await server.stop(true);
      expect([found.sent, found.acknowledged, found.refused, found.unknown]).toEqual([10, 10, 0, 0]);
      const expected = [...Array(5).fill("GET ?small 0"), ...Array(5).fill("POST ?large 8000000")];
      expect(seen.sort()).toEqual(expected);
    },
    TIMEOUT_MS,
  );

  test(
    "counts a pause of the server for all requests that were due in it",
    async () => {
      let pauses = 0;
      const server = Bun.serve({ hostname: HOST, port: 0, fetch: () => new Response(null, { status: 204 }) });
      const pausing = setInterval(() => {
        pauses += 1;
        for (const endMs = performance.now() + 20; performance.now() < endMs; );
      }, 1_000);
      const found = await sendLoad(options(server.port!, { ratePerS: 2_000, seconds: 4.5 }));
      clearInterval(pausing);
      await server.stop(true);
      expect(found.acknowledged).toBe(9_000);
      // Forty were due in each pause, and twenty of them waited for more than half of it. A driver that waits for
      // answers would have seen one on each of its four connections.
      const slow = found.latenciesMs.filter((ms) => ms >= 10);
      expect(pauses).toBeGreaterThanOrEqual(3);
      expect(slow.length).toBeGreaterThanOrEqual(15 * 3);
      expect(Math.max(...slow)).toBeGreaterThanOrEqual(18);
    },
    TIMEOUT_MS,
  );

  test(
    "counts a request that is never answered as long as it has waited",
    async () => {
      const server = rawServer(() => []);
      const found = await sendLoad(options(server.port, { connections: 1, ratePerS: 10, seconds: 1, graceS: 0.2 }));
      server.stop(true);
      expect([found.sent, found.unknown]).toEqual([1, 1]);
      // The first was sent at once, the others were due 100 ms apart, and all have waited until the end.
      expect(found.latenciesMs).toHaveLength(10);
      for (const [n, ms] of found.latenciesMs.entries()) expect(ms).toBeGreaterThanOrEqual(1_190 - 100 * n);
    },
    TIMEOUT_MS,
  );

  test(
    "tells refusals apart, by status and code",
    async () => {
      const body = '{"error":{"code":"overloaded"}}';
      const refusal = `HTTP/1.1 503 No\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      let count = 0;
      const server = rawServer(() => [++count % 2 === 0 ? refusal : NO_CONTENT]);
      const found = await sendLoad(options(server.port, { connections: 1 }));
      server.stop(true);
      expect([found.acknowledged, found.refused, found.refusals]).toEqual([50, 50, { "503 overloaded": 50 }]);
      expect(found.outcomes.slice(0, 2)).toEqual(Uint8Array.of(ACKNOWLEDGED, REFUSED));
    },
    TIMEOUT_MS,
  );

  test(
    "numbers events, and knows of each what its client was told, across lost connections",
    async () => {
      const text = `POST /a?timestamp=${"0".repeat(13)}&user=u${"0".repeat(10)} HTTP/1.1\r\nHost: x\r\n\r\n`;
      const at = (digits: string) => Uint32Array.of(text.indexOf(digits));
      const numbered = { ...requests(text), timeAt: at("0".repeat(13)), numberAt: at(`${"0".repeat(10)} `) };
      const told = new Map<number, number>();
      const server = rawServer((request) => {
        const [, time, digits] = /timestamp=(\d+)&user=u(\d+) /.exec(request)!;
        const number = Number(digits);
        expect(Number(time)).toBe(1_790_000_000_000 + number);
        expect(told.has(number)).toBe(false);
        told.set(number, number % 7 === 6 ? UNKNOWN : ACKNOWLEDGED);
        return number % 7 === 6 ? undefined : [NO_CONTENT];
      });
      const numbers = { ...numbered, firstTime: 1_790_000_000_000 };
      const found = await sendLoad(options(server.port, { requests: numbers, isOverload: true }));
      server.stop(true);
      expect(found.sent + found.skipped).toBe(100);
      expect(found.lostConnections).toBe(found.unknown);
      expect(found.unknown).toBeGreaterThan(0);
      expect(Array.from(found.outcomes.slice(0, found.sent))).toEqual(
        Array.from({ length: found.sent }, (_, number) => told.get(number)!),
      );
      expect(found.outcomes.slice(found.sent).every((outcome) => outcome === UNSENT)).toBe(true);
    },
    TIMEOUT_MS,
  );

  test(
    "ends when it is stopped, and when all connections are closed",
    async () => {
      const server = rawServer(() => [NO_CONTENT]);
      const hour = options(server.port, { seconds: 3_600 });
      const stopped = startLoad(hour);
      stopped.stop();
      expect((await stopped.result).seconds).toBeLessThan(3_600);
      const closed = startLoad(hour);
      await waitFor("a request to be acknowledged", () => closed.acknowledged() > 0);
      server.stop(true);
      expect((await closed.result).seconds).toBeLessThan(3_600);
      await expect(sendLoad(hour)).rejects.toThrow(`connection refused (111), port ${server.port}`);
    },
    TIMEOUT_MS,
  );
});

describe("an answer", () => {
  const whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  const all = whole.length - 1;

  test(
    "is whole however it is cut",
    async () => {
      let cut = 0;
      const server = rawServer(() => {
        cut += 1;
        return [whole.slice(0, cut), whole.slice(cut)];
      });
      const found = await sendLoad(options(server.port, { connections: 1, ratePerS: all, seconds: 1 }));
      server.stop(true);
      expect([found.acknowledged, found.refused, cut]).toEqual([all, 0, all]);
    },
    TIMEOUT_MS,
  );

  for (const [what, answer] of [
    ["none", "hello\r\n\r\n"],
    ["without a length", "HTTP/1.1 200 OK\r\n\r\n"],
    ["more than one", `${whole}${whole}`],
  ] as const) {
    test(
      `fails the load if it is ${what}`,
      async () => {
        const server = rawServer(() => [answer]);
        await expect(sendLoad(options(server.port))).rejects.toThrow("protocol error (71)");
        server.stop(true);
      },
      TIMEOUT_MS,
    );
  }
});
