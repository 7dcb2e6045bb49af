/**
 * kill -9 at any instant: acknowledged events are stored once, others at most once, and all counts come from the same
 * rows. Redis and MySQL keep running.
 */
import { afterEach, beforeEach, expect } from "bun:test";
import { HOUR_MS, hourKeyName, hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { type Counts, readHour } from "../harness/service/analytics-client.ts";
import { fatesOf, hoursOf, Load, rowFaults } from "../harness/service/load.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { expectHoursToBeReplay, replay } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { budgetTest } from "../harness/tiers.ts";

const TEST_TIMEOUT_MS = 180_000;
const DRAIN = { timeoutMs: 60_000, intervalMs: 100 };
const KILLS = { quick: 5, full: 20, timeoutMs: TEST_TIMEOUT_MS };
const CLIENTS = 12;
const MAX_STEPS = 1_500;
/** Every so often it is killed once more while it starts, and recovers. */
const KILLS_PER_RECOVERY_KILL = 4;

/** Flushes are short and many, so that kills fall before, into and after them. */
const SETTINGS = { FLUSH_INTERVAL_MS: "20", FLUSH_MAX_EVENTS: "200", LEASE_MS: "1000" };
const STREAMS = ["default", "site-2"];
const THIS_HOUR = hourOf(Date.now());
/** The last one is long cold, so that it has to be fetched after every restart. */
const HOURS = [THIS_HOUR, THIS_HOUR - HOUR_MS, THIS_HOUR - 50 * HOUR_MS];

for (const { name, needs, open } of MODES) {
  describeWithServers(`kill -9, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeEach(async () => {
      site = await open();
      service = await site.start(SETTINGS);
    });
    afterEach(() => site.close());

    function killAtStep(load: Load, steps: number): Promise<void> {
      return new Promise((resolve, reject) => {
        load.afterSteps(steps, () => service.kill().then(resolve, reject));
      });
    }

    /** Answers how long it took. */
    async function start(): Promise<number> {
      const startedMs = performance.now();
      await service.start();
      return performance.now() - startedMs;
    }

    /** Kills at a random instant before, during or after its recovery; a start takes `startMs`. */
    async function killWhileStarting(random: Random, startMs: number): Promise<void> {
      const starting = service.start().catch(() => {});
      const killed = Promise.withResolvers<void>();
      setTimeout(() => service.kill().then(killed.resolve, killed.reject), random.fraction() * startMs);
      await Promise.all([starting, killed.promise]);
    }

    async function killAgainAndAgain(load: Load, random: Random, kills: number): Promise<void> {
      let startMs = 0;
      for (let kill = 1; kill <= kills; kill++) {
        await killAtStep(load, 1 + random.below(MAX_STEPS));
        if (kill % KILLS_PER_RECOVERY_KILL === 0) await killWhileStarting(random, startMs);
        startMs = await start();
      }
    }

    async function readCounts(): Promise<Map<string, Counts>> {
      const reads = hoursOf({ streams: STREAMS, hours: HOURS }).map(async ({ stream, hour, name: key }) => {
        return [key, await readHour(service.port, hour, stream)] as const;
      });
      return new Map(await Promise.all(reads));
    }

    /** Once there are as many rows as are counted: all that is counted is flushed then. */
    function countsOnceDrained(): Promise<Map<string, Counts>> {
      const probe = async () => {
        const counts = await readCounts();
        const counted = counts.values().reduce((sum, hour) => sum + hour.clicks + hour.impressions, 0);
        const rows = await site.cold.countEvents();
        if (counted !== rows) throw new Error(`${counted} events are counted, and ${rows} are rows`);
        return counts;
      };
      return waitFor("the journals to drain", probe, DRAIN);
    }

    const title = (kills: number) => `${kills} times under load loses nothing, and counts nothing twice`;
    budgetTest(title, KILLS, async (kills) => {
      const random = new Random(seedFor(`kill -9, ${name}`));
      const ports = [service.port];
      const load = new Load({
        ports,
        random,
        clients: CLIENTS,
        streams: STREAMS,
        hours: HOURS,
        withId: 0.5,
      });
      await killAgainAndAgain(load, random, kills);
      await load.finish();

      const counts = await countsOnceDrained();
      const rows = await site.cold.events();
      console.log(`kill -9, ${name}: ${fatesOf(load.events)}`);
      expect(load.surprises).toEqual([]);
      expect(rowFaults(load.events, rows)).toEqual([]);
      expectHoursToBeReplay(await site.cold.hours(), rows);
      const replayed = Array.from(replay(rows).values(), ({ stream, hour, clicks, impressions, users }) => {
        return [hourKeyName(stream, hour), { uniqueUsers: users.count(), clicks, impressions }] as const;
      });
      expect(counts).toEqual(new Map(replayed));
    });
  });
}
