/** Several instances, measured as a command at tiny sizes, beside the figures of the simulation. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bench } from "../harness/project/bench-command.ts";
import { describeWithServers } from "../harness/servers/servers.ts";

const PROCESS_TIMEOUT_MS = 300_000;

describeWithServers("several instances, measured", ["redis", "mariadb"], () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "hourglass-instances-test-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test(
    "have figures beside those that are simulated from the costs of one",
    async () => {
      const args = ["instances", "--quick", "--counts", "1,2", "--out", folder];
      const { code, output, errors } = await bench(...args);
      expect([code, code === 0 ? "" : errors]).toEqual([0, ""]);
      const { costs, compared, results } = await Bun.file(join(folder, "instances.json")).json();
      expect(compared.map(({ instances }: { instances: number }) => instances)).toEqual([1, 2]);
      for (const { most, paced } of results) {
        expect([most.failed, paced.failed]).toEqual([0, 0]);
        expect(most.eventsPerS).toBeGreaterThan(0);
        expect(most.batchEvents).toBeGreaterThanOrEqual(1);
        expect(paced.eventsPerS).toBeGreaterThan(0);
      }
      for (const { simulated } of compared) expect(simulated.answeredPerS).toBeGreaterThan(0);
      expect(output).toContain("| instances |");
      const simulated = await bench("simulate", "--costs", join(folder, "instances.json"), "--seconds", "0.2");
      expect([simulated.errors, simulated.code]).toEqual(["", 0]);
      expect(simulated.output).toContain(`Redis ${costs.redisEventUs.toFixed(1)} an event`);
    },
    PROCESS_TIMEOUT_MS,
  );
});
