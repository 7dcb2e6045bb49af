/** Users that an hour's sketch already holds are not sent again, and none is ever missing. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { DAY_MS, type Event, HOUR_MS, type HourKey } from "../../../../src/domain/event.ts";
import { UserSketches } from "../../../../src/domain/unique-users/sketch.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { TEST_USERS } from "../../../harness/pipeline/test-users.ts";
import { startProxy, type TcpProxy } from "../../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import { budgetTest } from "../../../harness/tiers.ts";
import {
  click,
  clicksOf,
  committed,
  expectCounted,
  impression,
  initializeAndRegister,
  NOON,
  rejectionOf,
  removeAdopted,
  retireAll,
  STREAM,
} from "../setup.ts";
import {
  atPort,
  COMMIT_SHA1,
  cutBeforeAnswer,
  cutBeforeArrival,
  describeHotRedis,
  META_KEY,
  type RedisHarness,
  reconnect,
} from "./redis-setup.ts";

/** Length of an element for PFADD. */
const USER_CHARS = 16;

describeHotRedis((redis) => {
  describe("users that an hour's sketch is known to hold", () => {
    let harness: RedisHarness;
    let writers: MirrorWriter[];

    interface MirrorWriter {
      readonly store: HotStore;
      readonly proxy: TcpProxy;
      name: string;
      seq: number;
    }

    beforeEach(async () => {
      harness = await redis.open();
      writers = [];
      for (let i = 0; i < 2; i++) {
        const proxy = await startProxy(redis.server.port);
        const store = await harness.openWith({ url: atPort(redis.server.url, proxy.port) });
        writers.push({ store, proxy, name: `w${i}`, seq: 0 });
      }
    });

    afterEach(async () => {
      await harness.end();
      for (const { proxy } of writers) await proxy.close();
    });

    test("are not sent again over the same connection", async () => {
      const { store, proxy } = writers[0]!;
      await initializeAndRegister(store, "w1");
      let sentBytes = 0;
      proxy.onUpstream = ({ length }) => {
        sentBytes += length;
        return true;
      };
      const bytesOf = async (seq: number, batch: Event[]) => {
        const before = sentBytes;
        await store.commit("w1", seq, batchOf(batch));
        return sentBytes - before;
      };
      // The server may have to be sent the script first.
      await bytesOf(1, [impression("v")]);
      const events = clicksOf("u", 500);
      const first = await bytesOf(2, events);
      const second = await bytesOf(3, events);
      await reconnect(store, proxy);
      await waitFor("the connection", () => store.isReady);
      const third = await bytesOf(4, events);
      expect(first - second).toBeGreaterThan(450 * USER_CHARS);
      expect(third).toBe(first);
      await expectCounted(store, [impression("v"), ...events, ...events, ...events]);
    });

    test("are sent again by a writer that took no part in a loss, and is replaced", async () => {
      const [{ store }, { store: other }] = writers as [MirrorWriter, MirrorWriter];
      await initializeAndRegister(store, "w1");
      const events = clicksOf("u", 300);
      await store.commit("w1", 1, batchOf(events));
      await redis.admin.del(META_KEY);
      await removeAdopted(other, "w1", 1);
      await initializeAndRegister(other, "w2");
      expect(await store.register("w3")).toBe(true);
      await store.commit("w3", 1, batchOf(events));
      await expectCounted(store, events);
    });

    const POOL = 3_000;
    const HOURS = [NOON, NOON + HOUR_MS];

    interface MirrorHour {
      readonly key: HourKey;
      clicks: number;
      impressions: number;
      /** Users of all counted events, as the cold store would have them. */
      readonly flushed: UserSketches;
      /** Users that Redis holds. */
      held: UserSketches;
    }

    /** `users`: which of the pool, as a range. `fault`: what happens to the commit in flight. */
    const someUsers = fc.record({
      hour: fc.nat(HOURS.length - 1),
      from: fc.nat(11).map((n) => (n * POOL) / 12),
      count: fc.integer({ min: 1, max: 400 }),
      /** 1: all of them. */
      clickEvery: fc.constantFrom(1, 2, 7, 1_000),
      withIds: fc.boolean(),
    });
    const someStep = fc.record({
      writer: fc.nat(1),
      what: fc.constantFrom("commit", "commit", "commit", "reconnect", "rehydrate", "replace"),
      fault: fc.constantFrom(undefined, undefined, undefined, cutBeforeArrival, cutBeforeAnswer),
      users: someUsers,
    });
    type Step = typeof someStep extends fc.Arbitrary<infer T> ? T : never;

    const runs = { quick: 6, full: 30, timeoutMs: 120_000 };
    budgetTest("stay in it, and none is missing: it is that of all users, whatever happens", runs, async (numRuns) => {
      await fc.assert(
        fc.asyncProperty(fc.array(someStep, { minLength: 4, maxLength: 20 }), async (steps) => {
          await redis.admin.flushAll();
          const hours = HOURS.map((hour): MirrorHour => {
            const key = { stream: STREAM, hour };
            return {
              key,
              clicks: 0,
              impressions: 0,
              flushed: new UserSketches(),
              held: new UserSketches(),
            };
          });
          for (const [i, writer] of writers.entries()) {
            Object.assign(writer, { name: `w${i}`, seq: 0 });
            await initializeAndRegister(writer.store, writer.name);
          }
          for (const step of steps) {
            await takeStep(step, hours);
            for (const { key, held } of hours) await redis.expectUsersAt(key, held);
          }
          await expectHeldEvents(hours);
        }),
        { numRuns },
      );
    });

    async function takeStep({ writer: index, what, fault, users }: Step, hours: MirrorHour[]): Promise<void> {
      const writer = writers[index]!;
      const hour = hours[users.hour]!;
      if (what === "rehydrate") return rehydrate(hours);
      if (what === "reconnect") return reconnectAndWait(writer);
      if (what === "replace") return replace(writer);
      writer.seq += 1;
      const events = eventsOfUsers(writer, users, hour.key.hour);
      await commitUntilAnswered(writer, events, fault);
      for (const { user, kind } of events) hour.held.add(TEST_USERS.registerOf(user), kind === "click");
      for (const { user, kind } of events) hour.flushed.add(TEST_USERS.registerOf(user), kind === "click");
      const clickCount = events.filter(({ kind }) => kind === "click").length;
      hour.clicks += clickCount;
      hour.impressions += events.length - clickCount;
    }

    function eventsOfUsers(writer: MirrorWriter, users: Step["users"], at: number): Event[] {
      return Array.from({ length: users.count }, (_, i) => {
        const id = users.withIds && i % 3 === 0 ? `${writer.name} ${writer.seq} ${i}` : undefined;
        const event = i % users.clickEvery === 0 ? click : impression;
        return event(`user-${(users.from + i) % POOL}`, id, at);
      });
    }

    async function commitUntilAnswered(
      { store, proxy, name, seq }: MirrorWriter,
      events: readonly Event[],
      fault: Step["fault"],
    ): Promise<void> {
      const batch = batchOf(events);
      if (fault !== undefined) {
        fault(proxy, COMMIT_SHA1);
        await rejectionOf(store.commit(name, seq, batch));
        await waitFor("the connection", () => store.isReady);
      }
      expect(await store.commit(name, seq, batch)).toEqual(committed());
    }

    async function reconnectAndWait({ store, proxy }: MirrorWriter): Promise<void> {
      await reconnect(store, proxy);
      await waitFor("the connection", () => store.isReady);
    }

    async function replace(writer: MirrorWriter): Promise<void> {
      const { store, name, seq } = writer;
      await store.abandon(name);
      await store.trimJournal(name, seq);
      await removeAdopted(store, name, seq);
      Object.assign(writer, { name: `${name}'`, seq: 0 });
      expect(await store.register(writer.name)).toBe(true);
    }

    /** Everything is flushed and retired, and comes back from the cold store. */
    async function rehydrate(hours: MirrorHour[]): Promise<void> {
      for (const { store, name, seq } of writers) await store.trimJournal(name, seq);
      const { store } = writers[0]!;
      await retireAll(store, NOON + DAY_MS);
      for (const hour of hours) {
        const cold = { clicks: hour.clicks, impressions: hour.impressions, users: hour.flushed };
        expect(await store.hydrate(hour.key, cold, await store.retirementMark())).toBe(true);
        hour.held = new UserSketches();
        hour.held.merge(hour.flushed);
      }
    }

    async function expectHeldEvents(hours: readonly MirrorHour[]): Promise<void> {
      const reads = await writers[0]!.store.read(hours.map(({ key }) => key));
      if (reads === "uninitialized") throw new Error("the data set is not initialized");
      const none = { clicks: 0, impressions: 0, uniqueUsers: 0 };
      const found = reads.map((read) => (read.status === "present" ? read.counts : none));
      const expected = hours.map(({ clicks, impressions, held }) => {
        return { clicks, impressions, uniqueUsers: held.count() };
      });
      expect(found).toEqual(expected);
    }
  });
});
