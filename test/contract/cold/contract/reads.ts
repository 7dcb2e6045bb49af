/** Reads: hours, ranges of them, rows, users and streams. */
import { describe, expect } from "bun:test";
import { DAY_MS, type Event, HOUR_MS, hourOf } from "../../../../src/domain/event.ts";
import { selects } from "../../../../src/domain/stream-rules.ts";
import type { RowKey } from "../../../../src/store/cold.ts";
import { expectSameUsers } from "../../../harness/service/stored.ts";
import {
  batchOf,
  branch,
  click,
  emptyBatch,
  expectConsistent,
  type Harness,
  impression,
  mixedEvents,
  NOON,
  oneStream,
  rangeOf,
  STREAM,
  shownOf,
  testWithStore,
  usersOf,
} from "../setup.ts";

export function readsContract(name: string, open: () => Promise<Harness>): void {
  describe(`cold store contract: ${name}`, () => {
    const test = testWithStore(open);

    test("reads an hour as it was stored, and knows nothing of others", async ({ store }) => {
      await store.flush("writer-a", [batchOf(1, [click("u1"), impression("u2"), impression("u1")])]);
      await store.flush("writer-b", [batchOf(1, [click("u3")])]);
      const hour = await store.read({ stream: STREAM, hour: NOON });
      expect(hour?.clicks).toBe(2);
      expect(hour?.impressions).toBe(2);
      expect(hour?.users.counts()).toEqual({ uniqueUsers: 3, uniqueClickers: 2, uniqueViewers: 2 });
      const events = [click("u1"), impression("u2"), impression("u1"), click("u3")];
      expectSameUsers(hour!.users, usersOf(events));
      expect(await store.read({ stream: STREAM, hour: NOON + HOUR_MS })).toBeUndefined();
      expect(await store.read({ stream: STREAM.toUpperCase(), hour: NOON })).toBeUndefined();
    });

    describe("users by kind", () => {
      const KEY = { stream: STREAM, hour: NOON };
      const many = (name: string, count: number, kindOf: typeof click) =>
        Array.from({ length: count }, (_, i) => kindOf(`${name}-${i}`));

      test("grow flush by flush, each in its sketch, of any size", async ({ harness, store }) => {
        const events = [impression("a")];
        let seq = 0;
        for (const added of [
          [impression("a")],
          [impression("b"), click("a")],
          many("viewer", 3_000, impression),
          [...many("viewer", 1_500, click), ...many("clicker", 40, click)],
          [click("viewer-7"), impression("viewer-7")],
        ]) {
          await store.flush("writer-a", [batchOf(++seq, added)]);
          events.push(...added);
          expectSameUsers((await store.read(KEY))!.users, usersOf(events));
        }
        await expectConsistent(harness);
      });

      test("of a kind without events take no bytes", async ({ harness, store }) => {
        await store.flush("writer-a", [batchOf(1, [impression("a")])]);
        await store.flush("writer-a", [batchOf(2, [impression("b")])]);
        await store.flush("writer-a", [batchOf(3, [click("a", NOON + HOUR_MS)])]);
        const [seen, clicked] = await harness.hours();
        expect([seen!.clickers_sketch.length, clicked!.viewers_sketch.length]).toEqual([0, 0]);
        expect((await store.read(KEY))!.users.counts()).toEqual({
          uniqueUsers: 2,
          uniqueClickers: 0,
          uniqueViewers: 2,
        });
      });

      test("stay separate by kind when an hour with an erased user is rebuilt", async ({ store }) => {
        const events = [...many("u", 50, impression), ...many("u", 30, click)];
        await store.flush("writer-a", [batchOf(1, events)]);
        await store.eraseUserRows({ user: "u-7", stream: undefined }, NOON);
        expect(await store.rebuild(KEY)).toBe(true);
        expectSameUsers((await store.read(KEY))!.users, usersOf(events));
      });
    });

    test("the rows of an hour come page by page: each once, by the primary key, and none of others", async ({
      harness,
      store,
    }) => {
      const batches = [3, 1, 2].map((i) => batchOf(i, mixedEvents(`batch-${i}`, 40)));
      batches.sort((a, b) => a.seq - b.seq);
      await store.flush("writer-b", batches);
      await store.flush("writer-a", batches);
      const withId: Event = { ...impression("é\0👩‍👩‍👧‍👦 "), id: "id-1" };
      await store.flush("writer-a", [batchOf(4, [withId])]);
      const hourRows = (await harness.events()).filter((row) => row.hour === NOON && row.stream === STREAM);
      // As the writers came, and not by their names.
      const byKey = hourRows.toSorted((a, b) => b.writer.localeCompare(a.writer) || a.seq - b.seq);
      const expected = byKey.map(({ stream, at, kind, user, id }) => {
        return id === null ? { stream, at, kind, user } : { stream, at, kind, user, id };
      });
      for (const limit of [1, 7, 10_000]) {
        const events: Event[] = [];
        let after: RowKey | undefined;
        let pages = 0;
        do {
          const page = await store.rows({ stream: STREAM, hour: NOON }, after, limit);
          expect(page.events.length).toBeLessThanOrEqual(limit);
          events.push(...page.events);
          after = page.last;
          pages += 1;
        } while (after !== undefined);
        expect(events).toEqual(expected as Event[]);
        expect(pages).toBe(Math.floor(expected.length / limit) + 1);
      }
      const none = await store.rows({ stream: STREAM, hour: NOON + 9 * HOUR_MS }, undefined, 10);
      expect(none).toEqual({ events: [], last: undefined });
    });

    test("a range shows each hour of a stream within it, and no other, by hour", async ({ store }) => {
      const events = [
        ...mixedEvents("a", 60),
        click("b", NOON - HOUR_MS),
        click("c", NOON + DAY_MS),
        ...Array.from({ length: 2_000 }, (_, i) => impression(`dense-${i}`, NOON + HOUR_MS)),
      ];
      await store.flush("writer-a", [batchOf(1, events)]);
      for (const [from, to] of [
        [0, NOON + 2 * DAY_MS],
        [NOON, NOON + HOUR_MS],
        [NOON + HOUR_MS, NOON + DAY_MS],
        [NOON + 5 * HOUR_MS, NOON + DAY_MS],
      ] as const) {
        const range = oneStream(STREAM, from, to);
        expect(await rangeOf(store, range)).toEqual(shownOf(events, range));
      }
      expect(await rangeOf(store, oneStream(STREAM))).toHaveLength(4);
      expect(await rangeOf(store, oneStream("site"))).toEqual([]);
    });

    test("a range shows all streams whose names begin alike, and no neighbours of them", async ({ store }) => {
      const names = ["a", "a.", "a.b", "a.b.c", "a-b", "a_b", "aa", "A.b", "b", ".", "a.z", "a..", "0", "z"];
      const events = names.flatMap((stream, i) => [
        click(`u${i}`, NOON, stream),
        impression(`u${i}`, NOON + (i % 3) * HOUR_MS, stream),
      ]);
      await store.flush("writer-a", [batchOf(1, events)]);
      for (const text of ["", "a", "a.", "a.b", "a.b.c.d", ".", "z", "A", "zz"]) {
        expect(await rangeOf(store, branch(text))).toEqual(shownOf(events, branch(text)));
      }
    });

    test("a range of many hours does not block the event loop", async ({ store }) => {
      const events = Array.from({ length: 3_000 }, (_, i) => click(`u${i}`, NOON - i * HOUR_MS));
      await store.flush("writer-a", [batchOf(1, events)]);
      let [turns, isOver] = [0, false];
      const turn = (): void => {
        turns += 1;
        if (!isOver) setImmediate(turn);
      };
      turn();
      expect(await rangeOf(store, oneStream(STREAM))).toHaveLength(3_000);
      isOver = true;
      expect(turns).toBeGreaterThan(3);
    });

    test("a range is a snapshot, and does not block other reads", async ({ store }) => {
      const events = Array.from({ length: 500 }, (_, i) => click("u", NOON + i * HOUR_MS));
      await store.flush("writer-a", [batchOf(1, events)]);
      const later = events.map(({ at }) => impression("v", at));
      const clicksOfLast = async () => (await store.read({ stream: STREAM, hour: events.at(-1)!.at }))?.impressions;
      let flushing: Promise<number> | undefined;
      let seenBeside: Promise<number | undefined> | undefined;
      const seen: number[] = [];
      await store.readRange(oneStream(STREAM, 0, NOON + 500 * HOUR_MS), ({ impressions }) => {
        flushing ??= store.flush("writer-a", [batchOf(2, later)]);
        seenBeside ??= flushing.then(clicksOfLast);
        seen.push(impressions);
      });
      expect(seen).toEqual(Array(500).fill(0));
      expect(await seenBeside).toBe(1);
    });

    test("the users of the named hours are shown, row by row and by hour", async ({ store }) => {
      const events = [
        ...mixedEvents("a", 60),
        click("twice", NOON, "site-2"),
        impression("twice", NOON, "site-2"),
        click("beside", NOON + DAY_MS),
      ];
      await store.flush("writer-a", [batchOf(1, events)]);
      const hours = [NOON + 2 * HOUR_MS, NOON, NOON - DAY_MS];
      for (const streams of [
        { text: STREAM, isPrefix: false },
        { text: "site-", isPrefix: true },
        { text: "", isPrefix: true },
        { text: "site", isPrefix: false },
      ]) {
        const rows: string[] = [];
        const order: number[] = [];
        await store.readUsers({ hours, streams }, ({ hour, at, kind, user }) => {
          rows.push(`${hour} ${at} ${kind} ${user}`);
          order.push(hour);
        });
        const meant = events.filter(({ stream, at }) => selects(streams, stream) && hours.includes(hourOf(at)));
        expect(rows.sort()).toEqual(meant.map(({ at, kind, user }) => `${hourOf(at)} ${at} ${kind} ${user}`).sort());
        expect(order).toEqual(order.toSorted((a, b) => a - b));
      }
    });

    test("an error thrown by a row visitor ends the read, and the store still works", async ({ store }) => {
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 60))]);
      const stop = () => {
        throw new RangeError("enough");
      };
      for (let i = 0; i < 5; i++) {
        // Not `expect().rejects`, which lets no immediate run while it waits.
        const whatIsThrown = (reading: Promise<void>) => reading.catch((error: unknown) => error);
        expect(await whatIsThrown(store.readRange(branch(""), stop))).toEqual(new RangeError("enough"));
        const users = { hours: [NOON], streams: { text: "", isPrefix: true } };
        expect(await whatIsThrown(store.readUsers(users, stop))).toEqual(new RangeError("enough"));
      }
      expect(await rangeOf(store, branch(""))).toHaveLength(6);
    });

    test("streams are listed once, in order, up to a limit", async ({ store }) => {
      expect(await store.streams(10)).toEqual([]);
      const events = ["b", "a.b", "a", "B", "a"].map((stream, i) => click(`u${i}`, NOON + i * HOUR_MS, stream));
      await store.flush("writer-a", [batchOf(1, events)]);
      expect(await store.streams(10)).toEqual(["B", "a", "a.b", "b"]);
      expect(await store.streams(2)).toEqual(["B", "a"]);
    });

    test("the newest hour is the latest of any stream", async ({ store }) => {
      expect(await store.newestHour()).toBeUndefined();
      await store.flush("writer-a", [emptyBatch(1)]);
      expect(await store.newestHour()).toBeUndefined();
      await store.flush("writer-a", [batchOf(2, [click("u", NOON + 2 * HOUR_MS, "z"), click("u")])]);
      expect(await store.newestHour()).toBe(NOON + 2 * HOUR_MS);
    });

    test("the latest and the earliest possible time", async ({ harness, store }) => {
      const at = [0, 253_402_300_799_999];
      await store.flush(
        "writer-a",
        at.map((ms, i) => batchOf(i + 1, [click("u", ms)])),
      );
      expect((await expectConsistent(harness)).map((event) => event.at)).toEqual(at);
    });

    test("concurrent ranges are all answered", async ({ store }) => {
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 60))]);
      const ranges = await Promise.all(Array.from({ length: 30 }, () => rangeOf(store, branch(""))));
      expect(new Set(ranges.map((hours) => JSON.stringify(hours))).size).toBe(1);
    });

    test("a hundred concurrent reads are all answered", async ({ store }) => {
      await store.flush("writer-a", [batchOf(1, [click("u")])]);
      const reads = Array.from({ length: 100 }, () => store.read({ stream: STREAM, hour: NOON }));
      expect((await Promise.all(reads)).map((hour) => hour?.clicks)).toEqual(Array(100).fill(1));
    });
  });
}
