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
  const options = { hot, cold, log: NO_LOG, clock: CLOCK, signal };
  const ids = new IdRestoration(options as unknown as IdRestorationOptions);
  ids.begin(data.initialization()!);
  await ids.check();
  expect(ids.areKnown).toBe(true);
  return sinceMs;
}

test("ids that were noted as known are read again only of the last minute: clocks of databases differ", async () => {
  expect(await readSince(NOON - 1_000)).toBe(NOON - 61_000);
});

test("ids of more than 24 hours ago are not read", async () => {
  expect(await readSince(0)).toBe(NOON - 86_400_000);
});
