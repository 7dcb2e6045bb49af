/** A store that is bound to one database, on a Redis that holds data of another: it neither reads nor changes it. */
import { describe, expect, test } from "bun:test";
import { DAY_MS, HOUR_MS } from "../../../../src/domain/event.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { RedisAccessStore } from "../../../../src/store/redis/access-store.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { TEST_DATA_SET } from "../../../harness/pipeline/test-users.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import { click, LONG_LEASE_MS, NOON, NOON_KEY, rejectionOf, SHORT_LEASE_MS, STREAM } from "../setup.ts";
import { countsKey, describeHotRedis, type HotRedis, type RedisHarness } from "./redis-setup.ts";

const OTHER = { ...TEST_DATA_SET, identity: "another database" };
const BATCH = batchOf([click("ann", "id")]);

describeHotRedis((redis) => {
  describe("data of another database", () => {
    /** It has an ended writer with a journal, an hour that may be retired, and is missing ids. */
    async function fillOther(harness: RedisHarness, epoch: number): Promise<void> {
      const other = await harness.openWith({ leaseMs: SHORT_LEASE_MS });
      await other.dataSet(OTHER);
      await other.initialize(0, epoch, false);
      await other.register("ended", epoch);
      await other.commit("ended", 1, BATCH);
      await other.register("flushed", epoch);
      await other.commit("flushed", 1, batchOf([click("bob", undefined, NOON - DAY_MS)]));
      await other.trimJournal("flushed", 1);
      await waitFor("a lease to run out", async () => (await other.journalOwners()).every((owner) => owner.adoptable));
    }

    async function contentOf({ admin }: HotRedis): Promise<Map<string, string>> {
      const keys = (await admin.keys("*")).map(String).sort();
      const dumps = await Promise.all(keys.map((key) => admin.dump(key)));
      return new Map(keys.map((key, i) => [key, String((dumps[i] as unknown as Buffer).toString("hex"))]));
    }

    /** With the arguments that would do the most. */
    const CALLS: { readonly [Method in keyof HotStore]?: (store: HotStore) => Promise<unknown> } = {
      initialization: (store) => store.initialization(),
      initialize: (store) => store.initialize(NOON, 9),
      discard: (store) => store.discard(9),
      requireWriters: (store) => store.requireWriters(1, new Map([["own", 5]])),
      storedEvents: (store) => store.storedEvents(),
      forgetIds: (store) => store.forgetIds(),
      restoreIds: (store) => store.restoreIds(1, "own", [{ stream: STREAM, id: "other id", ttlMs: 60_000 }]),
      noteIds: (store) => store.noteIds(1, NOON),
      register: (store) => store.register("new", 1),
      renewLease: (store) => store.renewLease("own", 5),
      abandon: (store) => store.abandon("ended"),
      commit: (store) => store.commit("own", 6, BATCH),
      read: (store) => store.read([NOON_KEY]),
      readRange: (store) => {
        const range = { from: NOON, to: NOON + HOUR_MS, streams: { text: STREAM, isPrefix: false } };
        return store.readRange(range, () => {});
      },
      retirementMark: (store) => store.retirementMark(),
      hydrate: (store) => store.hydrate({ stream: STREAM, hour: 0 }, undefined, 0),
      retire: (store) => store.retire(NOON),
      retireHour: (store) => store.retireHour({ stream: STREAM, hour: NOON - DAY_MS }),
      readJournal: (store) => store.readJournal("ended", 0, 10),
      trimJournal: (store) => store.trimJournal("ended", 1),
      journalOwners: (store) => store.journalOwners(),
      fence: (store) => store.fence("ended"),
      removeJournal: (store) => store.removeJournal("own", 5),
    };
    const KNOWN_BY_THEIR_WRITER: Readonly<Record<string, unknown>> = {
      renewLease: "lost",
      abandon: undefined,
      commit: { status: "unknown" },
      removeJournal: undefined,
    };

    for (const [method, call] of Object.entries(CALLS)) {
      test(`is left alone by ${method}()`, async () => {
        const harness = await redis.open();
        try {
          await fillOther(harness, 1);
          const store = await harness.open();
          await store.bind(TEST_DATA_SET.identity);
          const before = await contentOf(redis);
          if (method in KNOWN_BY_THEIR_WRITER)
            expect(await call(store)).toEqual(KNOWN_BY_THEIR_WRITER[method] as never);
          else expect(String(await rejectionOf(call(store)))).toContain("data of another database");
          expect(await contentOf(redis)).toEqual(before);
        } finally {
          await harness.end();
        }
      });
    }

    test("is left alone although a key of it was changed", async () => {
      const harness = await redis.open();
      try {
        await fillOther(harness, 1);
        const store = await harness.open();
        await store.bind(TEST_DATA_SET.identity);
        await redis.admin.set(countsKey(NOON_KEY), "changed");
        const before = await contentOf(redis);
        await rejectionOf(store.read([NOON_KEY]));
        expect(await contentOf(redis)).toEqual(before);
      } finally {
        await harness.end();
      }
    });

    test("is left alone by API keys and limits", async () => {
      const harness = await redis.open();
      const { url } = redis.server;
      const identity = async () => TEST_DATA_SET.identity;
      const access = new RedisAccessStore({ url, commandTimeoutMs: 10_000, identity });
      try {
        await fillOther(harness, 1);
        const before = await contentOf(redis);
        for (const call of [access.keepKeys([]), access.spend([{ name: "one", ms: 60_000 }])])
          expect(String(await rejectionOf(call))).toContain("data of another database");
        expect(String(await rejectionOf(access.keptKeys()))).toContain("data of another database");
        expect(await contentOf(redis)).toEqual(before);
      } finally {
        await Promise.all([access.close(), harness.end()]);
      }
    });

    test("that has gone is none: an empty Redis belongs to any database", async () => {
      const harness = await redis.open();
      try {
        const store = await harness.openWith({ leaseMs: LONG_LEASE_MS });
        await store.bind(TEST_DATA_SET.identity);
        expect(await store.initialize(0, 1)).toBe(true);
        expect(await store.register("own", 1)).toBe(true);
        expect(await store.commit("own", 1, BATCH)).toMatchObject({ status: "committed" });
      } finally {
        await harness.end();
      }
    });
  });
});
