/** Groups of Redis whose masters are replaced while events arrive. */
import { expect, test } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { expectAllHeld, SERVERS, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { runCluster } from "./suites/cluster.ts";

for (const redis of ["cluster", "sentinel"] as const) {
  describeWithServers(`chaos, Redis, ${redis}`, SERVERS, () => {
    test(
      "masters replaced, a slot moved, instances killed and added: nothing is lost or doubled",
      async () => {
        const report = await runCluster({ redis, rounds: 1, ratePerS: 200, seed: seedFor(redis), say });
        expectAllHeld(report);
        expect(report.figures).toMatchObject({ lost: 0, doubled: 0 });
        expect(report.figures["rows"]).toBe(report.figures["events acknowledged"]!);
      },
      2 * TIMEOUT_MS,
    );
  });
}
