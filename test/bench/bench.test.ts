/**
 * What the bench sends and how it judges, at sizes whose figures mean nothing. Invented results show that its gate
 * closes; figures about a machine need `npm run bench`.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BARE, CANDIDATES, candidate, type Running, withCandidate } from "../../bench/candidates.ts";
import { CRITERIA, judge } from "../../bench/criteria.ts";
import { LoadDriver } from "../../bench/load/load-driver.ts";
import { type Distribution, distributionOf, PERCENTILES, percentileMs } from "../../bench/load/percentiles.ts";
import { batchRequests, POSTS, POSTS_AND_READS, REQUEST_CLASSES, workload } from "../../bench/load/workload.ts";
import { FULL, GATE, QUICK } from "../../bench/parameters.ts";
import { PAGES, withSections } from "../../bench/report/markdown.ts";
import type { CandidateResults, RateResult, Results, TrialResult } from "../../bench/results.ts";
import { ratios, spreadOf } from "../../bench/statistics.ts";
import { judgementOf } from "../../bench/verdict.ts";
import { Latencies } from "../../src/runtime/latencies.ts";
import { bench } from "../harness/project/bench-command.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";

const PROCESS_TIMEOUT_MS = 180_000;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-bench-test-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("the bench's load", () => {
  const driver = new LoadDriver(QUICK);
  const target = (port: number) => ({
    port,
    mix: POSTS_AND_READS,
    population: { users: 1_000, streams: 1 },
    seed: 1,
    durationMs: 500,
  });

  test(
    "is what it is told to be",
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
      const { answered, failed } = await driver.saturate(target(recording.port!));
      const { latencies } = await driver.sendAtRate(target(recording.port!), 1_000);
      await recording.stop(true);
      expect(failed).toBe(0);
      expect(answered).toBeGreaterThan(0);
      expect([...seen].sort()).toEqual([
        "GET /analytics timestamp null",
        "POST /analytics click,timestamp,user 0",
        "POST /analytics impression,timestamp,user 0",
      ]);
      // All but the first eighth have a sample.
      const samples = REQUEST_CLASSES.map((name) => latencies[name]?.count ?? 0);
      expect(samples.reduce((sum, count) => sum + count, 0)).toBe(438);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "does not take a server that refuses for a fast one",
    async () => {
      const refusing = Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: () => new Response("no", { status: 503 }),
      });
      const saturated = driver.saturate(target(refusing.port!));
      await expect(saturated).rejects.toThrow("no request was answered with success");
      await refusing.stop(true);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "fails with a server that closes",
    async () => {
      const closing = Bun.listen({
        ...{ port: 0, hostname: "127.0.0.1" },
        socket: { data: (socket) => void socket.end() },
      });
      const sent = driver.sendAtRate(target(closing.port), 100);
      await expect(sent).rejects.toThrow("the server closed connections, at 100 requests/s");
      closing.stop(true);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "kills a server only once it has acknowledged what is due until then",
    async () => {
      let answered = 0;
      let answeredBefore = 0;
      const server = Bun.serve({
        ...{ port: 0, hostname: "127.0.0.1" },
        fetch: () => {
          answered += 1;
          return new Response(null, { status: 204 });
        },
      });
      const { acknowledged } = await driver.sendUntilKilled(target(server.port!), 200, async () => {
        answeredBefore = answered;
        await server.stop(true);
      });
      expect(answeredBefore).toBeGreaterThanOrEqual(100);
      expect(acknowledged).toBeGreaterThanOrEqual(100);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "does not take the end of a server for its kill",
    async () => {
      const closing = Bun.listen({
        ...{ port: 0, hostname: "127.0.0.1" },
        socket: { data: (socket) => void socket.end() },
      });
      const neverKilled = async () => expect.unreachable();
      const sent = driver.sendUntilKilled(target(closing.port), 200, neverKilled);
      await expect(sent).rejects.toThrow("the load ended before the kill: 0 of 100 requests were acknowledged");
      closing.stop(true);
    },
    PROCESS_TIMEOUT_MS,
  );
});

describe("a failure while a candidate is measured", () => {
  const stores = { redis: undefined, mariaDb: undefined, close: async () => {} };

  test(
    "says whether the server runs, and what it wrote last",
    async () => {
      const failWith = (use: (running: Running) => Promise<void>) =>
        withCandidate(candidate(BARE), stores, QUICK, async (running) => {
          await use(running);
          throw new Error("it broke");
        });
      await expect(failWith(async () => {})).rejects.toThrow(
        /^it broke\nbench \(pid \d+\) is running; its last output:\nlistening on 127\.0\.0\.1:\d+\n$/,
      );
      await expect(failWith(({ process }) => process.kill())).rejects.toThrow(
        /^it broke\nbench \(pid \d+\) has ended \(SIGKILL\); its last output:\nlistening on /,
      );
    },
    PROCESS_TIMEOUT_MS,
  );
});

describe("the workload", () => {
  const options = {
    mix: POSTS_AND_READS,
    population: { users: 1_000_000, streams: 1 },
    requests: 20_000,
    seed: 5,
    now: Date.UTC(2030, 5, 15, 12, 30),
  };
  const textOf = (one: typeof options) => Buffer.from(workload(one).bytes).toString("latin1");
  const lines = textOf(options).match(/^(POST|GET) .*(?= HTTP)/gm)!;
  const { classes } = workload(options);
  const share = (isOne: (line: string, n: number) => boolean) => lines.filter(isOne).length / lines.length;
  const isOlder = (_: string, n: number) => REQUEST_CLASSES[classes[n]!]!.endsWith("older");

  test("is the same for the same seed", () => {
    const [text, again, other] = [options, options, { ...options, seed: 6 }].map(textOf);
    // Told by a boolean each: a failure would print the whole of them.
    expect([text === again, text === other]).toEqual([true, false]);
  });

  test("is about the current hour, mostly", () => {
    expect(share((line) => line.includes(`timestamp=${options.now}`))).toBeCloseTo(0.95, 1);
    expect(share(isOlder)).toBeCloseTo(0.05, 2);
    const isCurrent = (line: string) => line.includes(`timestamp=${options.now}`);
    expect(lines.every((line, n) => isCurrent(line) !== isOlder(line, n))).toBe(true);
  });

  test("has as many posts as its mix says, and one click in ten", () => {
    const posts = share((line) => line.startsWith("POST"));
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

test("a batch has as many events as it is told to have", () => {
  const batches = {
    mix: POSTS,
    population: { users: 10, streams: 2 },
    seed: 1,
    now: 0,
    batches: 3,
    batchEvents: 20,
  };
  const { bytes, starts } = batchRequests(batches);
  expect(starts).toHaveLength(4);
  for (let n = 0; n < 3; n++) {
    const text = Buffer.from(bytes.subarray(starts[n], starts[n + 1])).toString();
    const [head = "", body = ""] = text.split("\r\n\r\n");
    expect(head).toContain(`Content-Length: ${body.length}`);
    expect(body.split("\n").map((line) => JSON.parse(line).event)).toHaveLength(20);
  }
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

/** A trial well within every bound, except for the given figures. */
interface MadeUp {
  readonly eventsPerS?: number;
  readonly cpuUs?: number;
  readonly latencyMs?: number;
  readonly lost?: number;
  readonly lagS?: number;
}

function madeUpTrial({ eventsPerS = 100_000, cpuUs = 10, latencyMs = 0.3, lost = 0, lagS = 0.5 }: MadeUp = {}) {
  const flush = { lagS, backlogEvents: 0, drainMs: 0 };
  const cost = { cpuUsPerEvent: { server: cpuUs, redis: 0, mysql: 0 }, flush };
  const all: Distribution = { count: 1e6, ms: PERCENTILES.map(() => latencyMs) };
  const latencies = { "POST current": all, "POST older": all, "GET current": all, "GET older": all };
  const rates = FULL.ratesPerS.map((ratePerS): RateResult => ({ ratePerS, answeredShare: 1, latencies, ...cost }));
  const trial: TrialResult = {
    rates,
    maximum: { perS: eventsPerS, failed: 0, ...cost },
    reads: { maximumPerS: eventsPerS, latencies },
    growth: { users: eventsPerS, streams: eventsPerS },
    batches: { acceptedPerS: 20 * eventsPerS, storedPerS: 10, failed: 0, bulkRowsPerS: 10 },
    kill: { acknowledged: 10, inDoubt: 0, counted: 10, rows: 10, lost, restartMs: 100 },
    residentMb: { server: 1, redis: 0, mysql: 0 },
    bytesPerMEvents: { redis: 0, mysql: 0, files: 0 },
  };
  return trial;
}

const MACHINE = {
  ...{ cpu: "made up", cores: 2, memoryGb: 1, system: "-", bun: "-", redis: "-", mariaDb: "-" },
  busyShare: 0,
};

/** The rounds of each candidate; well within every bound where not given. */
function madeUp(instead: Readonly<Record<string, readonly (TrialResult | undefined)[]>> = {}): Results {
  const candidates = CANDIDATES.map(({ name, title }): CandidateResults => {
    return { name, title, rounds: instead[name] ?? [madeUpTrial()], failures: [] };
  });
  const startedAt = "2030-01-01T00:00:00.000Z";
  return { startedAt, durationS: 1, commit: "-", machine: MACHINE, parameters: GATE, candidates };
}

function missedNames(results: Results): string[] {
  return judgementOf(results).gate.flatMap(({ isMet, criterion }) => (isMet ? [] : criterion.name));
}

describe("the gate", () => {
  test("can be passed, with all aims reached", () => {
    const { outcome, aims } = judgementOf(madeUp());
    expect(outcome).toBe("passed");
    expect(aims.filter(({ gap }) => gap !== 0).map(({ criterion }) => criterion.name)).toEqual([]);
  });

  test("has criteria with a name of their own", () => {
    expect(new Set(CRITERIA.map(({ name }) => name)).size).toBe(CRITERIA.length);
  });

  test("has no bound that is beyond its aim", () => {
    const beyond = CRITERIA.filter(({ isUpperBound, bounds: { gate, aim } }) => {
      return gate !== undefined && aim !== undefined && (isUpperBound ? gate < aim : gate > aim);
    });
    expect(beyond.map(({ name }) => name)).toEqual([]);
  });

  test("fails for what answers too late", () => {
    expect(missedNames(madeUp({ hourglass: [madeUpTrial({ latencyMs: 100 })] }))).toEqual([
      "p50 of POST at 500/s, Redis + MySQL",
      ...["2,000/s", "5,000/s", "10,000/s"].flatMap((rate) => [
        `p95 of POST at ${rate}, Redis + MySQL`,
        `p99 of POST at ${rate}, Redis + MySQL`,
      ]),
      "p99 of GET beside as many POSTs, Redis + MySQL",
    ]);
  });

  test("fails for what costs too much, is too slow, or lags behind", () => {
    const slow = madeUpTrial({ cpuUs: 90, eventsPerS: 20_000, lagS: 3 });
    expect(missedNames(madeUp({ "hourglass-embedded": [slow] }))).toEqual([
      "CPU per event at 5,000/s to a bare server, embedded",
      "CPU per event at 15,000/s to a bare server, embedded",
      "maximum POST events/s to a bare server, embedded",
      "maximum GET/s to a bare server, embedded",
      "events behind the flush at 10,000/s, embedded",
      "events behind the flush at the maximum, embedded",
    ]);
  });

  test("fails for one lost event in one of three rounds", () => {
    const rounds = [madeUpTrial(), madeUpTrial({ lost: 1 }), madeUpTrial()];
    expect(missedNames(madeUp({ hourglass: rounds }))).toEqual(["events lost by kill -9, Redis + MySQL"]);
  });

  test("fails for what was not measured, and for nothing that has only an aim", () => {
    const gate = judgementOf(madeUp({ hourglass: [undefined] })).gate;
    const missed = gate.filter(({ isMet }) => !isMet);
    expect(missed.length).toBeGreaterThan(5);
    expect(missed.map(({ found }) => found)).toEqual(missed.map(() => undefined));
    expect(missedNames(madeUp({ "hourglass-always": [undefined], "hourglass-2-workers": [] }))).toEqual([]);
  });

  test("shows how far an aim is", () => {
    const found = judge(madeUp({ "hourglass-always": [madeUpTrial({ eventsPerS: 50_000 })] }));
    const always = found.find(({ criterion }) => criterion.name.includes("appendfsync always"))!;
    expect([always.isMet, always.found!.median]).toEqual([undefined, 0.5]);
    expect(always.gap).toBeCloseTo(1 / 3);
  });

  test("does not judge a noisy machine, but for what failed", () => {
    const late = madeUpTrial({ latencyMs: 3 });
    const noisy = madeUp({ bare: [late], hourglass: [madeUpTrial({ latencyMs: 100 })] });
    expect(judgementOf(noisy)).toMatchObject({
      outcome: "noisy",
      text: expect.stringContaining("p99 at 10,000/s"),
    });
    expect(judgementOf({ ...madeUp(), machine: { ...MACHINE, busyShare: 0.5 } }).outcome).toBe("noisy");
    const differing = [madeUpTrial({ eventsPerS: 50_000 }), madeUpTrial()];
    expect(judgementOf(madeUp({ bare: differing })).outcome).toBe("noisy");
    const candidates = noisy.candidates.map((one) => ({ ...one, failures: ["it broke"] }));
    expect(judgementOf({ ...noisy, candidates }).outcome).toBe("failed");
  });
});

describe("the project's pages", () => {
  const results = madeUp();

  for (const page of PAGES) {
    test(`can be given the results: ${page}`, async () => {
      const before = await Bun.file(join(PROJECT_ROOT, page)).text();
      const after = withSections(before, results);
      const sections = after.match(/<!-- bench: .*?<!-- \/bench -->/gs)!;
      expect(sections.length).toBeGreaterThan(0);
      // Each has what was measured, in bold where it is of Hourglass, or a bound that is met.
      expect(sections.filter((section) => !/\*\*Hourglass|≤|PASSED/.test(section))).toEqual([]);
      expect(withSections(after, results)).toBe(after);
    });
  }

  test("name no section that there is not", () => {
    expect(() => withSections("<!-- bench: rate -->\n<!-- /bench -->", results)).toThrow("bench: rate -->");
  });
});

describe("--check", () => {
  async function check(results: Results) {
    const path = join(folder, "made-up.json");
    await Bun.write(path, JSON.stringify(results));
    return await bench("--check", "--from", path);
  }

  test(
    "exits with 0 if all bounds are met",
    async () => {
      const { code, output, errors } = await check(madeUp());
      expect(output).toStartWith("PASSED: all ");
      expect(errors).toContain("bounds are met");
      expect(code).toBe(0);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "exits with 1 if one is missed, and names it",
    async () => {
      const { code, output, errors } = await check(madeUp({ hourglass: [madeUpTrial({ lost: 3 })] }));
      expect(output).toMatch(/events lost by kill -9, Redis \+ MySQL +3 events +≤ 0 +MISSED/);
      expect(errors).toContain("FAILED: 1 of ");
      expect(code).toBe(1);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "exits with 2 on a noisy machine, and says so first",
    async () => {
      const { code, output } = await check(madeUp({ bare: [madeUpTrial({ latencyMs: 3 })] }));
      expect(output).toStartWith("NOT JUDGED: the machine was not quiet (a bare server's p99 at 10,000/s: 3 ms");
      expect(code).toBe(2);
    },
    PROCESS_TIMEOUT_MS,
  );

  test(
    "takes no candidate that there is not",
    async () => {
      const { code, errors } = await bench("--only", "approach-5");
      expect(errors).toContain("There is no 'approach-5' among bare, approach-1");
      expect(code).toBe(1);
    },
    PROCESS_TIMEOUT_MS,
  );
});
