/** What a shared store may lose: ids, which are restored, and writers. The embedded store has both on disk. */
import { describe, expect } from "bun:test";
import type { StoredId } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import { click, committed, type Harness, NOON, STREAM, testWithStore } from "../setup.ts";

const LONG_MS = 3_600_000;

function storedIds(...ids: readonly string[]): StoredId[] {
  return ids.map((id) => ({ stream: STREAM, id, ttlMs: LONG_MS }));
}

export function lossesContract(name: string, openHarness: () => Promise<Harness>): void {
  describe(`hot store contract: ${name} > lost ids`, () => {
    const test = testWithStore(openHarness);

    test("are known after they were restored, by one restorer at a time", async ({ store }) => {
      expect(await store.initialize(NOON, 3, false)).toBe(true);
      expect(await store.initialization()).toMatchObject({ epoch: 3, areIdsKnown: false, idsThroughMs: 0 });
      expect(await store.restoreIds(2, "r", storedIds("id-1"))).toBe("lost");
      expect(await store.restoreIds(3, "r", [])).toBe("restored");
      expect(await store.restoreIds(3, "other", storedIds("id-1"))).toBe("taken");
      expect(await store.restoreIds(3, "r", storedIds("id-1", "id-2"))).toBe("restored");
      for (const restorer of ["other", undefined]) expect(await store.noteIds(3, NOON, restorer)).toBe(false);
      expect(await store.noteIds(2, NOON, "r")).toBe(false);
      expect((await store.initialization())?.areIdsKnown).toBe(false);
      expect(await store.noteIds(3, NOON, "r")).toBe(true);
      expect(await store.initialization()).toMatchObject({ areIdsKnown: true, idsThroughMs: NOON });
      expect(await store.restoreIds(3, "r", storedIds("id-3"))).toBe("lost");
      await store.register("w1", 3);
      const events = [click("a", "id-1"), click("b", "id-2"), click("c", "id-3"), click("d")];
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed(0, 1));
    });

    test("the time through which ids are known moves forward only, and outlives the data set", async ({ store }) => {
      await store.initialize(NOON, 1);
      expect((await store.initialization())?.areIdsKnown).toBe(true);
      expect(await store.noteIds(1, NOON + 5)).toBe(true);
      expect(await store.noteIds(1, NOON)).toBe(true);
      await store.discard(1);
      expect(await store.noteIds(1, NOON + 9)).toBe(false);
      await store.initialize(NOON, 2, false);
      expect(await store.initialization()).toMatchObject({ areIdsKnown: false, idsThroughMs: NOON + 5 });
    });

    test("a restored id does not shorten the life of one that is known", async ({ store }) => {
      await store.initialize(NOON, 1, false);
      await store.register("w1", 1);
      await store.commit("w1", 1, batchOf([click("a", "orphan")]));
      const short = ["orphan", "short"].map((id) => ({ stream: STREAM, id, ttlMs: 1 }));
      expect(await store.restoreIds(1, "r", short)).toBe("restored");
      let seq = 1;
      await waitFor("the other one to be forgotten", async () => {
        seq += 1;
        return Bun.deepEquals(await store.commit("w1", seq, batchOf([click("b", "short")])), committed());
      });
      expect(await store.commit("w1", seq + 1, batchOf([click("a", "orphan")]))).toEqual(committed(0));
    });
  });

  describe(`hot store contract: ${name} > a cold store that was set back`, () => {
    const test = testWithStore(openHarness);

    test("it is known how many events that has had: of writers that flush, and of all that have ended", async ({
      store,
    }) => {
      expect(await store.storedEvents()).toBe(0);
      await store.initialize(NOON, 1, true, 10);
      expect(await store.storedEvents()).toBe(10);
      for (const writer of ["living", "ended"]) {
        await store.register(writer, 1);
        await store.commit(writer, 1, batchOf([click("a"), click("b"), click("c", "id")]));
        await store.commit(writer, 2, batchOf([click("d"), click("e", `id of ${writer}`)]));
      }
      expect(await store.storedEvents()).toBe(10);
      await store.trimJournal("living", 1, 3);
      for (const earlier of [2, undefined]) await store.trimJournal("living", 1, earlier);
      expect(await store.storedEvents()).toBe(13);
      await store.trimJournal("ended", 1, 2);
      await store.abandon("ended");
      // All but a duplicate.
      for (let i = 0; i < 2; i++) await store.removeJournal("ended", 2);
      expect(await store.storedEvents()).toBe(17);
      await store.removeJournal("unknown", 0);
      await store.abandon("living");
      await store.removeJournal("living", 2);
      expect(await store.storedEvents()).toBe(19);
    });

    test("that number outlives the data set, until the next one is initialized", async ({ store }) => {
      await store.initialize(NOON, 1, true, 10);
      expect(await store.initialize(NOON, 1, true, 4)).toBe(true);
      await store.discard(1);
      expect(await store.storedEvents()).toBe(10);
      await store.initialize(NOON, 2, true, 4);
      expect(await store.storedEvents()).toBe(4);
    });

    test("all ids can be forgotten, but not those of a data set that is initialized", async ({ store }) => {
      const names = Array.from({ length: 2_500 }, (_, i) => `id-${i}`);
      await store.initialize(NOON, 1, false);
      await store.restoreIds(1, "r", storedIds(...names));
      await store.noteIds(1, NOON, "r");
      await store.forgetIds();
      await store.register("w1", 1);
      const repeated = batchOf(names.map((id) => click("u", id)));
      expect(await store.commit("w1", 1, repeated)).toEqual(committed(...names.keys()));
      await store.abandon("w1");
      await store.removeJournal("w1", 1);
      await store.discard(1);
      await store.forgetIds();
      await store.initialize(NOON, 2, false);
      expect(await store.initialization()).toMatchObject({ areIdsKnown: false, idsThroughMs: 0 });
      await store.register("w2", 2);
      expect(await store.commit("w2", 1, repeated)).toEqual(committed());
    });
  });

  describe(`hot store contract: ${name} > lost writers`, () => {
    const test = testWithStore(openHarness);

    const requirement = (seqs: Readonly<Record<string, number>>) => new Map(Object.entries(seqs));
    const MISSING = { "a writer": { living: 2, unknown: 1, ended: 1 }, "a batch": { living: 2, ended: 2 } };

    for (const [what, seqs] of Object.entries(MISSING)) {
      test(`a data set that does not know ${what} of its epoch is no longer initialized`, async ({ store }) => {
        await store.initialize(NOON, 3);
        for (const writer of ["living", "ended"]) {
          await store.register(writer, 3);
          await store.commit(writer, 1, batchOf([click("u")]));
        }
        await store.commit("living", 2, batchOf([click("u")]));
        await store.abandon("ended");
        await store.removeJournal("ended", 1);
        expect(await store.requireWriters(3, requirement({ living: 2, ended: 1 }))).toBe(true);
        expect(await store.requireWriters(2, requirement({ unknown: 1 }))).toBe(true);
        expect((await store.initialization())?.epoch).toBe(3);
        expect(await store.requireWriters(3, requirement(seqs))).toBe(false);
        expect(await store.initialization()).toBeUndefined();
        expect(await store.renewLease("living", 2)).toBe("lost");
      });
    }
  });
}
