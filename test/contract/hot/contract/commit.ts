/** What a commit counts, returns and refuses. */
import { describe, expect } from "bun:test";
import fc from "fast-check";
import { type Batch, type Event, HOUR_MS } from "../../../../src/domain/event.ts";
import type { HotStore } from "../../../../src/store/hot.ts";
import { batchOf } from "../../../harness/pipeline/batches.ts";
import {
  ALL,
  click,
  clicksOf,
  committed,
  EMPTY,
  eventsOf,
  expectCounted,
  expectJournal,
  type Harness,
  impression,
  initializeAndRegister,
  mixedEvents,
  NOON,
  NOON_KEY,
  present,
  STREAM,
  STREAMS,
  testWithStore,
  testWithWriter,
  USERS_OF_ANY_BYTES,
  withoutOrdinals,
} from "../setup.ts";

export function commitContract(openHarness: () => Promise<Harness>): void {
  describe("commit", () => {
    const test = testWithStore(openHarness);
    const testWithW1 = testWithWriter(openHarness);

    testWithW1("counts each event in its stream and hour, in one batch and over several", async ({ store }) => {
      const [first, second] = [mixedEvents("a", 60), mixedEvents("b", 31)];
      expect(await store.commit("w1", 1, batchOf(first))).toEqual(committed());
      await expectCounted(store, first);
      expect(await store.commit("w1", 2, batchOf(second))).toEqual(committed());
      await expectCounted(store, [...first, ...second]);
    });

    testWithW1("counts a user once an hour and stream, and each of his events", async ({ store }) => {
      const events = [click("u"), click("u"), impression("u"), click("v"), click("u", undefined, NOON + HOUR_MS)];
      await store.commit("w1", 1, batchOf(events));
      await store.commit("w1", 2, batchOf([click("u")]));
      const keys = [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }, { stream: "site-2", hour: NOON }];
      expect(await store.read(keys)).toEqual([present(4, 1, 2), present(1, 0, 1), EMPTY]);
    });

    testWithW1("the first and the last millisecond of an hour are of that hour", async ({ store }) => {
      const ats = [NOON - 1, NOON, NOON + HOUR_MS - 1, NOON + HOUR_MS];
      await store.commit("w1", 1, batchOf(ats.map((at) => click(`at ${at}`, undefined, at))));
      const keys = [-1, 0, 1].map((hours) => ({ stream: STREAM, hour: NOON + hours * HOUR_MS }));
      expect(await store.read(keys)).toEqual([present(1, 0, 1), present(2, 0, 2), present(1, 0, 1)]);
    });

    testWithW1("2,000 events, each of another stream", async ({ store }) => {
      const events = Array.from({ length: 2_000 }, (_, i) => click("u", undefined, NOON, `stream-${i}`));
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
      expect(await store.commit("w1", 2, batchOf(events))).toEqual(committed());
      await expectCounted(store, [...events, ...events]);
      await expectJournal(store, "w1", { 1: events, 2: events });
    });

    testWithW1(
      "20,000 users of one hour in one batch, more than Lua can unpack, with ids and without",
      async ({ store }) => {
        const plain = clicksOf("plain", 20_000);
        const withIds = clicksOf("with-id", 20_000).map((event) => ({ ...event, id: event.user }));
        expect(await store.commit("w1", 1, batchOf(plain))).toEqual(committed());
        expect(await store.commit("w1", 2, batchOf(withIds))).toEqual(committed());
        await expectCounted(store, [...plain, ...withIds]);
        const again = await store.commit("w1", 3, batchOf(withIds));
        expect(again).toEqual(committed(...withIds.keys()));
        await expectCounted(store, [...plain, ...withIds]);
      },
    );

    testWithW1("users and ids of any bytes, streams of any characters they may have", async ({ store }) => {
      const events = STREAMS.flatMap((stream) =>
        USERS_OF_ANY_BYTES.flatMap((user) => [
          click(user, undefined, NOON, stream),
          impression(user, user, NOON, stream),
        ]),
      );
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
      await expectCounted(store, events);
      await expectJournal(store, "w1", { 1: events });
      const withIds = events.filter(({ id }) => id !== undefined);
      expect(await store.commit("w1", 2, batchOf(withIds))).toEqual(committed(...withIds.keys()));
      await expectCounted(store, events);
    });

    testWithW1("the earliest hour, and one that is far ahead", async ({ store }) => {
      const events = [click("u", undefined, 0), click("u", undefined, 253_402_300_799_999)];
      await store.commit("w1", 1, batchOf(events));
      await expectCounted(store, events);
      await expectJournal(store, "w1", { 1: events });
    });

    testWithW1("a batch that is sent again is applied once, and answered as before", async ({ store }) => {
      const events = [click("a", "id-1"), click("b", "id-1"), impression("c"), click("d", "id-2")];
      const more = [impression("e", "id-2"), click("f")];
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed(1));
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed(1));
      expect(await store.commit("w1", 2, batchOf(more))).toEqual(committed(0));
      expect(await store.commit("w1", 2, batchOf(more))).toEqual(committed(0));
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed(1));
      const counted = [events[0]!, events[2]!, events[3]!, more[1]!];
      await expectCounted(store, counted);
      await expectJournal(store, "w1", { 1: counted.slice(0, 3), 2: counted.slice(3) });
    });

    testWithW1("an id counts once in its stream, whatever else the event says", async ({ store }) => {
      const first = click("u", "id-1");
      const others = [
        click("u", "id-1"),
        impression("v", "id-1", NOON + HOUR_MS),
        click("u", "id-1", NOON, "site-2"),
        click("u", "ID-1"),
        click("u", "id-1 "),
      ];
      expect(await store.commit("w1", 1, batchOf([first]))).toEqual(committed());
      const batch = batchOf(others);
      // Ordinals go by groups: those of the stream's two hours, then the other stream.
      expect(eventsOf(batch).map(({ id }) => id)).toEqual(["id-1", "ID-1", "id-1 ", "id-1", "id-1"]);
      expect(await store.commit("w1", 2, batch)).toEqual(committed(0, 3));
      await expectCounted(store, [first, ...withoutOrdinals(batch, [0, 3])]);
      await expectJournal(store, "w1", { 1: [first], 2: withoutOrdinals(batch, [0, 3]) });
    });

    testWithW1("the user of a duplicate is not counted", async ({ store }) => {
      await store.commit("w1", 1, batchOf([click("u", "id-1"), click("v", "id-1"), click("w", "id-1")]));
      await store.commit("w1", 2, batchOf([impression("x", "id-1")]));
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
    });

    testWithW1("a batch of nothing but duplicates counts nothing, and makes no hour", async ({ store }) => {
      await store.commit("w1", 1, batchOf([click("u", "id-1")]));
      const late = batchOf([click("u", "id-1", NOON + HOUR_MS)]);
      expect(await store.commit("w1", 2, late)).toEqual(committed(0));
      const keys = [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }];
      expect(await store.read(keys)).toEqual([present(1, 0, 1), EMPTY]);
      expect(await store.commit("w1", 3, batchOf([click("v")]))).toEqual(committed());
      expect((await store.readJournal("w1", 2, ALL)).map(({ seq }) => seq)).toEqual([3]);
    });

    testWithW1("a writer that the store does not know commits nothing", async ({ store }) => {
      expect(await store.commit("w2", 1, batchOf([click("u")]))).toEqual({ status: "unknown" });
      expect(await store.renewLease("w2", 0)).toBe("lost");
      expect(await store.abandon("w2")).toBeUndefined();
    });

    test("any batches, sent once or more: counts, duplicates and journal are those of a model", async ({ store }) => {
      await initializeAndRegister(store, "w0");
      let run = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(someCommit, { minLength: 1, maxLength: 8 }), async (commits) => {
          run += 1;
          await expectLikeModel(store, run, commits);
        }),
        { numRuns: 40 },
      );
    });
  });
}

interface Sending {
  readonly events: readonly Event[];
  readonly times: number;
}

/** Few users and ids, so that they repeat, and hours on both sides of a boundary. */
const someEvent: fc.Arbitrary<Event> = fc.record({
  stream: fc.constantFrom("a", "b.c"),
  at: fc.integer({ min: NOON - 5, max: NOON + 5 }),
  kind: fc.constantFrom("click", "impression"),
  user: fc.oneof(fc.constantFrom(...USERS_OF_ANY_BYTES), fc.nat(30).map(String)),
  id: fc.option(
    fc.nat(12).map((n) => `id-${n}`),
    { nil: undefined },
  ),
});

const someCommit: fc.Arbitrary<Sending> = fc.record({
  events: fc.array(someEvent, { minLength: 1, maxLength: 25 }),
  times: fc.integer({ min: 1, max: 3 }),
});

/** Commits under a new writer, in streams that no run before had. */
async function expectLikeModel(store: HotStore, run: number, commits: readonly Sending[]): Promise<void> {
  const writer = `w${run}`;
  expect(await store.register(writer)).toBe(true);
  const seen = new Set<string>();
  const journal: Record<number, Event[]> = {};
  for (const [i, { events, times }] of commits.entries()) {
    const batch = batchOf(events.map((event) => ({ ...event, stream: `${event.stream}.${run}` })));
    const duplicates = duplicatesIn(batch, seen);
    for (let n = 0; n < times; n++) {
      expect(await store.commit(writer, i + 1, batch)).toEqual(committed(...duplicates));
    }
    journal[i + 1] = withoutOrdinals(batch, duplicates);
  }
  await expectCounted(store, Object.values(journal).flat());
  await expectJournal(store, writer, journal);
}

function duplicatesIn(batch: Batch, seen: Set<string>): number[] {
  const duplicates: number[] = [];
  for (const [ordinal, { stream, id }] of eventsOf(batch).entries()) {
    if (id === undefined) continue;
    const name = `${stream} ${id}`;
    if (seen.has(name)) duplicates.push(ordinal);
    seen.add(name);
  }
  return duplicates;
}
