/** How a data set is initialized, and what it knows and holds then. */
import { describe, expect } from "bun:test";
import { type Event, HOUR_MS } from "../../../../src/domain/event.ts";
import { newDataSet } from "../../../../src/store/cold.ts";
import type { CommitResult } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { TEST_DATA_SET } from "../../../harness/pipeline/test-users.ts";
import {
  ABSENT,
  ALL,
  click,
  committed,
  EMPTY,
  eventsOf,
  expectCounted,
  expectJournal,
  type Harness,
  initializeAndRegister,
  mixedEvents,
  NOON,
  NOON_KEY,
  present,
  removeAdopted,
  STREAM,
  testWithStore,
} from "../setup.ts";

export function initializationContract(openHarness: () => Promise<Harness>): void {
  describe("initialization", () => {
    const test = testWithStore(openHarness);

    test("before it nothing is read and nothing written", async ({ store }) => {
      expect(await store.initialization()).toBeUndefined();
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      expect(await store.read([])).toBe("uninitialized");
      expect(await store.register("w1")).toBe(false);
      expect((await store.commit("w1", 1, batchOf([click("u")]))).status).toMatch(/^(uninitialized|unknown)$/);
      expect(await store.journalOwners()).toEqual([]);
      expect(await store.retire(NOON)).toBe(0);
      await initializeAndRegister(store, "w1");
      expect(await store.initialization()).toBeDefined();
      expect(await store.read([NOON_KEY])).toEqual([EMPTY]);
      expect(await store.read([])).toEqual([]);
    });

    test("it belongs to the first database that was offered", async ({ store }) => {
      expect(await store.dataSet()).toBeUndefined();
      expect(await store.dataSet(TEST_DATA_SET)).toEqual(TEST_DATA_SET);
      expect(await store.dataSet(newDataSet())).toEqual(TEST_DATA_SET);
      expect(await store.dataSet()).toEqual(TEST_DATA_SET);
    });

    test("it has an epoch, which writers have to know; a later one begins anew", async ({ store }) => {
      expect(await store.initialize(NOON, 7)).toBe(true);
      expect((await store.initialization())?.epoch).toBe(7);
      expect(await store.initialize(NOON, 6)).toBe(true);
      expect((await store.initialization())?.epoch).toBe(7);
      expect(await store.register("w1", 6)).toBe(false);
      expect(await store.register("w1", 7)).toBe(true);
      await store.commit("w1", 1, batchOf([click("u")]));
      await store.discard(6);
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      await store.discard(7);
      expect(await store.initialization()).toBeUndefined();
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      await removeAdopted(store, "w1", 1);
      expect(await store.initialize(NOON, 8)).toBe(true);
      expect(await store.read([NOON_KEY])).toEqual([EMPTY]);
      expect(await store.register("w2", 8)).toBe(true);
    });

    test("hours before freshFrom are absent, the others empty", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON);
      const keys = [NOON - HOUR_MS, NOON, NOON + HOUR_MS].map((hour) => ({ stream: STREAM, hour }));
      expect(await store.read(keys)).toEqual([ABSENT, EMPTY, EMPTY]);
    });

    test("a batch that touches an absent hour applies nothing, and says which groups", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON);
      const before = NOON - HOUR_MS;
      const events = [
        click("a", "id-1"),
        click("b", "id-2", before),
        click("c", undefined, NOON, "site-2"),
        click("d", undefined, before, "site-2"),
      ];
      const absent: CommitResult = { status: "absent", groups: [1, 3] };
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(absent);
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(absent);
      expect(await store.read([NOON_KEY, { stream: STREAM, hour: before }])).toEqual([EMPTY, ABSENT]);
      expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
      const mark = await store.retirementMark();
      for (const stream of [STREAM, "site-2"]) {
        expect(await store.hydrate({ stream, hour: before }, undefined, mark)).toBe(true);
      }
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
      await expectCounted(store, events);
      await expectJournal(store, "w1", {
        1: eventsOf(batchOf(events)).map(({ register: _, ...event }) => event),
      });
    });

    test("happens once: a second one changes nothing", async ({ store }) => {
      await initializeAndRegister(store, "w1", NOON);
      await store.commit("w1", 1, batchOf([click("u")]));
      const mark = await store.retirementMark();
      expect(await store.initialize(NOON + 5 * HOUR_MS)).toBe(true);
      expect(await store.retirementMark()).toBe(mark);
      const later = { stream: STREAM, hour: NOON + HOUR_MS };
      expect(await store.read([NOON_KEY, later])).toEqual([present(1, 0, 1), EMPTY]);
      expect(await store.commit("w1", 2, batchOf([click("v")]))).toEqual(committed());
    });

    test("is refused while a journal is left, which anybody may adopt; then no hour is held", async ({
      harness,
      store: before,
    }) => {
      await initializeAndRegister(before, "w1");
      const events = mixedEvents("a", 700);
      await before.commit("w1", 1, batchOf(events.slice(0, 300)));
      await before.commit("w1", 2, batchOf(events.slice(300)));
      const store = await harness.uninitialize();
      expect(await store.initialization()).toBeUndefined();
      expect(await store.read([NOON_KEY])).toBe("uninitialized");
      expect(await store.register("w2")).toBe(false);
      expect(await store.initialize(0)).toBe(false);
      expect(await store.initialization()).toBeUndefined();
      expect((await store.commit("w1", 3, batchOf([click("u")]))).status).toMatch(/^(uninitialized|unknown)$/);
      expect(await store.journalOwners()).toEqual([{ writer: "w1", adoptable: true, acceptedEvents: events.length }]);
      expect(await store.fence("w1")).toBe(true);
      const inOrdinalOrder = (part: Event[]) => eventsOf(batchOf(part)).map(({ register: _, ...event }) => event);
      await expectJournal(store, "w1", {
        1: inOrdinalOrder(events.slice(0, 300)),
        2: inOrdinalOrder(events.slice(300)),
      });
      await store.trimJournal("w1", 2);
      expect(await store.initialize(0)).toBe(false);
      await store.removeJournal("w1", 2);
      await initializeAndRegister(store, "w2", NOON + HOUR_MS);
      const keys = [0, 1, 2].map((hours) => ({ stream: STREAM, hour: NOON + hours * HOUR_MS }));
      expect(await store.read(keys)).toEqual([ABSENT, EMPTY, EMPTY]);
    });

    test("ids are remembered over it", async ({ harness, store: before }) => {
      await initializeAndRegister(before, "w1");
      await before.commit("w1", 1, batchOf([click("u", "id-1")]));
      const store = await harness.uninitialize();
      await removeAdopted(store, "w1", 1);
      await initializeAndRegister(store, "w2");
      expect(await store.commit("w2", 1, batchOf([click("u", "id-1")]))).toEqual(committed(0));
    });

    test("drops however many hours there are", async ({ harness, store: before }) => {
      await initializeAndRegister(before, "w1");
      const events = Array.from({ length: 450 }, (_, i) => click("u", undefined, NOON, `stream-${i}`));
      await before.commit("w1", 1, batchOf(events));
      const store = await harness.uninitialize();
      await removeAdopted(store, "w1", 1);
      await initializeAndRegister(store, "w2");
      const keys = events.map(({ stream }) => ({ stream, hour: NOON }));
      expect(await store.read(keys)).toEqual(Array(450).fill(EMPTY));
    });
  });
}
