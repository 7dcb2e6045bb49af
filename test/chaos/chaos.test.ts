/**
 * Each chaos suite, for some seconds: that it runs, and that nothing it watches over breaks meanwhile. Longer
 * runs are made by hand: see docs/faults.md.
 */
import { describe, expect, test } from "bun:test";
import { seedFor } from "../harness/pipeline/random.ts";
import type { ServerKind } from "../harness/servers/binaries.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { Tmpfs } from "../harness/servers/tmpfs.ts";
import type { SiteMode } from "./site/chaos-site.ts";
import { runCluster } from "./suites/cluster.ts";
import { runDiskFull } from "./suites/disk-full.ts";
import { runFaults } from "./suites/faults.ts";
import { runFuzz } from "./suites/fuzz.ts";
import { runMysqlAway } from "./suites/mysql-away.ts";
import { runOverload } from "./suites/overload.ts";
import { runQueue } from "./suites/queue.ts";
import { runRedisAway } from "./suites/redis-away.ts";
import { runSoak } from "./suites/soak.ts";
import { runTeeth } from "./suites/teeth.ts";
import { type Report, reportText } from "./verdict/report.ts";

const TIMEOUT_MS = 180_000;
const SERVERS: readonly ServerKind[] = ["redis", "mariadb"];
interface Mode {
  readonly mode: SiteMode;
  readonly shards: number;
  readonly needs: readonly ServerKind[];
}

const MODES: readonly Mode[] = [
  { mode: "embedded", shards: 1, needs: [] },
  { mode: "redis", shards: 1, needs: SERVERS },
  { mode: "redis", shards: 3, needs: SERVERS },
];
const say = () => {};

function expectAllHeld(report: Report): void {
  console.log(reportText(report));
  expect(report.skipped).toBeUndefined();
  expect(report.problems).toEqual([]);
}

for (const { mode, shards, needs } of MODES) {
  describeWithServers(`chaos, ${mode}, ${shards} shards`, needs, () => {
    test(
      "random faults under load: nothing is lost or doubled",
      async () => {
        const seed = seedFor("faults");
        const report = await runFaults({ mode, shards, faults: 6, ratePerS: 300, seed, say });
        expectAllHeld(report);
        expect(report.figures).toMatchObject({ faults: 6, lost: 0, doubled: 0 });
        expect(report.figures["rows"]).toBe(report.figures["events acknowledged"]!);
      },
      TIMEOUT_MS,
    );
  });
}

describeWithServers("chaos, MySQL away", SERVERS, () => {
  test(
    "over the turn of an hour: no POST fails, reads are right, the backlog drains",
    async () => {
      expectAllHeld(await runMysqlAway({ seconds: 3, ratePerS: 300, seed: seedFor("mysql-away"), say }));
    },
    TIMEOUT_MS,
  );
});

describeWithServers("chaos, Redis away", SERVERS, () => {
  test(
    "frozen and killed in turns: refused meanwhile, back by itself, nothing is lost or doubled",
    async () => {
      const options = { times: 2, ratePerS: 300, areLatenciesJudged: false };
      expectAllHeld(await runRedisAway({ ...options, seed: seedFor("redis-away"), say }));
    },
    TIMEOUT_MS,
  );
});

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

describe("chaos, embedded, from outside", () => {
  test(
    "overload: each answer is 204 or 503, and all that was acknowledged is stored",
    async () => {
      const options = { seconds: 2, measureSeconds: 1, connections: 400 };
      expectAllHeld(await runOverload({ ...options, mode: "embedded", seed: seedFor("overload"), say }));
    },
    TIMEOUT_MS,
  );

  test(
    "fuzz: no crash, no fault, and counts that are those of the acknowledged",
    async () => {
      expectAllHeld(await runFuzz({ mode: "embedded", requests: 3_000, seed: seedFor("fuzz"), say }));
    },
    TIMEOUT_MS,
  );

  test(
    "soak: a load that it can bear is borne",
    async () => {
      const options = { seconds: 2, measureSeconds: 1 };
      expectAllHeld(await runSoak({ ...options, mode: "embedded", seed: seedFor("soak"), say }));
    },
    TIMEOUT_MS,
  );
});

const disk = Tmpfs.mount(1);
if (typeof disk === "string") console.warn(`\nTEST SKIPPED: 'CHAOS, FULL DISK': ${disk}\n`);
else await disk.close();

describe.skipIf(typeof disk === "string")("chaos, full disk", () => {
  test(
    "filled and freed: refused meanwhile, nothing is lost, it recovers by itself",
    async () => {
      expectAllHeld(await runDiskFull({ fills: 2, seed: seedFor("disk-full"), say }));
    },
    TIMEOUT_MS,
  );
});

describeWithServers("chaos, teeth", [...SERVERS, "rabbitmq"], () => {
  test(
    "a promise that is broken on purpose is noticed",
    async () => {
      expectAllHeld(await runTeeth({ only: ["seq-not-checked"], seed: seedFor("teeth"), say }));
    },
    TIMEOUT_MS,
  );

  test("a mutation that there is not is refused", async () => {
    const biting = runTeeth({ only: ["no-such-mutation"], seed: 0, say });
    await expect(biting).rejects.toThrow("there is no mutation 'no-such-mutation'");
  });
});
