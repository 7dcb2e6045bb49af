/** Consumers that are killed and a broker that is restarted, while messages arrive. */
import { expect, test } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { expectAllHeld, MODES, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { runQueue } from "./suites/queue.ts";

const BROKERS = [
  { broker: "rabbitmq", hasIds: true },
  { broker: "kafka", hasIds: false },
  { broker: "activemq", hasIds: true },
] as const;

// The instances of this suite have one shard.
for (const { mode, needs } of MODES.filter(({ shards }) => shards === 1)) {
  for (const { broker, hasIds } of BROKERS) {
    describeWithServers(`chaos, queue, ${broker}, ${mode}`, [...needs, broker], () => {
      test(
        "consumers killed, the broker restarted: each message is counted once",
        async () => {
          const options = { messages: 6_000, kills: 2, brokerRestarts: 1, ratePerS: 600 };
          const seed = seedFor("queue");
          const report = await runQueue({ ...options, broker, hasIds, mode, seed, say });
          expectAllHeld(report);
          expect(report.figures).toMatchObject({ messages: 6_000, lost: 0, doubled: 0 });
        },
        2 * TIMEOUT_MS,
      );
    });
  }
}
