/** How a batch is made void that may not have arrived. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { HOUR_MS } from "../../../../src/domain/event.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import {
  bearAndRegister,
  click,
  committed,
  expectCounted,
  expectJournal,
  type Harness,
  NOON,
  NOON_KEY,
  present,
} from "../setup.ts";

export function voidContract(openHarness: () => Promise<Harness>): void {
  describe("void", () => {
    let harness: Harness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await openHarness();
      store = await harness.open();
    });

    afterEach(async () => {
      await harness.end();
    });

    test("a batch that never arrived is burned, and a late copy of it applies nothing", async () => {
      await bearAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a")]));
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "voided" });
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "voided" });
      await store.commit("w1", 2, batchOf([click("b", "id-1")]));
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      const next = [click("c", "id-1")];
      expect(await store.commit("w1", 3, batchOf(next))).toEqual(committed());
      await expectCounted(store, [click("a"), ...next]);
      await expectJournal(store, "w1", { 1: [click("a")], 3: next });
    });

    test("a batch that was answered with 'absent' can be", async () => {
      await bearAndRegister(store, "w1", NOON);
      const early = batchOf([click("a", undefined, NOON - HOUR_MS)]);
      expect((await store.commit("w1", 1, early)).status).toBe("absent");
      expect(await store.voidBatch("w1", 1)).toEqual({ status: "voided" });
      expect(await store.commit("w1", 2, batchOf([click("b")]))).toEqual(committed());
      await expectJournal(store, "w1", { 2: [click("b")] });
    });

    test("a writer that is fenced or unknown voids nothing", async () => {
      await bearAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a")]));
      await store.abandon("w1");
      for (const seq of [1, 2]) {
        expect(await store.voidBatch("w1", seq)).toEqual({ status: "fenced", lastSeq: 1 });
      }
      await expectCounted(store, [click("a")]);
      expect(await store.voidBatch("w2", 1)).toEqual({ status: "unknown" });
      await expectJournal(store, "w1", { 1: [click("a")] });
    });
  });
}
