/** A journal's content, when it may be adopted, and when it is removed. */
import { describe, expect } from "bun:test";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import {
  ALL,
  click,
  clicksOf,
  committed,
  expectCounted,
  expectJournal,
  type Harness,
  initializeAndRegister,
  NOON_KEY,
  present,
  removeAdopted,
  testWithStore,
  testWithWriter,
} from "../setup.ts";

export function journalContract(openHarness: () => Promise<Harness>): void {
  describe("journal", () => {
    const test = testWithStore(openHarness);
    const testWithW1 = testWithWriter(openHarness);

    testWithW1("returns batches from any seq on, with about as many events as requested", async ({ store }) => {
      for (let seq = 1; seq <= 6; seq++) await store.commit("w1", seq, batchOf(clicksOf(`b${seq}`, 10)));
      const seqs = async (afterSeq: number, maxEvents: number) =>
        (await store.readJournal("w1", afterSeq, maxEvents)).map(({ seq }) => seq);
      expect(await seqs(0, ALL)).toEqual([1, 2, 3, 4, 5, 6]);
      expect(await seqs(0, 1)).toEqual([1]);
      expect(await seqs(0, 10)).toEqual([1]);
      expect(await seqs(0, 11)).toEqual([1, 2]);
      expect(await seqs(2, 30)).toEqual([3, 4, 5]);
      expect(await seqs(5, 1_000)).toEqual([6]);
      expect(await seqs(6, 1_000)).toEqual([]);
      expect(await store.readJournal("nobody", 0, 10)).toEqual([]);
    });

    testWithW1("is read whole when it has many entries, some with nothing in them", async ({ store }) => {
      for (let seq = 1; seq <= 250; seq++) await store.commit("w1", seq, batchOf([click(`u-${seq}`, "same")]));
      const batches = await store.readJournal("w1", 0, ALL);
      expect(batches.map(({ seq }) => seq)).toEqual(Array.from({ length: 250 }, (_, i) => i + 1));
      expect(batches.map(({ eventCount }) => eventCount)).toEqual([1, ...Array(249).fill(0)]);
    });

    testWithW1("is trimmed through a seq; what is above stays", async ({ store }) => {
      for (let seq = 1; seq <= 12; seq++) await store.commit("w1", seq, batchOf([click(`u-${seq}`)]));
      const seqs = async () => (await store.readJournal("w1", 0, ALL)).map(({ seq }) => seq);
      await store.trimJournal("w1", 9);
      expect(await seqs()).toEqual([10, 11, 12]);
      await store.trimJournal("w1", 9);
      await store.trimJournal("w1", 3);
      expect(await seqs()).toEqual([10, 11, 12]);
      await store.trimJournal("w1", 12);
      expect(await seqs()).toEqual([]);
      expect(await store.commit("w1", 12, batchOf([click("u-12")]))).toEqual(committed());
      expect(await store.commit("w1", 13, batchOf([click("u-13")]))).toEqual(committed());
      expect(await seqs()).toEqual([13]);
      expect(await store.read([NOON_KEY])).toEqual([present(13, 0, 13)]);
    });

    testWithW1("of a live writer is not for adoption", async ({ store }) => {
      expect(await store.journalOwners()).toEqual([{ writer: "w1", adoptable: false, acceptedEvents: 0 }]);
      expect(await store.fence("w1")).toBe(false);
      expect(await store.renewLease("w1", 0)).toBe("held");
      expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      expect(await store.renewLease("w1", 1)).toBe("held");
    });

    testWithW1("of a writer that gave up is, and the writer is fenced", async ({ store }) => {
      const batch = batchOf([click("u")]);
      for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batch);
      expect(await store.abandon("w1")).toEqual({ lastSeq: 3, acceptedEvents: 3 });
      expect(await store.abandon("w1")).toEqual({ lastSeq: 3, acceptedEvents: 3 });
      expect(await store.journalOwners()).toEqual([{ writer: "w1", adoptable: true, acceptedEvents: 3 }]);
      expect(await store.fence("w1")).toBe(true);
      expect(await store.fence("w1")).toBe(true);
      for (const seq of [3, 4]) {
        expect(await store.commit("w1", seq, batch)).toEqual({ status: "fenced" });
      }
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 1)]);
    });

    test("of a writer that gave up says how many of its events were accepted: duplicates are not", async ({
      store,
    }) => {
      await initializeAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a", "id-1"), click("b"), click("c", "id-1")]));
      await store.commit("w1", 2, batchOf([click("a", "id-1"), click("d", "id-2")]));
      expect(await store.abandon("w1")).toEqual({ lastSeq: 2, acceptedEvents: 3 });
      await removeAdopted(store, "w1", 2);
      await store.register("w2");
      expect(await store.abandon("w2")).toEqual({ lastSeq: 0, acceptedEvents: 0 });
    });

    test("is drained by its adopter and removed; its writer stays fenced when it wakes after that", async ({
      store,
    }) => {
      await initializeAndRegister(store, "w1");
      const batch = batchOf([click("u")]);
      for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batch);
      await store.abandon("w1");
      await store.fence("w1");
      expect((await store.readJournal("w1", 1, ALL)).map(({ seq }) => seq)).toEqual([2, 3]);
      await store.trimJournal("w1", 3);
      await store.removeJournal("w1", 3);
      await store.removeJournal("w1", 3);
      expect(await store.journalOwners()).toEqual([]);
      expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
      expect(await store.commit("w1", 4, batch)).toEqual({ status: "fenced" });
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.abandon("w1")).toMatchObject({ lastSeq: 3 });
      expect(await store.initialization()).toBeDefined();
      expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 1)]);
    });

    testWithW1("of a new writer begins at 1 again, beside the old one's", async ({ store }) => {
      const [first, second] = [click("a", "id-1"), click("b")];
      await store.commit("w1", 1, batchOf([first]));
      await store.abandon("w1");
      expect(await store.register("w2")).toBe(true);
      expect(await store.commit("w2", 1, batchOf([click("x", "id-1"), second]))).toEqual(committed(0));
      await expectJournal(store, "w1", { 1: [first] });
      await expectJournal(store, "w2", { 1: [second] });
      await expectCounted(store, [first, second]);
      const owners = await store.journalOwners();
      expect(owners.toSorted((a, b) => a.writer.localeCompare(b.writer))).toEqual([
        { writer: "w1", adoptable: true, acceptedEvents: 1 },
        { writer: "w2", adoptable: false, acceptedEvents: 1 },
      ]);
    });
  });
}
