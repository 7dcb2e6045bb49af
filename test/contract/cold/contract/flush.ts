/** A flush stores each event as one row and one count, exactly once, also with concurrent flushes. */
import { describe, expect, test } from "bun:test";
import { type Event, HOUR_MS } from "../../../../src/domain/event.ts";
import { WriterSealedError } from "../../../../src/store/cold.ts";
import {
  batchOf,
  click,
  emptyBatch,
  expectConsistent,
  expectSealed,
  type Harness,
  impression,
  mixedEvents,
  NOON,
  rejectionOf,
  testWithStore,
} from "../setup.ts";

export function flushContract(name: string, open: () => Promise<Harness>): void {
  describe(`cold store contract: ${name}`, () => {
    const test = testWithStore(open);

    test("a flush stores each event as one row and one count", async ({ harness, store }) => {
      const batch = batchOf(1, mixedEvents("user", 30));
      expect(await store.flush("writer-a", [batch])).toBe(30);
      const events = await expectConsistent(harness);
      const stored = events.map(({ stream, at, kind, user }) => ({ stream, at, kind, user }));
      const byUser = (a: { user: string }, b: { user: string }) => a.user.localeCompare(b.user);
      const sent = mixedEvents("user", 30) as typeof stored;
      expect(stored.sort(byUser)).toEqual(sent.sort(byUser));
    });

    test("a row says which event of which batch it is", async ({ harness, store }) => {
      const later = NOON + HOUR_MS;
      await store.flush("writer-a", [batchOf(7, [click("u0", later), click("u1"), click("u2", later), click("u3")])]);
      const placed = (await harness.events()).map(({ hour, writer, seq, ordinal, user }) => {
        return [hour, writer, seq, ordinal, user];
      });
      expect(placed).toEqual([
        [NOON, "writer-a", 7, 2, "u1"],
        [NOON, "writer-a", 7, 3, "u3"],
        [later, "writer-a", 7, 0, "u0"],
        [later, "writer-a", 7, 1, "u2"],
      ]);
    });

    test("the same flush again stores nothing", async ({ harness, store }) => {
      const batches = [batchOf(1, mixedEvents("a", 20)), batchOf(2, mixedEvents("b", 20))];
      expect(await store.flush("writer-a", batches)).toBe(40);
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await expectConsistent(harness)).toHaveLength(40);
    });

    test("an instance that has finished with a writer does not block another", async ({ harness, store }) => {
      const other = harness.store();
      await other.open();
      const batches = [batchOf(1, mixedEvents("a", 10))];
      await store.flush("writer-a", batches);
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await other.flush("writer-a", [batchOf(2, [click("u")])])).toBe(1);
      expect(await store.watermark("writer-a")).toBe(2);
      expect(await other.flush("writer-a", [batchOf(3, [click("u")])])).toBe(1);
      await store.seal("writer-a");
      await expectSealed(store.flush("writer-a", [batchOf(4, [click("u")])]));
      expect(await other.watermark("writer-a")).toBe(3);
    });

    test("a flush that overlaps the one before stores only what is new", async ({ harness, store }) => {
      const batches = [1, 2, 3].map((seq) => batchOf(seq, mixedEvents(`batch-${seq}`, 10 * seq)));
      expect(await store.flush("writer-a", batches.slice(0, 2))).toBe(30);
      expect(await store.flush("writer-a", batches)).toBe(30);
      expect(await store.watermark("writer-a")).toBe(3);
      expect(await expectConsistent(harness)).toHaveLength(60);
    });

    test("two instances flushing the same batches at once store them once", async ({ harness, store }) => {
      const other = harness.store();
      await other.open();
      // Half of the rounds meet a writer that has no row yet.
      for (let round = 0; round < 10; round++) {
        const batches = [batchOf(round + 1, mixedEvents(`round-${round}`, 50))];
        const writer = `writer-${round % 5}`;
        const stored = await Promise.all([store.flush(writer, batches), other.flush(writer, batches)]);
        expect(stored.sort((a, b) => a - b)).toEqual([0, 50]);
      }
      expect(await expectConsistent(harness)).toHaveLength(500);
    });

    test("two instances flushing into the same new hour at once lose no count and no user", async ({
      harness,
      store,
    }) => {
      const other = harness.store();
      await other.open();
      for (let round = 0; round < 50; round++) {
        const at = NOON + round * HOUR_MS;
        const mine = Array.from({ length: 40 }, (_, i) => click(`mine-${i}`, at));
        const theirs = Array.from({ length: 40 }, (_, i) => impression(`theirs-${i}`, at));
        const seq = round + 1;
        await Promise.all([
          store.flush("writer-a", [batchOf(seq, mine)]),
          other.flush("writer-b", [batchOf(seq, theirs)]),
        ]);
      }
      expect(await expectConsistent(harness)).toHaveLength(50 * 80);
    });

    test("many streams in one flush, by two instances at once, in opposite orders", async ({ harness, store }) => {
      const other = harness.store();
      await other.open();
      const streams = Array.from({ length: 130 }, (_, i) => `stream-${i}`);
      const events = (user: string) => streams.map((stream) => click(`${user} of ${stream}`, NOON, stream));
      for (let seq = 1; seq <= 5; seq++) {
        await Promise.all([
          store.flush("writer-a", [batchOf(seq, events("a"))]),
          other.flush("writer-b", [batchOf(seq, events("b").reverse())]),
        ]);
      }
      expect(await expectConsistent(harness)).toHaveLength(5 * 260);
      expect(await harness.hours()).toHaveLength(130);
    });

    test("an hour has few rows, however often it is flushed into, by two instances at once", async ({
      harness,
      store,
    }) => {
      const other = harness.store();
      await other.open();
      for (let seq = 1; seq <= 80; seq++) {
        await Promise.all([
          store.flush("writer-a", [batchOf(seq, [click(`a-${seq}`), impression("b", NOON, "site-2")])]),
          other.flush("writer-b", [batchOf(seq, [impression(`b-${seq}`), click("b")])]),
        ]);
      }
      expect(await expectConsistent(harness)).toHaveLength(80 * 4);
      // Two hours; in another thread, a store folds 32 parts of each at the latest.
      expect((await harness.hourParts()).length).toBeLessThanOrEqual(4 * 32);
    });

    test("a flush that fails half way leaves nothing behind, and is stored when sent again", async ({
      harness,
      store,
    }) => {
      const batches = [batchOf(1, mixedEvents("a", 10))];
      await harness.run("ALTER TABLE hourly RENAME TO hourly_away");
      await rejectionOf(store.flush("writer-a", batches));
      expect(await harness.events()).toEqual([]);
      // Also a look for a lock that was left behind.
      await harness.run("ALTER TABLE hourly_away RENAME TO hourly");
      expect(await store.watermark("writer-a")).toBe(0);
      expect(await store.flush("writer-a", batches)).toBe(10);
      expect(await expectConsistent(harness)).toHaveLength(10);
    });

    test("users and ids come back byte for byte", async ({ harness, store }) => {
      const values = [
        "a",
        "A",
        "a ",
        "a  ",
        " a",
        "é",
        "e\u0301",
        "ß",
        "ss",
        "👩‍👩‍👧‍👦",
        "𝒳",
        "\0",
        "a\0b",
        "line\nbreak\r\n\ttab\b\x1a",
        `'"\`; DROP TABLE events; -- `,
        "back\\slash\\",
        "\\'",
        "%_?",
        "\ufeffbom",
        "\uffff",
        "x".repeat(255),
        "é".repeat(127),
        "\\".repeat(255),
      ];
      const events = values.map((user): Event => ({ ...click(user), id: user }));
      await store.flush("writer-a", [batchOf(1, events)]);
      const stored = await expectConsistent(harness);
      expect(stored.map(({ user }) => user)).toEqual(values);
      expect(stored.map(({ id }) => id)).toEqual(values);
    });

    test("an event without an id has none, beside events that have one", async ({ harness, store }) => {
      const withId: Event = { ...click("u1"), id: "id-1" };
      await store.flush("writer-a", [batchOf(1, [click("u0"), withId, click("u2")])]);
      expect((await harness.events()).map(({ id }) => id)).toEqual([null, "id-1", null]);
    });

    test("a batch without events moves the watermark", async ({ harness, store }) => {
      expect(await store.flush("writer-a", [emptyBatch(4)])).toBe(0);
      expect(await store.watermark("writer-a")).toBe(4);
      expect(await store.flush("writer-a", [emptyBatch(5), batchOf(6, [click("u")])])).toBe(1);
      expect(await store.watermark("writer-a")).toBe(6);
      expect(await expectConsistent(harness)).toHaveLength(1);
    });

    test("a flush of nothing stores nothing", async ({ store }) => {
      expect(await store.flush("writer-a", [])).toBe(0);
      expect(await store.watermark("writer-a")).toBe(0);
    });

    test("watermarks belong to their writer", async ({ store }) => {
      expect(await store.watermark("writer-a")).toBe(0);
      await store.flush("writer-a", [batchOf(3, [click("u")])]);
      await store.flush("writer-b", [batchOf(9, [click("u")])]);
      expect(await store.watermark("writer-a")).toBe(3);
      expect(await store.watermark("writer-b")).toBe(9);
    });

    test("a sealed writer stores nothing new; what it had stored still answers 0; other writers still work", async ({
      harness,
      store,
    }) => {
      const stored = [batchOf(1, mixedEvents("a", 10))];
      await store.flush("writer-a", stored);
      await store.seal("writer-a");
      await store.seal("writer-a");
      const overlapping = [...stored, batchOf(2, mixedEvents("b", 10))];
      await expectSealed(store.flush("writer-a", overlapping));
      expect(await store.flush("writer-a", stored)).toBe(0);
      expect(await store.watermark("writer-a")).toBe(1);
      expect(await store.flush("writer-b", [batchOf(1, [click("u")])])).toBe(1);
      expect(await expectConsistent(harness)).toHaveLength(11);
    });

    test("a new epoch seals all writers, and those of earlier ones that have stored nothing yet", async ({ store }) => {
      expect(await store.epoch()).toBe(0);
      expect(await store.flush("old", [batchOf(1, [click("u")])], 0, 0)).toBe(1);
      expect(await store.beginEpoch(0)).toBe(true);
      expect(await store.beginEpoch(0)).toBe(false);
      expect(await store.epoch()).toBe(1);
      expect(await store.flush("old", [batchOf(1, [click("u")])], 0, 0)).toBe(0);
      for (const writer of ["old", "silent"]) {
        const flushed = store.flush(writer, [batchOf(2, [click("late")])], 0, 0);
        await expectSealed(flushed);
      }
      expect(await store.flush("new", [batchOf(1, [click("v")])], 0, 1)).toBe(1);
      expect(await store.flush("adopted", [batchOf(1, [click("w")])])).toBe(1);
    });

    test("a writer whose first batches an adopter stored stores nothing more for an earlier epoch", async ({
      store,
    }) => {
      const [first, second] = [batchOf(1, [click("first")]), batchOf(2, [click("second")])];
      await store.beginEpoch(0);
      await store.flush("w", [first], 0, 1);
      const flushing = store.flush("w", [first, second], 0, 0);
      await expectSealed(flushing);
      expect(await store.flush("w", [first], 0, 0)).toBe(0);
      expect(await store.flush("w", [first, second], 0, 1)).toBe(1);
    });

    test("a writer can be sealed before its first flush", async ({ harness, store }) => {
      await store.seal("writer-a");
      const flushing = store.flush("writer-a", [batchOf(1, [click("u")])]);
      await expectSealed(flushing);
      expect(await store.watermark("writer-a")).toBe(0);
      expect(await harness.events()).toEqual([]);
    });

    test("a writer that has stored nothing can be sealed beyond what is stored elsewhere; no other can", async ({
      store,
    }) => {
      await store.flush("writer-a", [batchOf(2, [click("u")])]);
      await store.seal("writer-a", 0, 7);
      expect(await store.watermark("writer-a")).toBe(2);
      for (let time = 0; time < 2; time++) await store.seal("writer-b", 0, 7);
      expect(await store.watermark("writer-b")).toBe(7);
      expect(await store.flush("writer-b", [batchOf(7, [click("u")])])).toBe(0);
      await expectSealed(store.flush("writer-b", [batchOf(8, [click("u")])]));
      expect((await store.storedEvents(["writer-b"])).total).toBe(1);
    });

    test("a seal during a flush of another instance: the flush is stored whole or refused", async ({
      harness,
      store,
    }) => {
      const other = harness.store();
      await other.open();
      for (let round = 0; round < 10; round++) {
        const writer = `writer-${round}`;
        const batch = batchOf(1, mixedEvents(`round-${round}`, 50));
        const sealed = (error: unknown) => {
          if (error instanceof WriterSealedError) return 0;
          throw error;
        };
        const flushing = other.flush(writer, [batch]).catch(sealed);
        await store.seal(writer);
        const seq = await store.watermark(writer);
        expect(await flushing).toBe(seq * 50);
        expect(await store.watermark(writer)).toBe(seq);
      }
      await expectConsistent(harness);
    });

    test("20,000 events in one flush", async ({ harness, store }) => {
      const batches = [batchOf(1, mixedEvents("a", 10_000)), batchOf(2, mixedEvents("b", 10_000))];
      expect(await store.flush("writer-a", batches)).toBe(20_000);
      expect(await expectConsistent(harness)).toHaveLength(20_000);
    });

    test("a flush of 20,000 events does not block the event loop", async ({ store }) => {
      let isFlushing = true;
      let turns = 0;
      const countTurn = () => {
        turns += 1;
        if (isFlushing) setImmediate(countTurn);
      };
      const batch = batchOf(1, mixedEvents("a", 20_000));
      setImmediate(countTurn);
      await store.flush("writer-a", [batch]);
      isFlushing = false;
      // One a piece of 1,000 rows at the least.
      expect(turns).toBeGreaterThanOrEqual(20);
    });

    test("a store that is opened again has everything", async ({ harness, store }) => {
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
      await store.close();
      const again = harness.store();
      await again.open();
      expect(await again.watermark("writer-a")).toBe(1);
      expect(await again.newestHour()).toBe(NOON + 2 * HOUR_MS);
      expect(await again.flush("writer-a", [batchOf(2, mixedEvents("b", 10))])).toBe(10);
      expect(await expectConsistent(harness)).toHaveLength(20);
    });

    test("open() again does nothing, and a closed store refuses", async ({ store }) => {
      await store.open();
      await store.close();
      await store.close();
      const error = await rejectionOf(store.flush("writer-a", [batchOf(1, [click("u")])]));
      expect(error.message).toContain("flush batches 1 to 1 of writer writer-a");
    });
  });

  test(`${name}: eight instances opening an empty database at once`, async () => {
    const harness = await open();
    try {
      const stores = Array.from({ length: 8 }, () => harness.store());
      await Promise.all(stores.map((store) => store.open()));
      await Promise.all(stores.map((store, i) => store.flush(`writer-${i}`, [batchOf(1, mixedEvents(`s${i}`, 30))])));
      expect(await expectConsistent(harness)).toHaveLength(240);
    } finally {
      await harness.end();
    }
  });
}
