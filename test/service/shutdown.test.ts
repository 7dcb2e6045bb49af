/** SIGTERM under load: every acknowledged event is stored, and every other client knows that its event is not. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { fatesOf, hoursOf, Load, rowFaults } from "../harness/service/load.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { expectHoursToBeReplay, type StoredEvent } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SETUP_TIMEOUT_MS = 120_000;
const TEST_TIMEOUT_MS = 180_000;
const DRAIN_TIMEOUT_MS = 60_000;
/** The service's own bound is 25 s. */
const STOP_BOUND_MS = 30_000;
const ROUNDS = 3;
const CLIENTS = 16;
const MAX_STEPS = 3_000;

for (const { name, needs, open } of MODES) {
  describeWithServers(`SIGTERM, ${name}`, needs, () => {
    let site: Site;
    let service: Service;
    const others: Site[] = [];

    beforeAll(async () => {
      site = await open();
      service = await site.start();
    }, SETUP_TIMEOUT_MS);
    afterAll(async () => {
      await Promise.all([site, ...others].map((each) => each.close()));
    }, SETUP_TIMEOUT_MS);

    function loadOn(streams: readonly string[], random: Random): { load: Load; hours: number[] } {
      const thisHour = hourOf(Date.now());
      const hours = [thisHour, thisHour - 30 * HOUR_MS];
      return {
        hours,
        load: new Load({ ports: [service.port], random, clients: CLIENTS, streams, hours, withId: 0.5 }),
      };
    }

    /** Embedded, a folder has one instance: this is another one. */
    async function openDraining(): Promise<Site> {
      if (name !== "embedded") return site;
      const other = await open();
      others.push(other);
      return other;
    }

    async function stopAtStep(load: Load, steps: number): Promise<void> {
      await new Promise<void>((resolve) => load.afterSteps(steps, resolve));
      const startedMs = performance.now();
      await service.kill("SIGTERM");
      expect(performance.now() - startedMs).toBeLessThan(STOP_BOUND_MS);
      expect({ exitCode: service.exitCode, log: service.log() }).toMatchObject({ exitCode: 0 });
    }

    function expectNoLoss(load: Load, rows: readonly StoredEvent[]): void {
      expect(load.surprises).toEqual([]);
      // On a busy machine a moment may have been too long for some.
      const may = ["shutting_down", "hot_store_away"];
      expect([...load.refusalCodes].filter((code) => !may.includes(code))).toEqual([]);
      expect(rowFaults(load.events, rows)).toEqual([]);
    }

    async function countOf(streams: readonly string[], hours: readonly number[]): Promise<number> {
      const keys = hoursOf({ streams, hours });
      const reads = await Promise.all(keys.map(({ hour, stream }) => readHour(service.port, hour, stream)));
      return reads.reduce((sum, { clicks, impressions }) => sum + clicks + impressions, 0);
    }

    test(
      "ends with 0, in time, with every acknowledged event in the cold store",
      async () => {
        const random = new Random(seedFor(`SIGTERM, ${name}`));
        const streams = ["default", "site-2"];
        const { load, hours } = loadOn(streams, random);
        for (let round = 1; round < ROUNDS; round++) {
          await stopAtStep(load, 1 + random.below(MAX_STEPS));
          await service.start();
        }
        await stopAtStep(load, 1 + random.below(MAX_STEPS));
        await load.giveUp();

        // No instance runs now: what was left in a journal is not in the rows.
        const rows = await site.cold.events();
        expectNoLoss(load, rows);
        expectHoursToBeReplay(await site.cold.hours(), rows);
        // A kept connection may be closed just when its client uses it, to which HTTP knows no remedy; but all
        // that are in use are told of the end, with an answer.
        expect(load.losses).toBeLessThan((ROUNDS * CLIENTS) / 2);
        await service.start();
        expect(await countOf(streams, hours)).toBe(rows.length);
        console.log(`SIGTERM, ${name}: ${fatesOf(load.events)}; ${load.losses} requests not answered`);
      },
      TEST_TIMEOUT_MS,
    );

    test(
      "with DRAIN_MS it says first that it ends, and takes events until then",
      async () => {
        const { start } = await openDraining();
        const drained = await start({ DRAIN_MS: "5000" });
        const event = { at: Date.now(), kind: "click", stream: "drained" } as const;
        const ending = drained.kill("SIGTERM");
        await waitFor("it to say that it ends", async () => {
          const { status, body } = await ask(drained.port, { method: "GET", target: "/readyz" });
          return status === 503 && JSON.parse(body).reason === "shutting_down";
        });
        await postEvent(drained.port, { ...event, user: "late" });
        await ending;
        expect(drained.exitCode).toBe(0);
        expect(drained.log()).toContain('"stopped"');
      },
      TEST_TIMEOUT_MS,
    );

    if (name === "embedded") return;

    test(
      "ends with 0, in time, while MySQL is away; the next start finds all of it",
      async () => {
        const { mariaDb } = site.servers!;
        const random = new Random(seedFor(`SIGTERM without MySQL, ${name}`));
        const { load, hours } = loadOn(["away"], random);
        await new Promise<void>((resolve) => load.afterSteps(1_000, resolve));
        await mariaDb.kill();
        await stopAtStep(load, 1 + random.below(MAX_STEPS));
        await load.giveUp();
        await mariaDb.start();
        await service.start();
        const rows = await waitFor(
          "as many rows as are counted",
          async () => {
            const stored = await site.cold.events("away");
            return stored.length === (await countOf(["away"], hours)) && stored;
          },
          { timeoutMs: DRAIN_TIMEOUT_MS, intervalMs: 100 },
        );
        expectNoLoss(load, rows);
      },
      TEST_TIMEOUT_MS,
    );
  });
}
