/**
 * Two instances on one Redis and one MySQL: once an event is acknowledged, the next request to either instance finds
 * it.
 */
import { afterEach, beforeEach, expect } from "bun:test";
import { HOUR_MS, hourKeyName, hourOf } from "../../src/domain/event.ts";
import { Sketch } from "../../src/domain/unique-users/sketch.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { TEST_USERS } from "../harness/pipeline/test-users.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { type Counts, type PostedEvent, postEvent, readHour } from "../harness/service/analytics-client.ts";
import { type HttpConnection, openConnection } from "../harness/service/http-connection.ts";
import { type Mode, type Site, shardedMode } from "../harness/service/service.ts";
import { expectHoursToBeReplay } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { budgetTest } from "../harness/tiers.ts";

const TEST_TIMEOUT_MS = 180_000;
const PAIRS = { quick: 1_000, full: 10_000, timeoutMs: TEST_TIMEOUT_MS };
const LANES = 25;
const USERS = 300;
/** They ask for the same hours all the time, so that the lanes' reads meet others that are under way. */
const BYSTANDERS = 10;

/** A stream's acknowledged events, counted independently. The sketch gives the same estimate as Redis. */
class Model {
  readonly #hours = new Map<number, { clicks: number; impressions: number; users: Sketch }>();

  add({ at, kind, user }: PostedEvent): void {
    const hour = this.#hours.get(hourOf(at)) ?? { clicks: 0, impressions: 0, users: new Sketch() };
    if (kind === "click") hour.clicks += 1;
    else hour.impressions += 1;
    hour.users.add(TEST_USERS.registerOf(user));
    this.#hours.set(hourOf(at), hour);
  }

  countsAt(at: number): Counts {
    const { clicks, impressions, users } = this.#hours.get(hourOf(at))!;
    return { uniqueUsers: users.count(), clicks, impressions };
  }
}

for (const shards of [1, 3]) {
  const { needs, open } = shardedMode(shards);
  describeWithServers(`read your write, ${shards} shards`, needs, () => readYourWrite(open, shards));
}

function readYourWrite(open: Mode["open"], shards: number): void {
  let site: Site;
  let ports: number[];

  beforeEach(async () => {
    site = await open();
    // One after the other would do too: that both may start at once, on an empty database, is a promise.
    const services = await Promise.all([site.start(), site.start()]);
    ports = services.map(({ port }) => port);
  });
  afterEach(() => site.close());

  /** Writes to a stream that nobody else writes to, so that every answer is known beforehand. */
  async function lane(number: number, random: Random, hours: readonly number[], pairs: number): Promise<number> {
    const connections = await Promise.all(ports.map(openConnection));
    const stream = `lane-${number}`;
    const model = new Model();
    for (let pair = 0; pair < pairs; pair++) {
      const event: PostedEvent = {
        at: random.pick(hours) + random.below(HOUR_MS),
        user: `user-${random.below(USERS)}`,
        kind: random.chance(0.5) ? "click" : "impression",
        stream,
        // By its id it goes to any shard, without one to that of its instance.
        id: shards > 1 && random.chance(0.5) ? `id-${pair}` : undefined,
      };
      await postEvent(random.pick(connections), event);
      model.add(event);
      await expectHour(random.pick(connections), event, model);
    }
    for (const connection of connections) connection.close();
    return pairs;
  }

  async function expectHour(connection: HttpConnection, { at, stream }: PostedEvent, model: Model) {
    expect(await readHour(connection, at, stream)).toEqual(model.countsAt(at));
  }

  /** Sees every hour only grow, at whichever instance it asks. */
  async function bystander(random: Random, hours: readonly number[], isOver: () => boolean): Promise<void> {
    const connections = await Promise.all(ports.map(openConnection));
    const seen = new Map<string, number>();
    while (!isOver()) {
      const [stream, hour] = [`lane-${random.below(LANES)}`, random.pick(hours)];
      const key = hourKeyName(stream, hour);
      const { clicks, impressions } = await readHour(random.pick(connections), hour, stream);
      expect(clicks + impressions).toBeGreaterThanOrEqual(seen.get(key) ?? 0);
      seen.set(key, clicks + impressions);
    }
    for (const connection of connections) connection.close();
  }

  const name = (pairs: number) => `${pairs} times at random instances never misses`;
  budgetTest(name, PAIRS, async (pairCount) => {
    const random = new Random(seedFor("read your write"));
    const thisHour = hourOf(Date.now());
    // A late one's hour is not in Redis, and has to be fetched by whichever instance is asked first.
    const hours = [thisHour, thisHour - HOUR_MS, thisHour - 40 * HOUR_MS];
    const fork = () => new Random(random.below(2 ** 32));
    let isOver = false;
    const bystanders = Array.from({ length: BYSTANDERS }, () => bystander(fork(), hours, () => isOver));
    const lanes = Array.from({ length: LANES }, (_, i) => lane(i, fork(), hours, pairCount / LANES));
    const lanesDone = Promise.all(lanes).finally(() => {
      isOver = true;
    });
    const [pairs] = await Promise.all([lanesDone, ...bystanders]);
    expect(pairs.reduce((sum, count) => sum + count)).toBe(pairCount);

    await waitFor("all rows", async () => (await site.cold.countEvents()) === pairCount);
    expectHoursToBeReplay(await site.cold.hours(), await site.cold.events());
  });
}
