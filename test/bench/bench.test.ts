/**
 * The bench suite runs, at sizes whose figures say nothing: every candidate, every driver, every report. What
 * it would say of a machine is for `npm run bench`; that its gate closes is shown with made-up results.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CANDIDATES } from "../../bench/candidates.ts";
import { LoadDriver } from "../../bench/load/load-driver.ts";
import type { Distribution } from "../../bench/load/percentiles.ts";
import { distributionOf, PERCENTILES, percentileMs } from "../../bench/load/percentiles.ts";
import { ResponseReader } from "../../bench/load/response-reader.ts";
import { MIXES, requestLines } from "../../bench/load/workload.ts";
import { hasWrk } from "../../bench/load/wrk-load.ts";
import { FULL, QUICK } from "../../bench/measure/parameters.ts";
import type { CandidateResults, Maximum, Results, TrialResult } from "../../bench/results.ts";
import { ratios, spreadOf } from "../../bench/statistics.ts";
import { judge, TARGETS, verdictText } from "../../bench/targets.ts";
import { Latencies } from "../../src/runtime/latencies.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";

const PROCESS_TIMEOUT_MS = 60_000;
const MAIN = join(PROJECT_ROOT, "bench", "main.ts");

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-bench-test-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function bench(...args: string[]): Promise<{ code: number; output: string; errors: string }> {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()] as const;
  const [output, errors] = await Promise.all(texts);
  return { code: await child.exited, output, errors };
}

describe("the drivers", () => {
  const server = () => Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(null, { status: 204 }) });
  const target = (port: number) => ({
    port,
    mix: MIXES["95:5"],
    population: { users: 1_000, streams: 1 },
    seed: 1,
    durationMs: 1_000,
  });

  async function withDriver<T>(saturationDriver: "wrk" | "built-in", use: (driver: LoadDriver) => Promise<T>) {
    const driver = new LoadDriver({ ...QUICK, connections: 4, requests: 500, saturationDriver });
    try {
      return await use(driver);
    } finally {
      await driver.stop();
    }
  }

  for (const name of ["wrk", "built-in"] as const) {
    test.skipIf(name === "wrk" && !hasWrk())(
      `${name} sends what it is told to`,
      async () => {
        const seen = new Set<string>();
        const recording = Bun.serve({
          port: 0,
          hostname: "127.0.0.1",
          fetch: ({ method, url, headers }) => {
            const { pathname, searchParams } = new URL(url);
            const names = [...searchParams.keys()].sort().join();
            seen.add(`${method} ${pathname} ${names} ${headers.get("content-length")}`);
            return new Response(null, { status: 204 });
          },
        });
        const result = await withDriver(name, (driver) => driver.saturate(target(recording.port!)));
        await recording.stop(true);
        expect(result.failed).toBe(0);
        expect(result.answered).toBeGreaterThan(0);
        expect([...seen].sort()).toEqual([
          "GET /analytics timestamp null",
          "POST /analytics click,timestamp,user 0",
          "POST /analytics impression,timestamp,user 0",
        ]);
      },
      PROCESS_TIMEOUT_MS,
    );
  }

  test(
    "a server that refuses is not fast",
    async () => {
      const refusing = Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: () => new Response("no", { status: 503 }),
      });
      const saturated = withDriver("built-in", (driver) => driver.saturate(target(refusing.port!)));
      await expect(saturated).rejects.toThrow("no request was answered with success");
      await refusing.stop(true);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "a pause of the server counts for all requests that were due in it",
    async () => {
      const pauseMs = 500;
      let pausedAt = 0;
      const pausing = Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        async fetch() {
          pausedAt ||= performance.now();
          const leftMs = pausedAt + pauseMs - performance.now();
          if (leftMs > 0) await new Promise((goOn) => setTimeout(goOn, leftMs));
          return new Response(null, { status: 204 });
        },
      });
      const ratePerS = 500;
      const result = await withDriver("built-in", (driver) =>
        driver.sendAtRate({ ...target(pausing.port!), mix: MIXES["100:0"], ratePerS }),
      );
      await pausing.stop(true);
      expect(result.answered).toBe(ratePerS);
      // Four connections wait through the pause. With the omission only their four requests would be slow; as
      // it is, a fifth of those with a sample were due in its first half, and so took more than half of it.
      const { count, ms } = result.latencies["POST current"]!;
      const slow = 1 - PERCENTILES.findLast((_, n) => ms[n]! < pauseMs / 2 - 50)! / 100;
      expect(count).toBeGreaterThan(ratePerS / 2);
      expect(slow).toBeGreaterThanOrEqual(0.25);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "a server that closes is an error",
    async () => {
      const closing = server();
      const { port } = closing;
      await closing.stop(true);
      const sent = withDriver("built-in", (driver) => driver.sendAtRate({ ...target(port!), ratePerS: 100 }));
      await expect(sent).rejects.toThrow("the load driver failed");
    },
    PROCESS_TIMEOUT_MS,
  );
});

describe("a response", () => {
  const whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

  test("is whole however it is cut", () => {
    for (let cut = 1; cut < whole.length; cut++) {
      const reader = new ResponseReader();
      expect(reader.push(Buffer.from(whole.slice(0, cut)))).toBeUndefined();
      expect(reader.push(Buffer.from(whole.slice(cut)))).toBe(200);
      expect(reader.push(Buffer.from("HTTP/1.1 204 No Content\r\n\r\n"))).toBe(204);
    }
  });

  test("is refused if it is none, or more than one", () => {
    const push = (text: string) => new ResponseReader().push(Buffer.from(text));
    expect(() => push("hello\r\n\r\n")).toThrow("not a response");
    expect(() => push("HTTP/1.1 200 OK\r\n\r\n")).toThrow("without Content-Length");
    expect(() => push(`${whole}${whole}`)).toThrow("came behind a response");
  });
});

describe("the workload", () => {
  const options = {
    mix: MIXES["50:50"],
    population: { users: 1_000_000, streams: 1 },
    requests: 20_000,
    seed: 5,
    now: Date.UTC(2030, 5, 15, 12, 30),
  };
  const lines = requestLines(options).trimEnd().split("\n");
  const share = (isOne: (line: string) => boolean) => lines.filter(isOne).length / lines.length;

  test("is the same for the same seed", () => {
    expect(requestLines(options)).toBe(requestLines(options));
    expect(requestLines({ ...options, seed: 6 })).not.toBe(requestLines(options));
  });

  test("is about the current hour, mostly", () => {
    expect(share((line) => line.includes(`timestamp=${options.now}`))).toBeCloseTo(0.95, 1);
    expect(share((line) => /^[13]/.test(line))).toBeCloseTo(0.05, 1);
  });

  test("has as many posts as its mix says, and one click in ten", () => {
    const posts = share((line) => /^[01]/.test(line));
    expect(posts).toBeCloseTo(0.5, 1);
    expect(share((line) => line.includes("&click")) / posts).toBeCloseTo(0.1, 1);
  });

  test("has few users that come often, and many that come once", () => {
    const users = lines.flatMap((line) => /user=([^&]*)/.exec(line)?.[1] ?? []);
    const counts = [...Map.groupBy(users, (user) => user).values()].map(({ length }) => length);
    expect(Math.max(...counts) / users.length).toBeGreaterThan(0.02);
    expect(counts.filter((count) => count === 1).length / users.length).toBeGreaterThan(0.2);
  });
});

describe("figures", () => {
  test("of several rounds are their median and their spread", () => {
    expect(spreadOf([3, undefined, 1, 2])).toEqual({ median: 2, min: 1, max: 3, rounds: 3 });
    expect(spreadOf([4, 1])).toEqual({ median: 2.5, min: 1, max: 4, rounds: 2 });
    expect(spreadOf([undefined])).toBeUndefined();
  });

  test("are compared within their round", () => {
    expect(ratios([1, undefined, 9], [2, 5, 3])).toEqual([0.5, undefined, 3]);
  });

  test("of a percentile need as many samples as it takes", () => {
    const found = distributionOf(latencies(Array.from({ length: 100 }, (_, n) => 100 - n)))!;
    expect(percentileMs(found, 50)).toBe(50);
    expect(percentileMs(found, 99)).toBe(99);
    expect(percentileMs(found, 99.9)).toBeUndefined();
    expect(percentileMs(found, 100)).toBe(100);
    expect(distributionOf(latencies([]))).toBeUndefined();
  });
});

function latencies(all: readonly number[]): Latencies {
  const latencies = new Latencies();
  for (const ms of all) latencies.add(ms);
  return latencies;
}

/** Of a trial that meets every target, if the others have what `madeUp` gives them. */
interface Speeds {
  readonly eventsPerS: number;
  readonly cpuUs: number;
  readonly p99Ms: number;
}

function madeUpTrial({ eventsPerS, cpuUs, p99Ms }: Speeds): TrialResult {
  const flush = { shareOfRate: 1, rowsPerS: eventsPerS, backlogEvents: 0, drainMs: 0 };
  const cpuUsPerRequest = { server: cpuUs, redis: 0, mysql: 0 };
  const maximum: Maximum = { requestsPerS: eventsPerS, failed: 0, cpuUsPerRequest, flush };
  const all: Distribution = { count: 1e6, ms: PERCENTILES.map(() => p99Ms) };
  const classes = { "POST current": all, "POST older": all, "GET current": all, "GET older": all };
  return {
    maximum: { "100:0": maximum, "95:5": maximum, "GET current": maximum },
    latencies: [{ share: 0.5, ratePerS: 1, answeredPerS: 1, refused: 0, classes, reference: classes }],
    residentMb: { server: 1, redis: 0, mysql: 0 },
    bytesPerMEvents: { redis: 0, mysql: 0, files: 0 },
    kill: { acknowledged: 10, inDoubt: 0, counted: 10, rows: 10, lost: 0 },
  };
}

const FAST: Speeds = { eventsPerS: 100_000, cpuUs: 10, p99Ms: 1 };
const SLOW: Speeds = { eventsPerS: 5_000, cpuUs: 100, p99Ms: 1 };

const MACHINE = {
  cpu: "made up",
  cores: 2,
  memoryGb: 1,
  system: "-",
  bun: "-",
  redis: "-",
  mariaDb: "-",
  loadAverage: 0,
};

/** Results that meet every target, but for what is put in place of some. */
function madeUp(instead: Readonly<Record<string, TrialResult | undefined>> = {}): Results {
  const candidates = CANDIDATES.map(({ name, title }): CandidateResults => {
    const trial = madeUpTrial(name.startsWith("approach") ? SLOW : FAST);
    return { name, title, rounds: [name in instead ? instead[name] : trial], failures: [] };
  });
  const growth = ["base", "users", "streams", "rows"].map((name) => {
    return { name, title: name, eventsPerS: [100_000], failures: [] };
  });
  const round = { singlesPerS: 1, takenPerS: 5, storedPerS: 4, refusedRequests: 0, bulkRowsPerS: 10 };
  const batches = ["hourglass", "hourglass-embedded"].map((name) => {
    return { name, title: name, rounds: [round], failures: [] };
  });
  return {
    startedAt: "2030-01-01T00:00:00.000Z",
    durationS: 1,
    machine: MACHINE,
    parameters: FULL,
    drivers: { saturation: "wrk", constantRate: "-" },
    candidates,
    growth,
    batches,
  };
}

function missedNames(results: Results): string[] {
  return judge(results)
    .filter(({ isMet }) => !isMet)
    .map(({ target }) => target.name);
}

describe("the targets", () => {
  test("can all be met", () => expect(missedNames(madeUp())).toEqual([]));

  test("each have a name of their own", () => {
    expect(new Set(TARGETS.map(({ name }) => name)).size).toBe(TARGETS.length);
  });

  test("are missed by the row that is too slow, alone", () => {
    const slower = { ...FAST, eventsPerS: 84_000 };
    expect(missedNames(madeUp({ "hourglass-embedded": madeUpTrial(slower) }))).toEqual([
      "POST events/s, embedded, against the async ceiling",
    ]);
  });

  test("are missed by what costs too much, answers too late, or loses an event", () => {
    const trial = madeUpTrial({ eventsPerS: 100_000, cpuUs: 70, p99Ms: 6 });
    const hourglass = { ...trial, kill: { ...trial.kill!, lost: 1 } };
    expect(missedNames(madeUp({ hourglass }))).toEqual([
      "CPU per event, all processes, against approach 4",
      "p99 of POST, current hour",
      "p99 of GET, current hour",
      "events lost by kill -9, hourglass",
    ]);
  });

  test("are missed by what was not measured", () => {
    const missed = judge(madeUp({ "hourglass-2-workers": undefined })).filter(({ isMet }) => !isMet);
    expect(missed.map(verdictText)).toEqual([
      "MISSED  server CPU per event, 2 workers, against 1: not measured, target <= 1.15",
    ]);
  });

  test("are missed by all if nothing was measured", () => {
    expect(missedNames({ ...madeUp(), candidates: [], growth: [], batches: [] })).toHaveLength(TARGETS.length);
  });
});

describe("--check", () => {
  async function check(results: Results) {
    const path = join(folder, "made-up.json");
    await Bun.write(path, JSON.stringify(results));
    return await bench("--check", "--from", path);
  }

  test(
    "ends with 0 if all targets are met",
    async () => {
      const { code, errors } = await check(madeUp());
      expect(errors).toContain("all targets are met");
      expect(code).toBe(0);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "ends with 1, and names the row that is missed",
    async () => {
      const { code, errors } = await check(madeUp({ hourglass: madeUpTrial({ ...FAST, eventsPerS: 80_000 }) }));
      expect(errors).toContain("MISSED  POST events/s, Redis + MySQL, against the async ceiling: 0.8 times");
      expect(code).toBe(1);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "takes no candidate that there is not",
    async () => {
      const { code, errors } = await bench("--only", "approach-5");
      expect(errors).toContain("There is no 'approach-5' among ceiling-async");
      expect(code).toBe(1);
    },
    PROCESS_TIMEOUT_MS,
  );
});
