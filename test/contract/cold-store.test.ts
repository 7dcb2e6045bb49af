/**
 * One contract, run against every cold store; then what only one of them can suffer: a connection cut around
 * COMMIT, a server that dies or falls silent, a disk that is full.
 *
 * Invariant checked after each of them: every event of every flush is one row and one count, and the sketches
 * of an hour are register by register those that its rows give.
 */
import { Database } from "bun:sqlite";
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { mkdtempSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Connection, createConnection } from "mysql2/promise";
import type { ApiKey } from "../../src/domain/api-key.ts";
import { BatchBuilder, type JournaledBatch } from "../../src/domain/batch.ts";
import { DAY_MS, type Event, HOUR_MS, type HourKey, hourKeyName, hourOf } from "../../src/domain/event.ts";
import { type HourRange, includes, selects } from "../../src/domain/hour-range.ts";
import { registerOf } from "../../src/domain/sketch.ts";
import { type UserCounts, UserSketches } from "../../src/domain/user-sketches.ts";
import { compareHours, rowPieces } from "../../src/store/aggregate.ts";
import {
  type ColdStore,
  ColdUnavailableError,
  type Poison,
  type RowKey,
  WriterSealedError,
} from "../../src/store/cold.ts";
import { embeddedColdStore } from "../../src/store/embedded/cold-store.ts";
import { type MysqlColdStoreOptions, mysqlColdStore } from "../../src/store/mysql/cold-store.ts";
import { type MysqlLinkOptions, type MysqlSession, withOwnSession } from "../../src/store/mysql/link.ts";
import { ensurePartitions, partitionName } from "../../src/store/mysql/partitions.ts";
import { coldStoreInThread } from "../../src/store/thread/proxy.ts";
import { describeWithServers, type MariaDbServer, startMariaDb } from "../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../harness/servers/tcp-proxy.ts";
import { expectSameUsers } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const STREAM = "site-1";

setDefaultTimeout(60_000);

interface StoredEvent {
  readonly hour: number;
  readonly stream: string;
  readonly writer: string;
  readonly seq: number;
  readonly ordinal: number;
  readonly at: number;
  readonly kind: string;
  readonly user: string;
  readonly id: string | null;
}

interface StoredHour {
  readonly hour: number;
  readonly stream: string;
  readonly clicks: number;
  readonly impressions: number;
  readonly unique_users: number;
  readonly viewers_sketch: Uint8Array;
  readonly clickers_sketch: Uint8Array | null;
}

interface StoredWriter {
  readonly writer: string;
  readonly events: number;
}

/** An empty database, looked into from outside the store. */
interface Harness {
  /** Another store on the same data. Closed by end(). */
  store(): ColdStore;
  /** By primary key. */
  events(): Promise<StoredEvent[]>;
  hours(): Promise<StoredHour[]>;
  writers(): Promise<StoredWriter[]>;
  run(sql: string): Promise<void>;
  end(): Promise<void>;
}

const SELECT_EVENTS = `
  SELECT e.hour, e.stream, w.writer, e.seq, e.ordinal, e.at, e.kind, e.user, e.id
  FROM events e JOIN writers w ON w.id = e.writer ORDER BY e.hour, e.stream, e.writer, e.seq, e.ordinal`;
const SELECT_HOURS = "SELECT * FROM hourly ORDER BY hour, stream";
const SELECT_WRITERS = "SELECT writer, events FROM writers ORDER BY writer";

function batchOf(seq: number, events: readonly Event[]): JournaledBatch {
  const builder = new BatchBuilder();
  for (const event of events) builder.add(event);
  return { seq, groups: builder.groups, eventCount: builder.eventCount };
}

function emptyBatch(seq: number): JournaledBatch {
  return { seq, groups: [], eventCount: 0 };
}

function click(user: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "click", user };
}

function impression(user: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "impression", user };
}

/** `count` events of users `name`-0, -1, …, every third a click, spread over three hours and two streams. */
function mixedEvents(name: string, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => {
    const at = NOON + (i % 3) * HOUR_MS + i;
    const user = `${name}-${i}`;
    const stream = i % 2 === 0 ? STREAM : "site-2";
    return i % 3 === 0 ? click(user, at, stream) : impression(user, at, stream);
  });
}

function usersOf(events: Iterable<{ readonly user: string; readonly kind: string }>): UserSketches {
  const users = new UserSketches();
  for (const { user, kind } of events) users.add(registerOf(user), kind === "click");
  return users;
}

/** As an hour has them that an older build stored. */
function undivided(users: UserSketches): UserSketches {
  return new UserSketches(users.union(), null);
}

function sketchesIn({ viewers_sketch, clickers_sketch }: StoredHour): UserSketches {
  return UserSketches.decode(viewers_sketch, clickers_sketch);
}

/** Hours and writers are what a replay of the rows gives; answers the rows. */
async function expectConsistent(harness: Harness): Promise<StoredEvent[]> {
  const events = await harness.events();
  const replayed = Map.groupBy(events, ({ stream, hour }) => hourKeyName(stream, hour));
  const hours = await harness.hours();
  expect(hours.map(({ stream, hour }) => hourKeyName(stream, hour))).toEqual([...replayed.keys()]);
  for (const hour of hours) {
    const rows = replayed.get(hourKeyName(hour.stream, hour.hour)) ?? [];
    const expected = usersOf(rows);
    expect(hour.clicks).toBe(rows.filter(({ kind }) => kind === "click").length);
    expect(hour.impressions).toBe(rows.filter(({ kind }) => kind === "impression").length);
    expect(hour.unique_users).toBe(expected.count());
    expectSameUsers(sketchesIn(hour), expected);
  }
  for (const { writer, events: count } of await harness.writers()) {
    expect(count).toBe(events.filter((event) => event.writer === writer).length);
  }
  return events;
}

async function rejectionOf(promise: Promise<unknown>): Promise<ColdUnavailableError> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ColdUnavailableError)) throw error;
  return error;
}

interface ShownHour extends HourKey, UserCounts {
  readonly clicks: number;
  readonly impressions: number;
}

async function rangeOf(store: ColdStore, range: HourRange): Promise<ShownHour[]> {
  const hours: ShownHour[] = [];
  await store.readRange(range, ({ users, ...hour }) => {
    hours.push({ ...hour, ...users.counts() });
  });
  const times = hours.map(({ hour }) => hour);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  return hours.sort(compareHours);
}

/** What a range has to show of these events. */
function shownOf(events: readonly Event[], range: HourRange): ShownHour[] {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  const shown = Array.from(byHour.values(), (ofHour) => {
    const [{ stream, at }] = ofHour as [Event];
    const clicks = ofHour.filter(({ kind }) => kind === "click").length;
    const counts = { clicks, impressions: ofHour.length - clicks, ...usersOf(ofHour).counts() };
    return { hour: hourOf(at), stream, ...counts };
  });
  return shown.filter((hour) => includes(range, hour)).sort(compareHours);
}

function oneStream(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: false } };
}

function branch(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: true } };
}

/** `expect().rejects` holds the event loop while it waits: an answer of another thread would never come. */
async function expectSealed(promise: Promise<unknown>): Promise<void> {
  const outcome = await promise.catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(WriterSealedError);
}

test("rows are made in the order of the table's primary key", () => {
  const batches = [batchOf(1, mixedEvents("a", 20).reverse()), batchOf(2, mixedEvents("b", 20))];
  const rows = Array.from(rowPieces(1, batches, 7), (piece) => piece.rows());
  expect(rows.map((piece) => piece.length)).toEqual([7, 7, 7, 7, 7, 5]);
  const keys = rows.flat().map(([hour, stream, writer, seq, ordinal]) => {
    return [hour, stream, writer, seq, `${ordinal}`.padStart(3)].join(" ");
  });
  expect(keys).toEqual(keys.toSorted());
  expect(new Set(keys).size).toBe(40);
});

function coldStoreContract(name: string, open: () => Promise<Harness>): void {
  describe(`cold store contract: ${name}`, () => {
    let harness: Harness;
    let store: ColdStore;

    beforeEach(async () => {
      harness = await open();
      store = harness.store();
      await store.open();
    });

    afterEach(async () => {
      await harness.end();
    });

    test("a flush stores each event as one row and one count", async () => {
      const batch = batchOf(1, mixedEvents("user", 30));
      expect(await store.flush("writer-a", [batch])).toBe(30);
      const events = await expectConsistent(harness);
      const stored = events.map(({ stream, at, kind, user }) => ({ stream, at, kind, user }));
      const byUser = (a: { user: string }, b: { user: string }) => a.user.localeCompare(b.user);
      const sent = mixedEvents("user", 30) as typeof stored;
      expect(stored.sort(byUser)).toEqual(sent.sort(byUser));
    });

    test("a row says which event of which batch it is", async () => {
      const later = NOON + HOUR_MS;
      await store.flush("writer-a", [
        batchOf(7, [click("u0", later), click("u1"), click("u2", later), click("u3")]),
      ]);
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

    test("the same flush again stores nothing", async () => {
      const batches = [batchOf(1, mixedEvents("a", 20)), batchOf(2, mixedEvents("b", 20))];
      expect(await store.flush("writer-a", batches)).toBe(40);
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await expectConsistent(harness)).toHaveLength(40);
    });

    test("an instance that is done with a writer keeps no other one waiting", async () => {
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

    test("a flush that overlaps the one before stores only what is new", async () => {
      const batches = [1, 2, 3].map((seq) => batchOf(seq, mixedEvents(`batch-${seq}`, 10 * seq)));
      expect(await store.flush("writer-a", batches.slice(0, 2))).toBe(30);
      expect(await store.flush("writer-a", batches)).toBe(30);
      expect(await store.watermark("writer-a")).toBe(3);
      expect(await expectConsistent(harness)).toHaveLength(60);
    });

    test("two instances flushing the same batches at once store them once", async () => {
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

    test("two instances flushing into the same new hour at once lose no count and no user", async () => {
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

    test("many streams in one flush, by two instances at once, in opposite orders", async () => {
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

    test("a flush that fails half way leaves nothing behind, and is stored when sent again", async () => {
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

    test("ranges at once are all answered", async () => {
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 60))]);
      const ranges = await Promise.all(Array.from({ length: 30 }, () => rangeOf(store, branch(""))));
      expect(new Set(ranges.map((hours) => JSON.stringify(hours))).size).toBe(1);
    });

    test("a hundred reads at once are all answered", async () => {
      await store.flush("writer-a", [batchOf(1, [click("u")])]);
      const reads = Array.from({ length: 100 }, () => store.read({ stream: STREAM, hour: NOON }));
      expect((await Promise.all(reads)).map((hour) => hour?.clicks)).toEqual(Array(100).fill(1));
    });

    test("users and ids come back byte for byte", async () => {
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

    test("an event without an id has none, beside events that have one", async () => {
      const withId: Event = { ...click("u1"), id: "id-1" };
      await store.flush("writer-a", [batchOf(1, [click("u0"), withId, click("u2")])]);
      expect((await harness.events()).map(({ id }) => id)).toEqual([null, "id-1", null]);
    });

    test("a batch without events moves the watermark", async () => {
      expect(await store.flush("writer-a", [emptyBatch(4)])).toBe(0);
      expect(await store.watermark("writer-a")).toBe(4);
      expect(await store.flush("writer-a", [emptyBatch(5), batchOf(6, [click("u")])])).toBe(1);
      expect(await store.watermark("writer-a")).toBe(6);
      expect(await expectConsistent(harness)).toHaveLength(1);
    });

    test("a flush of nothing stores nothing", async () => {
      expect(await store.flush("writer-a", [])).toBe(0);
      expect(await store.watermark("writer-a")).toBe(0);
    });

    test("watermarks belong to their writer", async () => {
      expect(await store.watermark("writer-a")).toBe(0);
      await store.flush("writer-a", [batchOf(3, [click("u")])]);
      await store.flush("writer-b", [batchOf(9, [click("u")])]);
      expect(await store.watermark("writer-a")).toBe(3);
      expect(await store.watermark("writer-b")).toBe(9);
    });

    test("a sealed writer stores nothing new; what it had stored still answers 0; others go on", async () => {
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

    test("a writer can be sealed before its first flush", async () => {
      await store.seal("writer-a");
      const flushing = store.flush("writer-a", [batchOf(1, [click("u")])]);
      await expectSealed(flushing);
      expect(await store.watermark("writer-a")).toBe(0);
      expect(await harness.events()).toEqual([]);
    });

    test("a seal during a flush of another instance: the flush is stored whole or refused", async () => {
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

    test("reads an hour as it was stored, and knows nothing of others", async () => {
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
      const DIVIDE_NOT = "UPDATE hourly SET clickers_sketch = NULL, viewers_sketch = ";

      /** As an older build stored it: one sketch with all users. */
      async function storeUndivided(events: readonly Event[]): Promise<void> {
        await store.flush("older", [batchOf(1, events)]);
        const all = usersOf(events).union().encode().toString("hex");
        await harness.run(`${DIVIDE_NOT}x'${all}' WHERE hour = ${NOON} AND stream = '${STREAM}'`);
      }

      const many = (name: string, count: number, kindOf: typeof click) =>
        Array.from({ length: count }, (_, i) => kindOf(`${name}-${i}`));

      test("grow flush by flush, each in its sketch, of any size", async () => {
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
        const { uniqueUsers } = usersOf(events).counts();
        expect((await harness.hours())[0]!.unique_users).toBe(uniqueUsers);
        await expectConsistent(harness);
      });

      test("of a kind without events take no bytes", async () => {
        await store.flush("writer-a", [batchOf(1, [impression("a")])]);
        await store.flush("writer-a", [batchOf(2, [impression("b")])]);
        await store.flush("writer-a", [batchOf(3, [click("a", NOON + HOUR_MS)])]);
        const [seen, clicked] = await harness.hours();
        expect([seen!.clickers_sketch!.length, clicked!.viewers_sketch.length]).toEqual([0, 0]);
        expect((await store.read(KEY))!.users.counts()).toEqual({
          uniqueUsers: 2,
          uniqueClickers: 0,
          uniqueViewers: 2,
        });
      });

      test("are not told apart in an hour of an older build, which goes on, and loses nobody", async () => {
        const events = [...many("old", 2_000, impression), ...many("old", 30, click)];
        await storeUndivided(events);
        const added = [click("old-1"), click("new-1"), impression("new-2"), ...many("new", 700, click)];
        await store.flush("writer-a", [batchOf(1, added.slice(0, 3))]);
        await store.flush("writer-a", [batchOf(2, added.slice(3))]);
        const expected = undivided(usersOf([...events, ...added]));
        expect(expected.counts()).toMatchObject({ uniqueClickers: null, uniqueViewers: null });
        const [hour] = await harness.hours();
        expect(hour!.clickers_sketch).toBeNull();
        expect(hour!.unique_users).toBe(expected.count());
        expectSameUsers((await store.read(KEY))!.users, expected);
        expectSameUsers((await store.audit(KEY)).aggregate!.users, expected);
        await store.readRange(oneStream(STREAM), ({ users }) => expectSameUsers(users, expected));
        expect(await store.rebuild(KEY)).toBe(true);
        await expectConsistent(harness);
      });

      test("stay together in the rebuild of such an hour in which somebody was erased", async () => {
        const events = [...many("old", 50, impression), ...many("old", 30, click)];
        await storeUndivided(events);
        await store.eraseUserRows({ user: "old-7", stream: undefined }, NOON);
        expect(await store.rebuild(KEY)).toBe(true);
        expectSameUsers((await store.read(KEY))!.users, undivided(usersOf(events)));
      });

      test("are kept by kind in the rebuild of an hour in which somebody was erased", async () => {
        const events = [...many("u", 50, impression), ...many("u", 30, click)];
        await store.flush("writer-a", [batchOf(1, events)]);
        await store.eraseUserRows({ user: "u-7", stream: undefined }, NOON);
        expect(await store.rebuild(KEY)).toBe(true);
        expectSameUsers((await store.read(KEY))!.users, usersOf(events));
      });
    });

    test("the rows of an hour come page by page: each once, by the primary key, and none of others", async () => {
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

    test("a range shows each hour of a stream within it, and no other, by hour", async () => {
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

    test("a range shows all streams whose names begin alike, and no neighbours of them", async () => {
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

    test("a range of many hours is read while the event loop goes on", async () => {
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

    test("a range is of one instant, and other reads go on beside it", async () => {
      const events = Array.from({ length: 500 }, (_, i) => click("u", NOON + i * HOUR_MS));
      await store.flush("writer-a", [batchOf(1, events)]);
      const later = events.map(({ at }) => impression("v", at));
      const clicksOfLast = async () =>
        (await store.read({ stream: STREAM, hour: events.at(-1)!.at }))?.impressions;
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

    test("the users of the named hours are shown, row by row and by hour", async () => {
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
        await store.readUsers({ hours, streams }, ({ hour, kind, user }) => {
          rows.push(`${hour} ${kind} ${user}`);
          order.push(hour);
        });
        const meant = events.filter(
          ({ stream, at }) => selects(streams, stream) && hours.includes(hourOf(at)),
        );
        expect(rows.sort()).toEqual(
          meant.map(({ at, kind, user }) => `${hourOf(at)} ${kind} ${user}`).sort(),
        );
        expect(order).toEqual(order.toSorted((a, b) => a - b));
      }
    });

    test("what a reader of rows throws ends the reading, and the store goes on", async () => {
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 60))]);
      const stop = () => {
        throw new RangeError("enough");
      };
      for (let i = 0; i < 5; i++) {
        await expect(store.readRange(branch(""), stop)).rejects.toThrow(new RangeError("enough"));
        const users = { hours: [NOON], streams: { text: "", isPrefix: true } };
        await expect(store.readUsers(users, stop)).rejects.toThrow(new RangeError("enough"));
      }
      expect(await rangeOf(store, branch(""))).toHaveLength(6);
    });

    test("streams are listed once, in order, up to a limit", async () => {
      expect(await store.streams(10)).toEqual([]);
      const events = ["b", "a.b", "a", "B", "a"].map((stream, i) =>
        click(`u${i}`, NOON + i * HOUR_MS, stream),
      );
      await store.flush("writer-a", [batchOf(1, events)]);
      expect(await store.streams(10)).toEqual(["B", "a", "a.b", "b"]);
      expect(await store.streams(2)).toEqual(["B", "a"]);
    });

    test("the newest hour is the latest of any stream", async () => {
      expect(await store.newestHour()).toBeUndefined();
      await store.flush("writer-a", [emptyBatch(1)]);
      expect(await store.newestHour()).toBeUndefined();
      await store.flush("writer-a", [batchOf(2, [click("u", NOON + 2 * HOUR_MS, "z"), click("u")])]);
      expect(await store.newestHour()).toBe(NOON + 2 * HOUR_MS);
    });

    test("the latest and the earliest time there can be", async () => {
      const at = [0, 253_402_300_799_999];
      await store.flush(
        "writer-a",
        at.map((ms, i) => batchOf(i + 1, [click("u", ms)])),
      );
      expect((await expectConsistent(harness)).map((event) => event.at)).toEqual(at);
    });

    test("20,000 events in one flush", async () => {
      const batches = [batchOf(1, mixedEvents("a", 10_000)), batchOf(2, mixedEvents("b", 10_000))];
      expect(await store.flush("writer-a", batches)).toBe(20_000);
      expect(await expectConsistent(harness)).toHaveLength(20_000);
    });

    test("the event loop goes on while 20,000 events are flushed", async () => {
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

    test("a store that is opened again has everything", async () => {
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
      await store.close();
      const again = harness.store();
      await again.open();
      expect(await again.watermark("writer-a")).toBe(1);
      expect(await again.newestHour()).toBe(NOON + 2 * HOUR_MS);
      expect(await again.flush("writer-a", [batchOf(2, mixedEvents("b", 10))])).toBe(10);
      expect(await expectConsistent(harness)).toHaveLength(20);
    });

    test("open() again does nothing, and a closed store refuses", async () => {
      await store.open();
      await store.close();
      await store.close();
      const error = await rejectionOf(store.flush("writer-a", [batchOf(1, [click("u")])]));
      expect(error.message).toContain("flush batches 1 to 1 of writer writer-a");
    });

    test("API keys are what they were made, in their order, until they are revoked once", async () => {
      expect(await store.apiKeys()).toEqual([]);
      const key = (n: number, more: Partial<ApiKey> = {}): ApiKey => ({
        ...{ id: `${n}`.repeat(16), sha256: "0123456789abcdef".repeat(4), name: "Ada's shop ☕ ' \" \\" },
        ...{ scopes: ["write", "read"], streams: [], limit: undefined, createdAt: NOON + n },
        ...{ expiresAt: undefined, revokedAt: undefined, ...more },
      });
      const limit = { count: 1_000_000, windowMs: HOUR_MS };
      const streams = Array.from({ length: 50 }, (_, i) => `${"s".repeat(61)}${10 + i}*`);
      const all = [
        key(3),
        key(1, { streams, limit, scopes: ["admin"] }),
        key(2, { expiresAt: NOON + DAY_MS }),
      ];
      for (const one of all) await store.addApiKey(one);
      const other = harness.store();
      await other.open();
      const inOrder = [all[1]!, all[2]!, all[0]!];
      expect(await other.apiKeys()).toEqual(inOrder);
      expect((await rejectionOf(other.addApiKey(key(2)))).message).toContain("add an API key");
      expect(await other.revokeApiKey(all[2]!.id, NOON + 7)).toBe(true);
      expect(await store.revokeApiKey(all[2]!.id, NOON + 8)).toBe(false);
      expect(await store.revokeApiKey("f".repeat(16), NOON)).toBe(false);
      expect((await store.apiKeys())[1]).toEqual({ ...all[2]!, revokedAt: NOON + 7 });
    });

    test("a row of another hand is no API key, and keeps none from being one", async () => {
      const columns = "id, sha256, scopes, streams, rate_limit, name, created_at";
      const hash = "0123456789abcdef".repeat(4);
      const rows = [
        `'${hash}', 'write', 'a b', NULL`,
        `'${hash}', 'root', '', NULL`,
        `'${hash}', '', '', NULL`,
        `'${hash}', 'write', '', '9/x'`,
        `'${hash.slice(1)}', 'write', '', NULL`,
        `'${hash}', 'write', '', NULL`,
      ];
      for (const [i, row] of rows.entries()) {
        await harness.run(`INSERT INTO api_keys (${columns}) VALUES ('${i}', ${row}, 'a', 0)`);
      }
      expect((await store.apiKeys()).map(({ id }) => id)).toEqual(["5"]);
    });

    test("poison is set aside once by its digest, listed as it came, and dropped", async () => {
      const piece = (name: string, more: Partial<Poison> = {}): Poison => ({
        ...{ digest: Bun.SHA256.hash(name, "hex"), origin: "amqp:events", messageId: "m", position: 3 },
        ...{ eventId: "m#3", body: `{"user": "${name}"}`, reason: "user: got 'ä', expected another" },
        ...more,
      });
      const whole = { messageId: undefined, position: undefined, eventId: undefined };
      const large = piece("large", { ...whole, body: `\u0000'"\\\n${"ü".repeat(2_000_000)}` });
      await store.setAsidePoison([]);
      await store.setAsidePoison([piece("a"), large, piece("a"), piece("b")]);
      await store.setAsidePoison([piece("b"), piece("c")]);
      const listed = await store.poison(0, 10);
      const came = [piece("a"), large, piece("b"), piece("c")];
      expect(listed.map(({ number: _, setAsideAt: __, ...rest }) => rest)).toEqual(
        came.map(({ digest: _, ...rest }) => rest),
      );
      for (const { setAsideAt } of listed)
        expect(Date.parse(setAsideAt)).toBeGreaterThan(Date.now() - 60_000);
      expect(await store.poison(listed[1]!.number, 1)).toEqual([listed[2]!]);
      expect(await store.dropPoison(listed[0]!.number)).toBe(true);
      expect(await store.dropPoison(listed[0]!.number)).toBe(false);
      expect(await store.poison(0, 10)).toEqual(listed.slice(1));
      await store.setAsidePoison([piece("a")]);
      expect(await store.poison(0, 10)).toHaveLength(4);
    });

    test("a database of a newer build is refused", async () => {
      await harness.run("INSERT INTO schema_migrations (version, name) VALUES (99, 'of-tomorrow')");
      const error = await rejectionOf(harness.store().open());
      expect(error.message).toContain("schema version 99");
      expect(error.message).toContain("newer build");
    });
  });

  test(`${name}: eight instances opening an empty database at once`, async () => {
    const harness = await open();
    try {
      const stores = Array.from({ length: 8 }, () => harness.store());
      await Promise.all(stores.map((store) => store.open()));
      await Promise.all(
        stores.map((store, i) => store.flush(`writer-${i}`, [batchOf(1, mixedEvents(`s${i}`, 30))])),
      );
      expect(await expectConsistent(harness)).toHaveLength(240);
    } finally {
      await harness.end();
    }
  });
}

function sqliteHarness(dataDir: string, onEnd: () => void, isInThread = false): Harness {
  const stores: ColdStore[] = [];
  const make = () => {
    return isInThread ? coldStoreInThread({ dataDir, mysqlUrl: undefined }) : embeddedColdStore({ dataDir });
  };
  const query = <Row>(sql: string): Row[] => {
    const database = new Database(join(dataDir, "cold.sqlite"), { strict: true });
    try {
      return database.query<Row, []>(sql).all();
    } finally {
      database.close();
    }
  };
  return {
    store() {
      const store = make();
      stores.push(store);
      return store;
    },
    events: async () => query(SELECT_EVENTS),
    hours: async () => query(SELECT_HOURS),
    writers: async () => query(SELECT_WRITERS),
    run: async (sql) => void query(sql),
    async end() {
      await Promise.all(stores.map((store) => store.close()));
      onEnd();
    },
  };
}

async function openSqlite(isInThread = false): Promise<Harness> {
  const dataDir = mkdtempSync(join(tmpdir(), "hourglass-cold-"));
  return sqliteHarness(dataDir, () => rmSync(dataDir, { recursive: true, force: true }), isInThread);
}

coldStoreContract("embedded", () => openSqlite());
coldStoreContract("embedded, in a thread", () => openSqlite(true));

describe("cold store: in a thread", () => {
  test("a thread that ends refuses who waits for it, and the next call begins another", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hourglass-thread-"));
    const entry = join(folder, "entry.ts");
    // It ends when it is asked for a watermark, and knows nothing but the newest hour.
    writeFileSync(
      entry,
      `self.onmessage = ({ data: { number, method } }) => {
         if (method === "watermark") setImmediate(() => { throw new Error("a bug in here"); });
         if (method === "newestHour") self.postMessage({ number, result: 7 });
       };`,
    );
    const store = coldStoreInThread({ dataDir: folder, mysqlUrl: undefined }, entry);
    try {
      for (let round = 0; round < 3; round++) {
        const waiting = rejectionOf(store.read({ stream: STREAM, hour: NOON }));
        expect((await rejectionOf(store.watermark("w"))).message).toContain("a bug in here");
        await waiting;
        expect(await store.newestHour()).toBe(7);
      }
    } finally {
      const late = rejectionOf(store.watermark("w"));
      await store.close();
      await late;
      rmSync(folder, { recursive: true, force: true });
    }
    expect((await rejectionOf(store.newestHour())).message).toContain("closed");
  });
});

/** Only root may, and in most containers not even that one. */
function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-mount-"));
  try {
    return mountSmallDisk(folder) && Bun.spawnSync(["umount", folder]).success;
  } finally {
    rmdirSync(folder);
  }
}

function mountSmallDisk(folder: string): boolean {
  if (Bun.which("mount") === null) return false;
  return Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]).success;
}

function atPort(url: string, port: number): string {
  const moved = new URL(url);
  moved.port = `${port}`;
  return moved.href;
}

describe("cold store: embedded", () => {
  let dataDir: string;
  let harness: Harness;
  let store: ColdStore;

  async function openIn(folder: string): Promise<void> {
    dataDir = folder;
    harness = sqliteHarness(folder, () => {});
    store = harness.store();
    await store.open();
  }

  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), "hourglass-cold-"));
  });

  afterEach(async () => {
    await harness.end();
    rmSync(dataDir, { recursive: true, force: true });
  });

  test("another process can read while it runs", async () => {
    await openIn(dataDir);
    await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
    const script = `
      const { Database } = require("bun:sqlite");
      const database = new Database(process.argv[1], { readonly: true });
      console.log(database.query("SELECT COUNT(*) AS n FROM events").get().n)`;
    const reader = Bun.spawn([process.execPath, "-e", script, join(dataDir, "cold.sqlite")]);
    expect((await reader.stdout.text()).trim()).toBe("10");
  });

  test("a flush waits for another process' lock without holding up the event loop", async () => {
    await openIn(dataDir);
    const other = new Database(join(dataDir, "cold.sqlite"));
    other.run("BEGIN IMMEDIATE");
    const flushing = store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
    // Reads are answered meanwhile: it is this process that would stand still otherwise.
    expect(await store.newestHour()).toBeUndefined();
    other.run("COMMIT");
    other.close();
    expect(await flushing).toBe(10);
  });

  test("a watermark asked for during a flush is the one after it; reads do not see half of it", async () => {
    await openIn(dataDir);
    const flushing = store.flush("writer-a", [batchOf(5, mixedEvents("a", 5_000))]);
    const watermark = store.watermark("writer-a");
    // All hours of the flush, read without a pause: some of them without the others would be half of it.
    const hours = [0, 1, 2].map((i) => ({ stream: STREAM, hour: NOON + i * HOUR_MS }));
    const seen = new Set<string>();
    let isFlushing = true;
    void flushing.finally(() => {
      isFlushing = false;
    });
    while (isFlushing) {
      const read = await Promise.all(hours.map((key) => store.read(key)));
      seen.add(read.map((hour) => (hour === undefined ? 0 : hour.clicks + hour.impressions)).join());
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(await flushing).toBe(5_000);
    expect(await watermark).toBe(5);
    seen.delete("834,833,833");
    expect([...seen]).toEqual(["0,0,0"]);
  });

  test("hours of an older build are kept as they are, undivided", async () => {
    await openIn(dataDir);
    await store.flush("writer-a", [batchOf(1, mixedEvents("a", 30))]);
    const before = (await harness.hours()).map(sketchesIn);
    for (const [i, { hour, stream }] of (await harness.hours()).entries()) {
      const all = before[i]!.union().encode().toString("hex");
      const which = `hour = ${hour} AND stream = '${stream}'`;
      await harness.run(`UPDATE hourly SET viewers_sketch = x'${all}' WHERE ${which}`);
    }
    await store.close();
    await harness.run("ALTER TABLE hourly DROP COLUMN clickers_sketch");
    await harness.run("ALTER TABLE hourly RENAME COLUMN viewers_sketch TO users_sketch");
    await harness.run("DELETE FROM schema_migrations WHERE version = 7");
    store = harness.store();
    await store.open();
    for (const [i, hour] of (await harness.hours()).entries()) {
      expectSameUsers(sketchesIn(hour), undivided(before[i]!));
    }
  });

  test("the log stays small however much is flushed and read", async () => {
    await openIn(dataDir);
    for (let seq = 1; seq <= 30; seq++) {
      await store.flush("writer-a", [batchOf(seq, mixedEvents(`batch-${seq}`, 2_000))]);
      await store.read({ stream: STREAM, hour: NOON });
      await store.newestHour();
    }
    expect(statSync(join(dataDir, "cold.sqlite")).size).toBeGreaterThan(3_000_000);
    expect(statSync(join(dataDir, "cold.sqlite-wal")).size).toBeLessThan(2_500_000);
  });

  test("a folder that cannot be made is a clear error, and open() may be called again", async () => {
    const blocked = join(dataDir, "in-the-way");
    writeFileSync(blocked, "a file");
    harness = sqliteHarness(blocked, () => {});
    store = harness.store();
    const error = await rejectionOf(store.open());
    expect(error.message).toContain(blocked);
    expect(error.message).toContain("DATA_DIR");
    rmSync(blocked);
    await store.open();
    expect(await store.flush("writer-a", [batchOf(1, [click("u")])])).toBe(1);
  });

  test.skipIf(!canMount())("a full disk fails the flush; it works again when there is room", async () => {
    expect(mountSmallDisk(dataDir)).toBe(true);
    const ballast = join(dataDir, "ballast");
    try {
      await openIn(dataDir);
      expect(await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))])).toBe(10);
      writeFileSync(ballast, Buffer.alloc(1_500_000));
      const batches = [batchOf(2, mixedEvents("b", 10_000))];
      const error = await rejectionOf(store.flush("writer-a", batches));
      expect(error.message).toContain("full");
      expect(await store.watermark("writer-a")).toBe(1);
      expect((await store.read({ stream: STREAM, hour: NOON }))?.clicks).toBe(2);
      rmSync(ballast);
      expect(await store.flush("writer-a", batches)).toBe(10_000);
      expect(await expectConsistent(harness)).toHaveLength(10_010);
    } finally {
      await harness.end();
      Bun.spawnSync(["umount", dataDir]);
    }
  });
});

describeWithServers("cold store: MySQL", ["mariadb"], () => {
  let server: MariaDbServer;

  beforeAll(async () => {
    server = await startMariaDb();
  });

  afterAll(async () => {
    await server?.stop();
  });

  interface MysqlHarness extends Harness {
    readonly url: string;
    /** After the server was started again. */
    reconnect(): Promise<void>;
    query<Row>(sql: string): Promise<Row[]>;
    /** With other settings than store()'s, or through another port. */
    storeWith(settings: Partial<MysqlColdStoreOptions>): ColdStore;
  }

  async function openMysql(): Promise<MysqlHarness> {
    const url = await server.createDatabase();
    return mysqlHarness(url, await connectClient(url));
  }

  async function connectClient(url: string): Promise<Connection> {
    const client = await createConnection({ uri: url, charset: "utf8mb4_bin" });
    // The server is killed under it.
    client.on("error", () => {});
    return client;
  }

  function mysqlHarness(url: string, firstClient: Connection): MysqlHarness {
    let client = firstClient;
    const stores: ColdStore[] = [];
    const query = async <Row>(sql: string) => (await client.query(sql))[0] as Row[];
    const storeWith = (settings: Partial<MysqlColdStoreOptions>) => {
      const store = mysqlColdStore({ url, now: () => NOON, ...settings });
      stores.push(store);
      return store;
    };
    return {
      url,
      async reconnect() {
        client.destroy();
        client = await connectClient(url);
      },
      query,
      storeWith,
      store: () => storeWith({}),
      async events() {
        type BytesRow = Omit<StoredEvent, "user" | "id"> & { user: Buffer; id: Buffer | null };
        const rows = await query<BytesRow>(SELECT_EVENTS);
        return rows.map((row) => ({ ...row, user: row.user.toString(), id: row.id?.toString() ?? null }));
      },
      hours: () => query(SELECT_HOURS),
      writers: () => query(SELECT_WRITERS),
      run: async (sql) => void (await query(sql)),
      async end() {
        await Promise.all(stores.map((store) => store.close()));
        client.destroy();
      },
    };
  }

  coldStoreContract("MariaDB", openMysql);
  coldStoreContract("MariaDB, in a thread", async () => {
    const harness = await openMysql();
    const stores: ColdStore[] = [];
    return {
      ...harness,
      store() {
        const store = coldStoreInThread({ dataDir: "", mysqlUrl: harness.url });
        stores.push(store);
        return store;
      },
      async end() {
        await Promise.all(stores.map((store) => store.close()));
        await harness.end();
      },
    };
  });

  describe("beside the contract", () => {
    let harness: MysqlHarness;
    let proxy: TcpProxy | undefined;

    beforeEach(async () => {
      harness = await openMysql();
    });

    afterEach(async () => {
      await harness.end();
      await proxy?.close();
      proxy = undefined;
    });

    async function openThroughProxy(settings: Partial<MysqlColdStoreOptions> = {}): Promise<ColdStore> {
      proxy = await startProxy(server.port);
      const store = harness.storeWith({ url: atPort(harness.url, proxy.port), ...settings });
      await store.open();
      return store;
    }

    /** A packet: 3 bytes of length, 1 of sequence, 1 of command (3: a query), then the statement. */
    const isStatement = (chunk: Buffer) => chunk[4] === 3;
    const isCommit = (chunk: Buffer) => isStatement(chunk) && chunk.toString("latin1", 5) === "COMMIT";

    test("a connection that is cut before COMMIT arrives: nothing is stored, then once", async () => {
      const store = await openThroughProxy();
      proxy!.onUpstream = (chunk, connection) => {
        if (!isCommit(chunk)) return true;
        proxy!.onUpstream = undefined;
        connection.cut();
        return false;
      };
      const batches = [batchOf(1, mixedEvents("a", 2_500))];
      const error = await rejectionOf(store.flush("writer-a", batches));
      expect(error.message).toContain("flush batches 1 to 1 of writer writer-a");
      expect(await harness.events()).toEqual([]);
      expect(await store.flush("writer-a", batches)).toBe(2_500);
      expect(await expectConsistent(harness)).toHaveLength(2_500);
    });

    test("a connection that is cut before the answer to COMMIT arrives: stored once", async () => {
      const store = await openThroughProxy();
      let committing = false;
      proxy!.onUpstream = (chunk) => {
        committing ||= isCommit(chunk);
        return true;
      };
      proxy!.onDownstream = (_, connection) => {
        if (!committing) return true;
        proxy!.onUpstream = undefined;
        proxy!.onDownstream = undefined;
        connection.cut();
        return false;
      };
      const batches = [batchOf(1, mixedEvents("a", 2_500))];
      await rejectionOf(store.flush("writer-a", batches));
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await store.flush("writer-a", [...batches, batchOf(2, [click("u")])])).toBe(1);
      expect(await expectConsistent(harness)).toHaveLength(2_501);
    });

    test("an answer to COMMIT that never comes: fails at the deadline, stored once", async () => {
      const store = await openThroughProxy({ flushTimeoutMs: 2_000 });
      let committing = false;
      proxy!.onUpstream = (chunk) => {
        committing ||= isCommit(chunk);
        return true;
      };
      proxy!.onDownstream = () => !committing;
      const batches = [batchOf(1, mixedEvents("a", 100))];
      const error = await rejectionOf(store.flush("writer-a", batches));
      expect(error.message).toContain("no answer within 2000 ms to: COMMIT");
      proxy!.onUpstream = undefined;
      proxy!.onDownstream = undefined;
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await expectConsistent(harness)).toHaveLength(100);
    });

    test("a connection that is cut at any statement: stored once", async () => {
      const store = await openThroughProxy();
      let wasCut = true;
      let cutAt = 0;
      while (wasCut) {
        cutAt += 1;
        wasCut = false;
        let statements = 0;
        proxy!.onUpstream = (chunk, connection) => {
          if (isStatement(chunk)) statements += 1;
          if (statements !== cutAt) return true;
          wasCut = true;
          connection.cut();
          return false;
        };
        const batches = [batchOf(cutAt, mixedEvents(`cut-${cutAt}`, 30))];
        const outcome = store.flush("writer-a", batches);
        // BEGIN, the writer's row, rows, counts, sketches read and written, the watermark, COMMIT.
        if (cutAt <= 8) await rejectionOf(outcome);
        else await outcome.catch(() => {});
        proxy!.onUpstream = undefined;
        expect(await store.flush("writer-a", batches)).toBe(wasCut ? 30 : 0);
      }
      expect(await expectConsistent(harness)).toHaveLength(cutAt * 30);
    });

    test("a server that is killed and started again needs no new store", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 100))]);
      await server.kill();
      const batches = [batchOf(2, mixedEvents("b", 100))];
      await rejectionOf(store.flush("writer-a", batches));
      await rejectionOf(store.read({ stream: STREAM, hour: NOON }));
      await rejectionOf(harness.store().open());
      await server.start();
      await harness.reconnect();
      expect(await store.flush("writer-a", batches)).toBe(100);
      expect((await store.read({ stream: STREAM, hour: NOON }))?.clicks).toBe(34);
      expect(await expectConsistent(harness)).toHaveLength(200);
    });

    test("a server that falls silent: each call fails within its deadline, then works", async () => {
      const store = harness.storeWith({ flushTimeoutMs: 1_000, readTimeoutMs: 500 });
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
      const batches = [batchOf(2, mixedEvents("b", 10))];
      const key = { stream: STREAM, hour: NOON };
      server.pause();
      try {
        const startMs = performance.now();
        const reads = Array.from({ length: 300 }, () => rejectionOf(store.read(key)));
        const flush = await rejectionOf(store.flush("writer-a", batches));
        expect(flush.message).toContain("no answer within 1000 ms");
        expect((await Promise.all(reads)).map(({ message }) => message).join()).toContain("callers wait");
        await rejectionOf(store.watermark("writer-a"));
        expect(performance.now() - startMs).toBeLessThan(5_000);
      } finally {
        server.resume();
      }
      expect(await store.flush("writer-a", batches)).toBe(10);
      expect((await store.read(key))?.clicks).toBe(4);
      expect(await expectConsistent(harness)).toHaveLength(20);
    });

    test("close() ends in time on a server that is silent", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
      server.pause();
      try {
        const flushing = rejectionOf(store.flush("writer-a", [batchOf(2, mixedEvents("b", 10))]));
        const connecting = rejectionOf(store.read({ stream: STREAM, hour: NOON }));
        await new Promise<void>((resolve) => setImmediate(resolve));
        const startMs = performance.now();
        await store.close();
        expect(performance.now() - startMs).toBeLessThan(4_000);
        await Promise.all([flushing, connecting]);
      } finally {
        server.resume();
      }
    });

    test("a range whose connection is cut on the way fails, and can be read again", async () => {
      const store = await openThroughProxy();
      const events = Array.from({ length: 2_000 }, (_, i) => click(`u${i}`, NOON - i * HOUR_MS));
      await store.flush("writer-a", [batchOf(1, events)]);
      const startMs = performance.now();
      let answeredBytes = 0;
      // Of more than 100,000.
      proxy!.onDownstream = (chunk, connection) => {
        answeredBytes += chunk.length;
        if (answeredBytes <= 50_000) return true;
        connection.cut();
        return false;
      };
      await rejectionOf(store.readRange(oneStream(STREAM), () => {}));
      expect(performance.now() - startMs).toBeLessThan(5_000);
      proxy!.onDownstream = undefined;
      expect(await rangeOf(store, oneStream(STREAM))).toHaveLength(2_000);
    });

    test("a range of one stream is read by stream and hour, not past all others", async () => {
      const store = harness.store();
      await store.open();
      const events = Array.from({ length: 3_000 }, (_, i) =>
        click("u", NOON + (i % 30) * HOUR_MS, `s${i % 100}`),
      );
      await store.flush("writer-a", [batchOf(1, events)]);
      await harness.run("ANALYZE TABLE hourly");
      const [plan] = await harness.query<{ key: string }>(`EXPLAIN
        SELECT hour, stream, clicks, impressions, viewers_sketch, clickers_sketch FROM hourly
        WHERE hour >= 0 AND hour < ${NOON + DAY_MS} AND stream = 's7' ORDER BY hour`);
      expect(plan?.key).toBe("hourly_by_stream");
    });

    test("the watermark waits for a flush whose outcome is open", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(6, [click("u")])]);
      await harness.run("START TRANSACTION");
      await harness.run("UPDATE writers SET seq = 7");
      const watermark = store.watermark("writer-a");
      // Not INNODB_TRX: that is a cache which is not refreshed while it is asked often.
      const waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
      await waitFor("the watermark to wait for the row's lock", async () => {
        return (await harness.query<{ Value: string }>(waits))[0]?.Value === "1";
      });
      await harness.run("COMMIT");
      expect(await watermark).toBe(7);
    });

    test("a refusal by the server leaves no transaction behind", async () => {
      const store = harness.store();
      await store.open();
      await harness.run("ALTER TABLE events CHANGE user name VARBINARY(255) NOT NULL");
      const error = await rejectionOf(store.flush("writer-a", [batchOf(1, [click("x".repeat(200))])]));
      expect(error.message).toContain("Unknown column");
      expect(Bun.inspect(error)).not.toContain("xxx");
      const others = `
        SELECT ID FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()`;
      await waitFor("its session to be gone", async () => (await harness.query(others)).length === 0);
      await harness.run("ALTER TABLE events CHANGE name user VARBINARY(255) NOT NULL");
      expect(await harness.events()).toEqual([]);
      expect(await store.flush("writer-a", [batchOf(1, [click("u")])])).toBe(1);
    });

    test("a wrong password: the error says who was refused, and not the password", async () => {
      const url = new URL(harness.url);
      url.username = "hourglass";
      url.password = "open-sesame";
      const store = harness.storeWith({ url: url.href });
      const error = await rejectionOf(store.open());
      expect(error.message).toContain("Access denied for user 'hourglass'");
      expect(`${Bun.inspect(error)} ${JSON.stringify(error.cause)} ${store.description}`).not.toContain(
        "sesame",
      );
      expect(() => mysqlColdStore({ url: "mysql://u:open-sesame@:1/", now: () => NOON })).toThrow(
        /^((?!sesame).)*mysql:\/\/user/,
      );
    });

    test("a migration that was cut off half way is done again", async () => {
      await harness.store().open();
      await harness.run("DROP TABLE hourly");
      await harness.run("DELETE FROM schema_migrations");
      const store = harness.store();
      await store.open();
      expect(await store.flush("writer-a", [batchOf(1, [click("u")])])).toBe(1);
      await expectConsistent(harness);
    });

    test("hours of an older build are kept as they are, undivided, also if that is done again", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 30))]);
      const before = (await harness.hours()).map(sketchesIn);
      const all = before.map((users) => users.union().encode().toString("hex"));
      for (const [i, hour] of (await harness.hours()).entries()) {
        const which = `hour = ${hour.hour} AND stream = '${hour.stream}'`;
        await harness.run(`UPDATE hourly SET viewers_sketch = x'${all[i]}' WHERE ${which}`);
      }
      await harness.run(
        "ALTER TABLE hourly DROP COLUMN clickers_sketch, RENAME COLUMN viewers_sketch TO users_sketch",
      );
      for (let round = 0; round < 2; round++) {
        await harness.run("DELETE FROM schema_migrations WHERE version = 7");
        await harness.store().open();
        for (const [i, hour] of (await harness.hours()).entries()) {
          expectSameUsers(sketchesIn(hour), undivided(before[i]!));
        }
      }
    });

    interface Partition {
      readonly name: string;
      readonly bound: string;
    }

    const partitions = () =>
      harness.query<Partition>(`
        SELECT PARTITION_NAME AS name, PARTITION_DESCRIPTION AS bound FROM information_schema.PARTITIONS
        WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'events' ORDER BY PARTITION_ORDINAL_POSITION`);

    const usersIn = async (name: string) => {
      const rows = await harness.query<{ user: Buffer }>(`SELECT user FROM events PARTITION (${name})`);
      return rows.map(({ user }) => user.toString());
    };

    const ensureAt = (now: number) => {
      const link: MysqlLinkOptions = { url: harness.url, connectTimeoutMs: 5_000, statementTimeoutMs: 5_000 };
      return withOwnSession(link, (session: MysqlSession) => ensurePartitions(session, now));
    };

    test("there is a partition for each of the coming days, and rows land in theirs", async () => {
      const store = harness.store();
      await store.open();
      const today = Date.UTC(2026, 0, 31);
      expect(await partitions()).toEqual([
        { name: "past", bound: `${today}` },
        { name: "p20260131", bound: `${today + DAY_MS}` },
        { name: "p20260201", bound: `${today + 2 * DAY_MS}` },
        { name: "p20260202", bound: `${today + 3 * DAY_MS}` },
        { name: "p20260203", bound: `${today + 4 * DAY_MS}` },
        { name: "pmax", bound: "MAXVALUE" },
      ]);
      const ats = [today - 1, today, today + DAY_MS - 1, today + DAY_MS, today + 4 * DAY_MS];
      const users = ["past", "first", "last", "tomorrow", "far"];
      await store.flush("writer-a", [
        batchOf(
          1,
          users.map((user, i) => click(user, ats[i]!)),
        ),
      ]);
      expect(await usersIn("past")).toEqual(["past"]);
      expect(await usersIn(partitionName(today))).toEqual(["first", "last"]);
      expect(await usersIn("p20260201")).toEqual(["tomorrow"]);
      expect(await usersIn("pmax")).toEqual(["far"]);
    });

    test("partitions are made by several at once, each day once; also after days without any", async () => {
      await harness.store().open();
      const before = (await partitions()).length;
      await Promise.allSettled(Array.from({ length: 4 }, () => ensureAt(NOON + 2 * DAY_MS)));
      expect(await partitions()).toHaveLength(before + 2);
      await ensureAt(NOON + 2 * DAY_MS);
      expect(await partitions()).toHaveLength(before + 2);
      await ensureAt(NOON + 400 * DAY_MS);
      expect(await partitions()).toHaveLength(before + 2 + 4);
      expect((await partitions()).at(-2)?.name).toBe(partitionName(NOON + 403 * DAY_MS));
    });

    test("flushing makes the next day's partition, on a table in use later", async () => {
      let now = NOON;
      const store = harness.storeWith({ now: () => now });
      await store.open();
      const before = (await partitions()).length;
      now += DAY_MS;
      await store.flush("writer-a", [batchOf(1, [click("far", NOON + 4 * DAY_MS)])]);
      await waitFor("the new partition", async () => (await partitions()).length === before + 1);
      expect(await usersIn(partitionName(NOON + 4 * DAY_MS))).toEqual(["far"]);

      await harness.run("START TRANSACTION");
      await harness.query("SELECT * FROM events");
      const error = await ensureAt(now + DAY_MS).catch((reason: unknown) => reason);
      expect(String(error)).toContain("Lock wait timeout");
      await harness.run("COMMIT");
      await ensureAt(now + DAY_MS);
      expect(await partitions()).toHaveLength(before + 2);
    });
  });
});
