/** What a cold store provides for a hot store that may lose it: ids and writers. Not for the embedded one. */
import { describe, expect } from "bun:test";
import type { Event } from "../../../../src/domain/event.ts";
import type { ColdStore, IdRowKey } from "../../../../src/store/cold.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import { batchOf, click, expectSealed, type Harness, NOON, testWithStore } from "../setup.ts";

const HOUR_AGO_MS = 3_600_000;

function named(id: string | undefined, stream = "site-1"): Event {
  return { stream, at: NOON, kind: "click", user: "u", id };
}

/** Lists ids as "stream id", page after page. */
async function idsOf(store: ColdStore, sinceMs: number, shard?: number): Promise<string[]> {
  const found: string[] = [];
  let before: IdRowKey | undefined;
  do {
    const page = await store.flushedIds(sinceMs, before, shard);
    for (const { stream, ids, ageMs } of page.ids) {
      expect(ageMs).toBeWithin(0, HOUR_AGO_MS);
      found.push(...ids.map((id) => `${stream} ${id}`));
    }
    before = page.next;
  } while (before !== undefined);
  return found;
}

export function lossesContract(name: string, open: () => Promise<Harness>): void {
  describe(`cold store contract: ${name} > ids`, () => {
    const test = testWithStore(open);

    test("a flush stores the ids of its events, each page those before the last", async ({ store }) => {
      const sinceMs = (await store.time()) - HOUR_AGO_MS;
      expect(await idsOf(store, sinceMs)).toEqual([]);
      await store.flush("plain", [batchOf(1, [named(undefined)])]);
      expect(await idsOf(store, sinceMs)).toEqual([]);
      const expected: string[] = [];
      for (let seq = 1; seq <= 10; seq++) {
        const ids = [`a-${seq}`, `é\n'"\\${seq}`];
        const batch = batchOf(seq, [named(ids[0]), named(undefined), named(ids[1], "site-2")]);
        await store.flush("w1", [batch]);
        await store.flush("w1", [batch]);
        expected.push(`site-1 ${ids[0]}`, `site-2 ${ids[1]}`);
      }
      expect((await idsOf(store, sinceMs)).sort()).toEqual(expected.sort());
      expect(await idsOf(store, (await store.time()) + HOUR_AGO_MS)).toEqual([]);
    });

    test("each shard has its own", async ({ store }) => {
      await store.flush("w1", [batchOf(1, [named("first")])], 0);
      await store.flush("w2", [batchOf(1, [named("second")])], 1);
      expect([await idsOf(store, 0, 0), await idsOf(store, 0, 1)]).toEqual([["site-1 first"], ["site-1 second"]]);
    });

    test("a flush of many long ids has all of them", async ({ store }) => {
      const events = Array.from({ length: 3_000 }, (_, i) => named(`${i}`.padEnd(255, "é")));
      await store.flush("w1", [batchOf(1, events)]);
      expect((await idsOf(store, 0)).sort()).toEqual(events.map(({ id }) => `site-1 ${id}`).sort());
    });

    test("are forgotten by the time of their flush", async ({ store }) => {
      await store.flush("w1", [batchOf(1, [named("old"), click("plain")])]);
      const flushedBy = await store.time();
      await waitFor("some time to pass", async () => (await store.time()) > flushedBy);
      await store.flush("w1", [batchOf(2, [named("new")])]);
      expect(await store.forgetFlushedIds(flushedBy + 1)).toBe(false);
      expect(await idsOf(store, 0)).toEqual(["site-1 new"]);
    });
  });

  describe(`cold store contract: ${name} > writers of an epoch`, () => {
    const test = testWithStore(open);
    const inOrder = async (seqs: Promise<ReadonlyMap<string, number>>) => [...(await seqs)].sort();

    test("are those that stored events in it: living ones, and those that were sealed lately", async ({ store }) => {
      const flush = (writer: string, epoch: number, shard = 0) =>
        store.flush(writer, [batchOf(1, [click(`of ${writer}`)])], shard, epoch);
      await flush("earlier", 0);
      await store.beginEpoch(0);
      await flush("living", 1);
      await flush("sealed", 1);
      await store.flush("sealed", [batchOf(7, [click("u")])], 0, 1);
      await store.seal("sealed");
      await store.seal("silent");
      await flush("other shard", 0, 1);
      expect(await inOrder(store.writersOf(1, HOUR_AGO_MS))).toEqual([
        ["living", 1],
        ["sealed", 7],
      ]);
      expect(await inOrder(store.writersOf(1, 0))).toEqual([["living", 1]]);
      expect(await inOrder(store.writersOf(0, HOUR_AGO_MS))).toEqual([["earlier", 1]]);
      expect(await inOrder(store.writersOf(0, HOUR_AGO_MS, 1))).toEqual([["other shard", 1]]);
      await store.beginEpoch(1);
      expect(await inOrder(store.writersOf(2, HOUR_AGO_MS))).toEqual([]);
    });

    test("an epoch may be begun that is not the next one", async ({ store }) => {
      await store.flush("earlier", [batchOf(1, [click("u")])], 0, 0);
      expect(await store.beginEpoch(1, 0, 7)).toBe(false);
      expect(await store.beginEpoch(0, 0, 7)).toBe(true);
      expect([await store.epoch(0), await store.epoch(1)]).toEqual([7, 0]);
      await expectSealed(store.flush("earlier", [batchOf(2, [click("u")])], 0, 0));
      expect(await store.flush("later", [batchOf(1, [click("u")])], 0, 7)).toBe(1);
    });

    test("events are counted over all of a shard's writers, in every epoch", async ({ store }) => {
      await store.flush("a", [batchOf(1, [click("u"), click("v")])]);
      await store.beginEpoch(0);
      await store.flush("b", [batchOf(1, [click("u")])]);
      await store.flush("other shard", [batchOf(1, [click("u")])], 1);
      const { byWriter, total } = await store.storedEvents(["b", "nobody"], 0);
      expect({ total, ofB: byWriter.get("b") }).toEqual({ total: 3, ofB: 1 });
      expect((await store.storedEvents([], 1)).total).toBe(1);
      expect((await store.storedEvents([])).total).toBe(4);
    });
  });
}
