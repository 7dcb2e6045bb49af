/** Consumers that are killed and a broker that is restarted, while messages arrive. */
import { expect, test } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { expectAllHeld, MODES, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { runQueue } from "./suites/queue.ts";

for (const { mode, needs } of MODES) {
  describeWithServers(`chaos, queue, ${mode}`, [...needs, "rabbitmq"], () => {
    test(
      "consumers killed, the broker restarted: each message is counted once",
      async () => {
        const options = { messages: 6_000, kills: 2, brokerRestarts: 1, ratePerS: 600 };
        const report = await runQueue({ ...options, mode, seed: seedFor("queue"), say });
        expectAllHeld(report);
        expect(report.figures).toMatchObject({ messages: 6_000, rows: 6_000, lost: 0, doubled: 0 });
      },
      TIMEOUT_MS,
    );
  });
}
