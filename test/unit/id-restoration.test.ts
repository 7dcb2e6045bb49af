/** Which ids are read from the cold store after the hot store has lost some. */
import { expect, test } from "bun:test";
import { IdRestoration, type IdRestorationOptions } from "../../src/pipeline/upkeep/id-restoration.ts";
import { HotData } from "../simulation/stores/hot/data.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const LEASE_MS = 120_000;
const NO_LOG = { info: () => {}, warn: () => {}, error: () => {} };
const CLOCK = { random: () => 0.5, monotonicMs: () => 0, now: () => NOON };

/** Answers from when on ids are read, if all flushed by `idsThroughMs` had been noted as known. */
async function readSince(idsThroughMs: number): Promise<number> {
  const data = new HotData(() => NOON, LEASE_MS);
  data.initialize(0, 1, true);
  data.noteIds(1, idsThroughMs, "");
  data.initialize(NOON, 2, false);
  let sinceMs = Number.NaN;
  const hot = {
    initialization: async () => data.initialization(),
    restoreIds: async (epoch: number, restorer: string) => data.restoreIds(epoch, restorer, []),
    noteIds: async (epoch: number, throughMs: number, restorer: string) => data.noteIds(epoch, throughMs, restorer),
  };
  const cold = {
    open: async () => {},
    time: async () => NOON,
    flushedIds: async (fromMs: number) => {
      sinceMs = fromMs;
      return { ids: [], next: undefined };
    },
  };
  const { signal } = new AbortController();
  const options = { hot, cold, log: NO_LOG, clock: CLOCK, leaseMs: LEASE_MS, signal };
  const ids = new IdRestoration(options as unknown as IdRestorationOptions);
  ids.begin(data.initialization()!);
  await ids.check();
  expect(ids.areKnown).toBe(true);
  return sinceMs;
}

test("ids that were noted as known while a loss may not have been noticed yet are restored", async () => {
  // Lost at noon less 2 leases, by an instance that is frozen; noted by another one until its journal is adopted.
  expect(await readSince(NOON)).toBeLessThan(NOON - 2 * LEASE_MS);
});

test("ids of long before are taken for known", async () => {
  expect(await readSince(NOON)).toBeGreaterThan(NOON - 5 * LEASE_MS);
});
