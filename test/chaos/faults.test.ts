/** Random faults under load, few in the quick tier. Longer runs are started by hand: see docs/faults.md. */
import { expect } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { budgetTest } from "../harness/tiers.ts";
import { expectAllHeld, MODES, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { runFaults } from "./suites/faults.ts";

for (const { mode, shards, needs } of MODES) {
  describeWithServers(`chaos, ${mode}, ${shards} shards`, needs, () => {
    const budgets = { quick: shards === 1 ? 3 : 1, full: 20, timeoutMs: 2 * TIMEOUT_MS };
    budgetTest("random faults under load: nothing is lost or doubled", budgets, async (faults) => {
      const seed = seedFor("faults");
      const report = await runFaults({ mode, shards, faults, ratePerS: 300, seed, say });
      expectAllHeld(report);
      expect(report.figures).toMatchObject({ faults, lost: 0, doubled: 0 });
      expect(report.figures["rows"]).toBe(report.figures["events acknowledged"]!);
    });
  });
}
