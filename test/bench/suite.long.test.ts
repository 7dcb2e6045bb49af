/** The bench suite as a command, at its smallest sizes: all candidates, with figures and a report. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CANDIDATES } from "../../bench/candidates.ts";
import { PERCENTILES } from "../../bench/load/percentiles.ts";
import { QUICK } from "../../bench/measure/parameters.ts";
import type { Results } from "../../bench/results.ts";
import { TARGETS } from "../../bench/targets.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { describeWithServers } from "../harness/servers/servers.ts";

const SUITE_TIMEOUT_MS = 600_000;
/** uPlot alone has more. */
const PROGRAM_MIN_CHARS = 30_000;
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

describeWithServers("the bench suite", ["redis", "mariadb"], () => {
  let ran: Awaited<ReturnType<typeof bench>>;
  let results: Results;

  beforeAll(async () => {
    ran = await bench("--quick", "--out", folder);
    results = await Bun.file(join(folder, "latest.json")).json();
  }, SUITE_TIMEOUT_MS);

  test("ends with 0, and says what it found", () => {
    expect(ran.code).toBe(0);
    for (const { title } of CANDIDATES) expect(ran.output).toContain(title);
    for (const { name } of TARGETS) expect(ran.output).toContain(name);
  });

  test("runs all candidates and all cases of growth", () => {
    expect(results.candidates.map(({ name }) => name)).toEqual(CANDIDATES.map(({ name }) => name));
    expect([...results.candidates, ...results.growth].flatMap(({ failures }) => failures)).toEqual([]);
    expect(results.growth.map(({ name }) => name)).toEqual(["base", "users", "streams", "rows"]);
    for (const { eventsPerS } of results.growth) expect(eventsPerS[0]).toBeGreaterThan(0);
  });

  test("has figures of batches", () => {
    expect(results.batches.map(({ name }) => name)).toEqual(["hourglass", "hourglass-embedded"]);
    for (const { rounds, failures } of results.batches) {
      expect(failures).toEqual([]);
      expect(rounds[0]!.refusedRequests).toBe(0);
      expect(rounds[0]!.takenPerS).toBeGreaterThan(0);
      expect(rounds[0]!.storedPerS).toBeGreaterThan(0);
    }
    expect(results.batches[0]!.rounds[0]!.bulkRowsPerS).toBeGreaterThan(0);
  });

  for (const { name, storesEvents, latencyReference } of CANDIDATES) {
    test(`has figures of ${name}`, () => {
      const trial = results.candidates.find((one) => one.name === name)!.rounds[0]!;
      expect(Object.keys(trial.maximum)).toEqual([...QUICK.mixes]);
      for (const { requestsPerS, failed, cpuUsPerRequest } of Object.values(trial.maximum)) {
        expect(requestsPerS).toBeGreaterThan(0);
        expect(failed).toBe(0);
        expect(cpuUsPerRequest.server).toBeGreaterThanOrEqual(0);
      }
      expect(trial.residentMb.server).toBeGreaterThan(0);
      expect(trial.latencies.map(({ share }) => share)).toEqual([...QUICK.latencyShares]);
      for (const { classes, reference } of trial.latencies) {
        expect(classes["POST current"]!.ms).toHaveLength(PERCENTILES.length);
        expect(classes["POST current"]!.ms.every((ms) => ms > 0)).toBe(true);
        expect(reference !== undefined).toBe(latencyReference !== undefined);
      }
      if (!storesEvents) return;
      expect(trial.kill!.acknowledged).toBeGreaterThan(0);
      expect(trial.kill!.counted).toBeGreaterThanOrEqual(trial.kill!.acknowledged);
      if (name.startsWith("hourglass")) expect(trial.kill!.rows).toBe(trial.kill!.counted);
    });
  }

  test("writes a report that needs nothing else", async () => {
    const html = await Bun.file(join(folder, "latest.html")).text();
    // Told by a boolean each: a failure would print the whole of it.
    expect(CANDIDATES.filter(({ title }) => !html.includes(title))).toEqual([]);
    expect(html.includes(".uplot canvas")).toBe(true);
    expect(html.split('<script type="module">')[1]!.length).toBeGreaterThan(PROGRAM_MIN_CHARS);
    expect(/(src|href)=["']?https?:|@import|url\(/.exec(html)?.[0]).toBeUndefined();
  });
});
