/** The contract that every hot store keeps, whole. */
import { describe, expect } from "bun:test";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import { click, committed, type Harness, rejectionOf, testWithWriter } from "../setup.ts";
import { commitContract } from "./commit.ts";
import { initializationContract } from "./initialization.ts";
import { journalContract } from "./journal.ts";
import { rangesContract } from "./ranges.ts";
import { retirementContract } from "./retirement.ts";

export function hotStoreContract(name: string, openHarness: () => Promise<Harness>): void {
  describe(`hot store contract: ${name}`, () => {
    commitContract(openHarness);
    journalContract(openHarness);
    initializationContract(openHarness);
    retirementContract(openHarness);
    rangesContract(openHarness);

    const test = testWithWriter(openHarness);

    test("opening again does nothing; a closed store is not ready and refuses", async ({ store }) => {
      expect(await store.open()).toEqual([]);
      expect(store.isReady).toBe(true);
      expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      await store.close();
      await store.close();
      expect(store.isReady).toBe(false);
      const error = await rejectionOf(store.commit("w1", 2, batchOf([click("u")])));
      expect(error.message).toContain("commit");
    });
  });
}
