/**
 * A web server's log of four days in 2015, posted in any order, reads back as the counts that were taken from it
 * beforehand: from the hot store, from the rows, and from the cold store alone.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { dataFile, logEvents, overConnections } from "../harness/service/access-log.ts";
import { type Counts, type PostedEvent, postEvent, readHour } from "../harness/service/analytics-client.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { expectHoursToBeReplay, usersIn } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SETUP_TIMEOUT_MS = 120_000;
const TEST_TIMEOUT_MS = 180_000;
const EVENTS = 10_000;
const HOURS = 84;

async function truthByHour(): Promise<Map<number, Counts>> {
  const [, ...lines] = (await dataFile("access.truth.csv").text()).trim().split(/\r?\n/);
  const rows = lines.map((line) => line.split(",").map(Number) as [number, number, number, number]);
  return new Map(rows.map(([hour, uniqueUsers, clicks, impressions]) => [hour, { uniqueUsers, clicks, impressions }]));
}

async function readHours(port: number, hours: Iterable<number>): Promise<Map<number, Counts>> {
  const read = new Map<number, Counts>();
  // Anywhere in the hour will do.
  await overConnections(port, hours, async (connection, hour) => {
    read.set(hour, await readHour(connection, hour + HOUR_MS / 2));
  });
  return new Map([...read].sort(([a], [b]) => a - b));
}

/** Clicks and impressions to the last one; users within 1, as the sketch is all but exact at such numbers. */
function expectTruth(read: ReadonlyMap<number, Counts>, truth: ReadonlyMap<number, Counts>): void {
  const exactParts = (counts: ReadonlyMap<number, Counts>) =>
    Array.from(counts, ([hour, { clicks, impressions }]) => ({ hour, clicks, impressions }));
  expect(exactParts(read)).toEqual(exactParts(truth));
  const errors = Array.from(truth, ([hour, { uniqueUsers }]) => read.get(hour)!.uniqueUsers - uniqueUsers);
  expect(errors.filter((error) => Math.abs(error) > 1)).toEqual([]);
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`a real log, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start();
    }, SETUP_TIMEOUT_MS);
    afterAll(() => site.close(), SETUP_TIMEOUT_MS);

    /** Restarted so that the hot store holds nothing: the cold store has to answer. */
    async function restartCold(): Promise<void> {
      await service.kill("SIGTERM");
      await site.servers?.redis.forgetAll();
      await service.start();
    }

    /** The rows are the events, and the hours what they come to, users as the hot store counts them. */
    async function expectStored(events: readonly PostedEvent[], hot: ReadonlyMap<number, Counts>) {
      await waitFor("all rows", async () => (await site.cold.countEvents()) === events.length);
      const rows = await site.cold.events();
      expect(rows.map((row) => JSON.stringify(row)).sort()).toEqual(events.map(rowOf).sort());
      const stored = await site.cold.hours();
      expectHoursToBeReplay(stored, rows);
      const cold = stored.map((each): [number, Counts] => {
        const { hour, clicks, impressions } = each;
        return [hour, { uniqueUsers: usersIn(each).count(), clicks, impressions }];
      });
      expect(new Map(cold)).toEqual(new Map(hot));
    }

    /** One click more in each hour, of a user that it knows. Answers what the hours are then. */
    async function postLate(events: readonly PostedEvent[], before: ReadonlyMap<number, Counts>, random: Random) {
      const late = [...Map.groupBy(events, ({ at }) => hourOf(at)).values()].map((ofHour) => random.pick(ofHour));
      await overConnections(service.port, late, (connection, event) =>
        postEvent(connection, { ...event, kind: "click" }),
      );
      const oneMore = (counts: Counts): Counts => ({ ...counts, clicks: counts.clicks + 1 });
      return new Map(Array.from(before, ([hour, counts]) => [hour, oneMore(counts)]));
    }

    test(
      "reads back as it was counted, before and after it left the hot store",
      async () => {
        const random = new Random(seedFor(`a real log, ${name}`));
        const truth = await truthByHour();
        const events = await logEvents();
        expect([events.length, truth.size]).toEqual([EVENTS, HOURS]);

        await overConnections(service.port, random.shuffled(events), postEvent);
        const hot = await readHours(service.port, truth.keys());
        expectTruth(hot, truth);
        await expectStored(events, hot);

        await restartCold();
        expect(await readHours(service.port, truth.keys())).toEqual(hot);
        const withLate = await postLate(events, hot, random);
        expect(await readHours(service.port, truth.keys())).toEqual(withLate);

        await restartCold();
        expect(await readHours(service.port, truth.keys())).toEqual(withLate);
        expect(await site.cold.countEvents()).toBe(EVENTS + HOURS);
      },
      TEST_TIMEOUT_MS,
    );
  });
}

function rowOf({ at, user, kind }: PostedEvent): string {
  return JSON.stringify({ stream: "default", hour: hourOf(at), at, kind, user, id: null });
}
