/** A store that is unavailable for a while, under load. */
import { describe } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { Tmpfs } from "../harness/servers/tmpfs.ts";
import { budgetTest, longTest } from "../harness/tiers.ts";
import { expectAllHeld, SERVERS, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { runDiskFull } from "./suites/disk-full.ts";
import { runMysqlAway } from "./suites/mysql-away.ts";
import { runRedisAway } from "./suites/redis-away.ts";

describeWithServers("chaos, MySQL away", SERVERS, () => {
  longTest(
    "over the turn of an hour: no POST fails, reads are right, the backlog drains",
    async () => {
      expectAllHeld(await runMysqlAway({ seconds: 3, ratePerS: 300, seed: seedFor("mysql-away"), say }));
    },
    TIMEOUT_MS,
  );
});

describeWithServers("chaos, Redis away", SERVERS, () => {
  const budgets = { quick: 1, full: 4, timeoutMs: TIMEOUT_MS };
  budgetTest(
    "frozen and killed in turns: refused meanwhile, back by itself, nothing is lost or doubled",
    budgets,
    async (times) => {
      const options = { times, ratePerS: 300, areLatenciesJudged: false };
      expectAllHeld(await runRedisAway({ ...options, seed: seedFor("redis-away"), say }));
    },
  );
});

const disk = Tmpfs.mount(1);
if (typeof disk === "string") console.warn(`\nTEST SKIPPED: 'CHAOS, FULL DISK': ${disk}\n`);
else await disk.close();

describe.skipIf(typeof disk === "string")("chaos, full disk", () => {
  const budgets = { quick: 1, full: 4, timeoutMs: TIMEOUT_MS };
  budgetTest("filled and freed: refused meanwhile, nothing is lost, it recovers by itself", budgets, async (fills) => {
    expectAllHeld(await runDiskFull({ fills, seed: seedFor("disk-full"), say }));
  });
});
