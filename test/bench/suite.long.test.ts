/** The bench suite as a command, at its smallest sizes: all candidates, with figures and a report. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CANDIDATES, whyNotMeasurable } from "../../bench/candidates.ts";
import { CRITERIA } from "../../bench/criteria.ts";
import { PERCENTILES } from "../../bench/load/percentiles.ts";
import type { Results } from "../../bench/results.ts";
import { bench } from "../harness/project/bench-command.ts";
import { describeWithServers } from "../harness/servers/servers.ts";

const SUITE_TIMEOUT_MS = 600_000;
/** MySQL may not have been unpacked here. */
const MEASURED = CANDIDATES.filter((one) => whyNotMeasurable(one) === undefined);

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-bench-test-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describeWithServers("the bench suite", ["redis", "mariadb"], () => {
  let ran: Awaited<ReturnType<typeof bench>>;
  let results: Results;

  beforeAll(async () => {
    ran = await bench("--quick", "--out", folder);
    results = await Bun.file(join(folder, "latest.json")).json();
  }, SUITE_TIMEOUT_MS);

  test("exits with 0, and says what it found", () => {
    expect([ran.code, ran.code === 0 ? "" : ran.errors]).toEqual([0, ""]);
    expect(MEASURED.filter(({ title }) => !ran.output.includes(title))).toEqual([]);
    expect(CRITERIA.filter(({ name }) => !ran.output.includes(name))).toEqual([]);
  });

  test("measures all candidates, and says which it has to leave out", () => {
    expect(results.candidates.map(({ name }) => name)).toEqual(MEASURED.map(({ name }) => name));
    expect(results.candidates.flatMap(({ failures }) => failures)).toEqual([]);
    const left = CANDIDATES.filter((one) => !MEASURED.includes(one));
    expect(left.filter(({ name }) => !ran.errors.includes(`${name.toUpperCase()} IS LEFT OUT`))).toEqual([]);
  });

  for (const { name, phases } of MEASURED) {
    test(`has figures of ${name}`, () => {
      const trial = results.candidates.find((one) => one.name === name)!.rounds[0]!;
      expect(trial.maximum.perS).toBeGreaterThan(0);
      expect(trial.maximum.failed).toBe(0);
      expect(trial.residentMb.server).toBeGreaterThan(0);
      expect(trial.rates.length > 0).toBe(phases.includes("rates"));
      for (const { latencies, cpuUsPerEvent } of trial.rates) {
        expect(latencies["POST current"]!.ms).toHaveLength(PERCENTILES.length);
        expect(latencies["POST current"]!.ms.every((ms) => ms > 0)).toBe(true);
        expect(cpuUsPerEvent.server).toBeGreaterThanOrEqual(0);
      }
      expect(trial.reads !== undefined).toBe(phases.includes("reads"));
      expect(trial.kill !== undefined).toBe(phases.includes("kill"));
      if (trial.kill === undefined) return;
      expect(trial.kill.acknowledged).toBeGreaterThan(0);
      expect(trial.kill.counted).toBeGreaterThanOrEqual(trial.kill.acknowledged);
      expect(trial.kill.lost).toBe(0);
      if (name.startsWith("hourglass")) expect(trial.kill.rows).toBe(trial.kill.counted);
    });
  }

  test("has figures of growing work", () => {
    const [embedded, clustered] = ["hourglass-embedded", "hourglass"].map((name) => {
      return results.candidates.find((one) => one.name === name)!.rounds[0]!;
    });
    for (const { batches } of [embedded!, clustered!]) {
      expect(batches!.failed).toBe(0);
      expect(batches!.acceptedPerS).toBeGreaterThan(0);
      expect(batches!.storedPerS).toBeGreaterThan(0);
    }
    expect(clustered!.batches!.bulkRowsPerS).toBeGreaterThan(0);
    expect(clustered!.growth!.users).toBeGreaterThan(0);
    expect(clustered!.growth!.streams).toBeGreaterThan(0);
  });

  test("writes a report that needs nothing else", async () => {
    const html = await Bun.file(join(folder, "latest.html")).text();
    // Told by a boolean each: a failure would print the whole of it.
    expect(MEASURED.filter(({ title }) => !html.includes(title))).toEqual([]);
    expect(html.includes('class="bar hourglass"')).toBe(true);
    expect(/(src|href)=|<script|@import|url\(/.exec(html)?.[0]).toBeUndefined();
  });
});
