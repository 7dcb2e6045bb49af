/**
 * One contract, run against every hot store; then what only one of them can suffer: a Redis that forgets, falls
 * silent or is full, connections cut around a commit, a folder that two processes want.
 *
 * Invariant checked after most of them: counts, sketches and journal are those of the events that were
 * acknowledged, each once; an hour that is not complete is not answered at all.
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
import { cpSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { createClient, RESP_TYPES } from "redis";
import { type Batch, encodeBatch, type JournaledBatch } from "../../src/domain/batch.ts";
import { DAY_MS, type Event, HOUR_MS, type HourKey, hourKeyName, hourOf } from "../../src/domain/event.ts";
import { type HourRange, includes } from "../../src/domain/hour-range.ts";
import { registerOf, Sketch } from "../../src/domain/sketch.ts";
import { type UserCounts, UserSketches } from "../../src/domain/user-sketches.ts";
import { compareHours } from "../../src/store/aggregate.ts";
import { embeddedHotStore } from "../../src/store/embedded/hot-store.ts";
import { type CommitResult, type HotStore, HotUnavailableError, type HourRead } from "../../src/store/hot.ts";
import { type RedisHotStoreOptions, redisHotStore } from "../../src/store/redis/hot-store.ts";
import { script } from "../../src/store/redis/link.ts";
import commitSource from "../../src/store/redis/scripts/commit.lua" with { type: "text" };
import voidSource from "../../src/store/redis/scripts/void.lua" with { type: "text" };
import { batchOf } from "../harness/pipeline/batches.ts";
import { describeWithServers, type RedisServer, startRedis } from "../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../harness/servers/tcp-proxy.ts";
import { expectSameUsers } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const STREAM = "site-1";
/** Generous: where a test runs out of time, its runner kills all servers, and every test after it fails. */
setDefaultTimeout(60_000);

/** So long that no lease runs out by itself while a test runs. */
const LONG_LEASE_MS = 600_000;
const SHORT_LEASE_MS = 50;
const REGISTERS = 16384;
const DENSE_SIZE_BYTES = 12304;

const ALL = Number.POSITIVE_INFINITY;
const NOON_KEY: HourKey = { stream: STREAM, hour: NOON };

function click(user: string, id?: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "click", user, id };
}

function impression(user: string, id?: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "impression", user, id };
}

function clicksOf(name: string, count: number, at = NOON, stream = STREAM): Event[] {
  return Array.from({ length: count }, (_, i) => click(`${name}-${i}`, undefined, at, stream));
}

/** `count` events of users `name`-0, -1, …, every third a click, spread over three hours and two streams. */
function mixedEvents(name: string, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => {
    const at = NOON + (i % 3) * HOUR_MS + i;
    const stream = i % 2 === 0 ? STREAM : "site-2";
    const event = i % 3 === 0 ? click : impression;
    return event(`${name}-${i}`, undefined, at, stream);
  });
}

/** The events of a batch by their ordinals, each with the register that goes with it. */
function eventsOf(batch: Batch): (Event & { readonly register: number })[] {
  return batch.groups.flatMap(({ stream, ats, clickFlags, users, registers, ids }) =>
    users.map((user, i) => ({
      stream,
      at: ats[i]!,
      kind: clickFlags[i] ? ("click" as const) : ("impression" as const),
      user,
      id: ids?.[i] ?? undefined,
      register: registers[i]!,
    })),
  );
}

function withoutOrdinals(batch: Batch, ordinals: readonly number[]): Event[] {
  return eventsOf(batch).filter((_, ordinal) => !ordinals.includes(ordinal));
}

function sketchOf(users: Iterable<string>): Sketch {
  const sketch = new Sketch();
  for (const user of users) sketch.add(registerOf(user));
  return sketch;
}

function usersOf(events: Iterable<Event>): UserSketches {
  const users = new UserSketches();
  for (const { user, kind } of events) users.add(registerOf(user), kind === "click");
  return users;
}

/** Users who all clicked. */
function clickers(users: Iterable<string>): UserSketches {
  return new UserSketches(new Sketch(), sketchOf(users));
}

/** As hours have them that an older build stored. */
function undivided(users: UserSketches): UserSketches {
  return new UserSketches(users.union(), null);
}

/** All 16384 registers, told by the first that differs: a diff of all of them would fill the screen. */
function expectSameRegisters(actual: Sketch, expected: Sketch): void {
  for (let index = 0; index < REGISTERS; index++) {
    const ranks = { index, rank: actual.register(index) };
    if (ranks.rank !== expected.register(index))
      expect(ranks).toEqual({ index, rank: expected.register(index) });
  }
}

function present(clicks: number, impressions: number, uniqueUsers: number): HourRead {
  return { status: "present", counts: { clicks, impressions, uniqueUsers } };
}

const EMPTY: HourRead = { status: "empty" };
const ABSENT: HourRead = { status: "absent" };

function committed(...duplicates: number[]): CommitResult {
  return { status: "committed", duplicates };
}

function readOf(events: readonly Event[]): HourRead {
  const clicks = events.filter(({ kind }) => kind === "click").length;
  return present(clicks, events.length - clicks, sketchOf(events.map(({ user }) => user)).count());
}

/** Every hour that one of these events is of holds these, each once, and no others. */
async function expectCounted(store: HotStore, events: readonly Event[]): Promise<void> {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  const hours = [...byHour.values()];
  const keys = hours.map(([first]) => ({ stream: first!.stream, hour: hourOf(first!.at) }));
  expect(await store.read(keys)).toEqual(hours.map(readOf));
}

/** The journal holds these events, under these seqs, and says what registers and sums go with them. */
async function expectJournal(
  store: HotStore,
  writer: string,
  expected: Readonly<Record<number, readonly Event[]>>,
): Promise<void> {
  const batches = await store.readJournal(writer, 0, ALL);
  expect(batches.map(({ seq }) => seq)).toEqual(Object.keys(expected).map(Number));
  for (const batch of batches) expectEvents(batch, expected[batch.seq]!);
}

function expectEvents(batch: JournaledBatch, expected: readonly Event[]): void {
  const registered = expected.map((event) => ({ ...event, register: registerOf(event.user) }));
  expect(eventsOf(batch)).toEqual(registered);
  expect(batch.eventCount).toBe(expected.length);
  for (const { clicks, impressions, clickFlags } of batch.groups) {
    expect(clicks).toBe(clickFlags.filter(Boolean).length);
    expect(impressions).toBe(clickFlags.length - clicks);
  }
}

interface ShownHour extends HourKey, Omit<UserCounts, "uniqueUsers"> {
  readonly read: HourRead;
}

/** Each hour as it was shown, in order of hour and stream, and what was answered. */
async function rangeOf(store: HotStore, range: HourRange) {
  const hours: ShownHour[] = [];
  const freshFrom = await store.readRange(range, ({ hour, stream, clicks, impressions, users }) => {
    const { uniqueUsers, ...byKind } = users.counts();
    hours.push({ hour, stream, read: present(clicks, impressions, uniqueUsers), ...byKind });
  });
  return { hours: hours.sort(compareHours), freshFrom };
}

/** What a range of a store that holds these events has to show. */
function shownOf(events: readonly Event[], range: HourRange): ShownHour[] {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  const shown = Array.from(byHour.values(), (ofHour) => {
    const [{ stream, at }] = ofHour as [Event];
    const { uniqueUsers: _, ...byKind } = usersOf(ofHour).counts();
    return { hour: hourOf(at), stream, read: readOf(ofHour), ...byKind };
  });
  return shown.filter((hour) => includes(range, hour)).sort(compareHours);
}

function oneStream(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: false } };
}

function branch(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: true } };
}

async function bearAndRegister(store: HotStore, writer: string, freshFrom = 0): Promise<void> {
  expect(await store.bear(freshFrom)).toBe(true);
  expect(await store.register(writer)).toBe(true);
}

/** What a recovery does with a writer whose batches are all in the cold store. */
async function removeAdopted(store: HotStore, writer: string, watermark = 0): Promise<void> {
  expect(await store.fence(writer)).toBe(true);
  await store.removeJournal(writer, watermark);
}

async function retireAll(store: HotStore, beforeHour: number): Promise<number> {
  let retired = 0;
  for (;;) {
    const count = await store.retire(beforeHour);
    if (count === 0) return retired;
    retired += count;
  }
}

async function rejectionOf(promise: Promise<unknown>): Promise<HotUnavailableError> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof HotUnavailableError)) throw error;
  return error;
}

/** An empty data set. */
interface Harness {
  /** Opened; closed by end(). Only one at a time in the embedded case. */
  open(): Promise<HotStore>;
  /** The present store, or another in its place, after the data set has ceased to be born. Journals are left. */
  unbear(): Promise<HotStore>;
  end(): Promise<void>;
}

const USERS_OF_ANY_BYTES = [
  "a",
  "A",
  "a ",
  " a",
  "é",
  "e\u0301",
  "👩‍👩‍👧‍👦",
  "𝒳",
  "\0",
  "a\0b",
  "line\nbreak\r\n\ttab\b\x1a\x7f",
  `'"\`; DROP TABLE events; -- `,
  "back\\slash\\",
  "%_?*",
  "$5\r\nhello",
  "\u2028\ufeff\uffff\ufffd",
  "1,2,3",
  "null",
  "[]",
  "x".repeat(255),
  "é".repeat(127),
  "\\".repeat(255),
  "\0".repeat(255),
];

const STREAMS = ["default", "a.b", "a-b", "a_b", "A.B", ".", "-", "..", "0", "x".repeat(64)];

function hotStoreContract(name: string, openHarness: () => Promise<Harness>): void {
  describe(`hot store contract: ${name}`, () => {
    let harness: Harness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await openHarness();
      store = await harness.open();
    });

    afterEach(async () => {
      await harness.end();
    });

    describe("commit", () => {
      test("counts each event in its stream and hour, in one batch and over several", async () => {
        await bearAndRegister(store, "w1");
        const [first, second] = [mixedEvents("a", 60), mixedEvents("b", 31)];
        expect(await store.commit("w1", 1, batchOf(first))).toEqual(committed());
        await expectCounted(store, first);
        expect(await store.commit("w1", 2, batchOf(second))).toEqual(committed());
        await expectCounted(store, [...first, ...second]);
      });

      test("counts a user once an hour and stream, and each of his events", async () => {
        await bearAndRegister(store, "w1");
        const events = [
          click("u"),
          click("u"),
          impression("u"),
          click("v"),
          click("u", undefined, NOON + HOUR_MS),
        ];
        await store.commit("w1", 1, batchOf(events));
        await store.commit("w1", 2, batchOf([click("u")]));
        const keys = [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }, { stream: "site-2", hour: NOON }];
        expect(await store.read(keys)).toEqual([present(4, 1, 2), present(1, 0, 1), EMPTY]);
      });

      test("the first and the last millisecond of an hour are of that hour", async () => {
        await bearAndRegister(store, "w1");
        const ats = [NOON - 1, NOON, NOON + HOUR_MS - 1, NOON + HOUR_MS];
        await store.commit("w1", 1, batchOf(ats.map((at) => click(`at ${at}`, undefined, at))));
        const keys = [-1, 0, 1].map((hours) => ({ stream: STREAM, hour: NOON + hours * HOUR_MS }));
        expect(await store.read(keys)).toEqual([present(1, 0, 1), present(2, 0, 2), present(1, 0, 1)]);
      });

      test("2,000 events, each of another stream", async () => {
        await bearAndRegister(store, "w1");
        const events = Array.from({ length: 2_000 }, (_, i) => click("u", undefined, NOON, `stream-${i}`));
        expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
        expect(await store.commit("w1", 2, batchOf(events))).toEqual(committed());
        await expectCounted(store, [...events, ...events]);
        await expectJournal(store, "w1", { 1: events, 2: events });
      });

      test("20,000 users of one hour in one batch, more than Lua can unpack, with ids and without", async () => {
        await bearAndRegister(store, "w1");
        const plain = clicksOf("plain", 20_000);
        const withIds = clicksOf("with-id", 20_000).map((event) => ({ ...event, id: event.user }));
        expect(await store.commit("w1", 1, batchOf(plain))).toEqual(committed());
        expect(await store.commit("w1", 2, batchOf(withIds))).toEqual(committed());
        await expectCounted(store, [...plain, ...withIds]);
        const again = await store.commit("w1", 3, batchOf(withIds));
        expect(again).toEqual(committed(...withIds.keys()));
        await expectCounted(store, [...plain, ...withIds]);
      });

      test("users and ids of any bytes, streams of any characters they may have", async () => {
        await bearAndRegister(store, "w1");
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

      test("the earliest hour, and one that is far ahead", async () => {
        await bearAndRegister(store, "w1");
        const events = [click("u", undefined, 0), click("u", undefined, 253_402_300_799_999)];
        await store.commit("w1", 1, batchOf(events));
        await expectCounted(store, events);
        await expectJournal(store, "w1", { 1: events });
      });

      test("a batch that is sent again is applied once, and answered as before", async () => {
        await bearAndRegister(store, "w1");
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

      test("an id counts once in its stream, whatever else the event says", async () => {
        await bearAndRegister(store, "w1");
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

      test("the user of a duplicate is not counted", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u", "id-1"), click("v", "id-1"), click("w", "id-1")]));
        await store.commit("w1", 2, batchOf([impression("x", "id-1")]));
        expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      });

      test("a batch of nothing but duplicates counts nothing, and makes no hour", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u", "id-1")]));
        const late = batchOf([click("u", "id-1", NOON + HOUR_MS)]);
        expect(await store.commit("w1", 2, late)).toEqual(committed(0));
        const keys = [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }];
        expect(await store.read(keys)).toEqual([present(1, 0, 1), EMPTY]);
        expect(await store.commit("w1", 3, batchOf([click("v")]))).toEqual(committed());
        expect((await store.readJournal("w1", 2, ALL)).map(({ seq }) => seq)).toEqual([3]);
      });

      test("a writer that the store does not know commits nothing", async () => {
        await bearAndRegister(store, "w1");
        expect(await store.commit("w2", 1, batchOf([click("u")]))).toEqual({ status: "unknown" });
        expect(await store.renewLease("w2", 0)).toBe("lost");
        expect(await store.abandon("w2")).toBe(0);
      });

      test("any batches, sent once or more: counts, duplicates and journal are those of a model", async () => {
        await bearAndRegister(store, "w0");
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

    describe("journal", () => {
      test("gives batches back from any seq on, and about as many events as asked for", async () => {
        await bearAndRegister(store, "w1");
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

      test("is read whole when it has many entries, some with nothing in them", async () => {
        await bearAndRegister(store, "w1");
        for (let seq = 1; seq <= 250; seq++)
          await store.commit("w1", seq, batchOf([click(`u-${seq}`, "same")]));
        const batches = await store.readJournal("w1", 0, ALL);
        expect(batches.map(({ seq }) => seq)).toEqual(Array.from({ length: 250 }, (_, i) => i + 1));
        expect(batches.map(({ eventCount }) => eventCount)).toEqual([1, ...Array(249).fill(0)]);
      });

      test("is trimmed through a seq; what is above stays", async () => {
        await bearAndRegister(store, "w1");
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

      test("of a live writer is not for adoption", async () => {
        await bearAndRegister(store, "w1");
        expect(await store.journalOwners()).toEqual([{ writer: "w1", adoptable: false, acceptedEvents: 0 }]);
        expect(await store.fence("w1")).toBe(false);
        expect(await store.renewLease("w1", 0)).toBe("held");
        expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
        expect(await store.renewLease("w1", 1)).toBe("held");
      });

      test("of a writer that gave up is, and the writer is fenced", async () => {
        await bearAndRegister(store, "w1");
        const batch = batchOf([click("u")]);
        for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batch);
        expect(await store.abandon("w1")).toBe(3);
        expect(await store.abandon("w1")).toBe(3);
        expect(await store.journalOwners()).toEqual([{ writer: "w1", adoptable: true, acceptedEvents: 3 }]);
        expect(await store.fence("w1")).toBe(true);
        expect(await store.fence("w1")).toBe(true);
        for (const seq of [3, 4]) {
          expect(await store.commit("w1", seq, batch)).toEqual({ status: "fenced", lastSeq: 3 });
          expect(await store.voidBatch("w1", seq)).toEqual({ status: "fenced", lastSeq: 3 });
        }
        expect(await store.renewLease("w1", 3)).toBe("lost");
        expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 1)]);
      });

      test("is drained by its adopter and removed; its writer stays fenced when it wakes after that", async () => {
        await bearAndRegister(store, "w1");
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
        expect(await store.commit("w1", 4, batch)).toEqual({ status: "fenced", lastSeq: 3 });
        expect(await store.voidBatch("w1", 4)).toEqual({ status: "fenced", lastSeq: 3 });
        expect(await store.renewLease("w1", 3)).toBe("lost");
        expect(await store.abandon("w1")).toBe(3);
        expect(await store.isBorn()).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 1)]);
      });

      test("of a new writer begins at 1 again, beside the old one's", async () => {
        await bearAndRegister(store, "w1");
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

    describe("birth", () => {
      test("before it nothing is read and nothing written", async () => {
        expect(await store.isBorn()).toBe(false);
        expect(await store.read([NOON_KEY])).toBe("unborn");
        expect(await store.read([])).toBe("unborn");
        expect(await store.register("w1")).toBe(false);
        expect((await store.commit("w1", 1, batchOf([click("u")]))).status).toMatch(/^(unborn|unknown)$/);
        expect(await store.journalOwners()).toEqual([]);
        expect(await store.retire(NOON)).toBe(0);
        await bearAndRegister(store, "w1");
        expect(await store.isBorn()).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([EMPTY]);
        expect(await store.read([])).toEqual([]);
      });

      test("hours before freshFrom are absent, the others empty", async () => {
        await bearAndRegister(store, "w1", NOON);
        const keys = [NOON - HOUR_MS, NOON, NOON + HOUR_MS].map((hour) => ({ stream: STREAM, hour }));
        expect(await store.read(keys)).toEqual([ABSENT, EMPTY, EMPTY]);
      });

      test("a batch that touches an absent hour applies nothing, and says which groups", async () => {
        await bearAndRegister(store, "w1", NOON);
        const before = NOON - HOUR_MS;
        const events = [
          click("a", "id-1"),
          click("b", "id-2", before),
          click("c", undefined, NOON, "site-2"),
          click("d", undefined, before, "site-2"),
        ];
        const absent: CommitResult = { status: "absent", groups: [1, 3] };
        expect(await store.commit("w1", 1, batchOf(events))).toEqual(absent);
        expect(await store.commit("w1", 1, batchOf(events))).toEqual(absent);
        expect(await store.read([NOON_KEY, { stream: STREAM, hour: before }])).toEqual([EMPTY, ABSENT]);
        expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
        const mark = await store.retirementMark();
        for (const stream of [STREAM, "site-2"]) {
          expect(await store.hydrate({ stream, hour: before }, undefined, mark)).toBe(true);
        }
        expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
        await expectCounted(store, events);
        await expectJournal(store, "w1", {
          1: eventsOf(batchOf(events)).map(({ register: _, ...event }) => event),
        });
      });

      test("happens once: a second one changes nothing", async () => {
        await bearAndRegister(store, "w1", NOON);
        await store.commit("w1", 1, batchOf([click("u")]));
        const mark = await store.retirementMark();
        expect(await store.bear(NOON + 5 * HOUR_MS)).toBe(true);
        expect(await store.retirementMark()).toBe(mark);
        const later = { stream: STREAM, hour: NOON + HOUR_MS };
        expect(await store.read([NOON_KEY, later])).toEqual([present(1, 0, 1), EMPTY]);
        expect(await store.commit("w1", 2, batchOf([click("v")]))).toEqual(committed());
      });

      test("is refused while a journal is left, which anybody may adopt; then no hour is held", async () => {
        await bearAndRegister(store, "w1");
        const events = mixedEvents("a", 700);
        await store.commit("w1", 1, batchOf(events.slice(0, 300)));
        await store.commit("w1", 2, batchOf(events.slice(300)));
        store = await harness.unbear();
        expect(await store.isBorn()).toBe(false);
        expect(await store.read([NOON_KEY])).toBe("unborn");
        expect(await store.register("w2")).toBe(false);
        expect(await store.bear(0)).toBe(false);
        expect(await store.isBorn()).toBe(false);
        expect((await store.commit("w1", 3, batchOf([click("u")]))).status).toMatch(/^(unborn|unknown)$/);
        expect(await store.journalOwners()).toEqual([
          { writer: "w1", adoptable: true, acceptedEvents: events.length },
        ]);
        expect(await store.fence("w1")).toBe(true);
        const inOrdinalOrder = (part: Event[]) =>
          eventsOf(batchOf(part)).map(({ register: _, ...event }) => event);
        await expectJournal(store, "w1", {
          1: inOrdinalOrder(events.slice(0, 300)),
          2: inOrdinalOrder(events.slice(300)),
        });
        await store.trimJournal("w1", 2);
        expect(await store.bear(0)).toBe(false);
        await store.removeJournal("w1", 2);
        await bearAndRegister(store, "w2", NOON + HOUR_MS);
        const keys = [0, 1, 2].map((hours) => ({ stream: STREAM, hour: NOON + hours * HOUR_MS }));
        expect(await store.read(keys)).toEqual([ABSENT, EMPTY, EMPTY]);
      });

      test("ids are remembered over it", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u", "id-1")]));
        store = await harness.unbear();
        await removeAdopted(store, "w1", 1);
        await bearAndRegister(store, "w2");
        expect(await store.commit("w2", 1, batchOf([click("u", "id-1")]))).toEqual(committed(0));
      });

      test("drops however many hours there are", async () => {
        await bearAndRegister(store, "w1");
        const events = Array.from({ length: 450 }, (_, i) => click("u", undefined, NOON, `stream-${i}`));
        await store.commit("w1", 1, batchOf(events));
        store = await harness.unbear();
        await removeAdopted(store, "w1", 1);
        await bearAndRegister(store, "w2");
        const keys = events.map(({ stream }) => ({ stream, hour: NOON }));
        expect(await store.read(keys)).toEqual(Array(450).fill(EMPTY));
      });
    });

    describe("retire and hydrate", () => {
      test("only hours that are flushed are retired, and they are absent then", async () => {
        await bearAndRegister(store, "w1");
        const later = NOON + HOUR_MS;
        await store.commit("w1", 1, batchOf([click("a")]));
        await store.commit("w1", 2, batchOf([click("b", undefined, NOON, "site-2")]));
        await store.commit("w1", 3, batchOf([click("c", undefined, later)]));
        expect(await store.retire(later)).toBe(0);
        await store.trimJournal("w1", 1);
        expect(await store.retire(NOON)).toBe(0);
        const mark = await store.retirementMark();
        expect(await store.retire(later)).toBe(1);
        expect(await store.retirementMark()).not.toBe(mark);
        const keys = [
          NOON_KEY,
          { stream: "site-2", hour: NOON },
          { stream: "site-3", hour: NOON },
          { stream: STREAM, hour: later },
          { stream: "site-2", hour: later },
        ];
        expect(await store.read(keys)).toEqual([ABSENT, present(1, 0, 1), ABSENT, present(1, 0, 1), EMPTY]);
        await store.trimJournal("w1", 2);
        expect(await store.retire(later)).toBe(1);
        expect(await store.read(keys.slice(0, 2))).toEqual([ABSENT, ABSENT]);
        const absent: CommitResult = { status: "absent", groups: [0] };
        expect(await store.commit("w1", 4, batchOf([click("d")]))).toEqual(absent);
      });

      test("an hour that was touched again is retired only once that is flushed too", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("a")]));
        await store.trimJournal("w1", 1);
        await store.commit("w1", 2, batchOf([click("b")]));
        expect(await store.retire(NOON + HOUR_MS)).toBe(0);
        await store.trimJournal("w1", 2);
        expect(await store.retire(NOON + HOUR_MS)).toBe(1);
      });

      test("an hour that an earlier writer touched is retired only once its journal is flushed", async () => {
        await bearAndRegister(store, "w1");
        for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batchOf([click(`a-${seq}`)]));
        await store.commit("w1", 4, batchOf([click("a", undefined, NOON, "site-2")]));
        await store.abandon("w1");
        await store.register("w2");
        await store.commit("w2", 1, batchOf([click("b")]));
        await store.trimJournal("w2", 1);
        expect(await store.retire(NOON + HOUR_MS)).toBe(0);
        await store.trimJournal("w1", 4);
        await removeAdopted(store, "w1", 4);
        expect(await store.retire(NOON + HOUR_MS)).toBe(2);
        expect(await store.read([NOON_KEY])).toEqual([ABSENT]);
      });

      test("one hour by name: absent from then on, but not before it is flushed", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("a"), click("b", undefined, NOON + HOUR_MS)]));
        expect(await store.retireHour(NOON_KEY)).toBe(false);
        expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
        const mark = await store.retirementMark();
        await store.trimJournal("w1", 1);
        expect(await store.retireHour(NOON_KEY)).toBe(true);
        expect(await store.retirementMark()).not.toBe(mark);
        expect(await store.read([NOON_KEY])).toEqual([{ status: "absent" }]);
        expect(await store.read([{ stream: STREAM, hour: NOON + HOUR_MS }])).toEqual([present(1, 0, 1)]);
        expect((await store.commit("w1", 2, batchOf([click("c")]))).status).toBe("absent");
      });

      test("an hour that is not held, by name: it is not taken for empty any more", async () => {
        await bearAndRegister(store, "w1");
        expect(await store.read([NOON_KEY])).toEqual([{ status: "empty" }]);
        expect(await store.retireHour(NOON_KEY)).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([{ status: "absent" }]);
      });

      test("many hours at once", async () => {
        await bearAndRegister(store, "w1");
        const events = Array.from({ length: 450 }, (_, i) => click("u", undefined, NOON, `stream-${i}`));
        await store.commit("w1", 1, batchOf(events));
        await store.trimJournal("w1", 1);
        expect(await retireAll(store, NOON + HOUR_MS)).toBe(450);
        const keys = events.map(({ stream }) => ({ stream, hour: NOON }));
        expect(await store.read(keys)).toEqual(Array(450).fill(ABSENT));
      });

      test("an hour that is hydrated is what the cold store had, and what comes after it", async () => {
        await bearAndRegister(store, "w1", NOON + HOUR_MS);
        const old = Array.from({ length: 200 }, (_, i) => `old-${i}`);
        const cold = { clicks: 1_000, impressions: 50, users: clickers(old) };
        expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([present(1_000, 50, sketchOf(old).count())]);
        const events = [...clicksOf("new", 3_000), impression("old-7"), impression("with-id", "id-1")];
        expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
        const users = [...old, ...events.map(({ user }) => user)];
        expect(await store.read([NOON_KEY])).toEqual([present(4_000, 52, sketchOf(users).count())]);
        expectEvents((await store.readJournal("w1", 0, ALL))[0]!, events);
      });

      test("an hour of 100,000 users, dense, goes on after it was hydrated", async () => {
        await bearAndRegister(store, "w1", NOON + HOUR_MS);
        const sketch = sketchOf(Array.from({ length: 100_000 }, (_, i) => `old-${i}`));
        const cold = { clicks: 100_000, impressions: 0, users: new UserSketches(new Sketch(), sketch) };
        expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
        await store.commit("w1", 1, batchOf(clicksOf("new", 5_000)));
        const union = sketchOf(clicksOf("new", 5_000).map(({ user }) => user));
        union.merge(sketch);
        expect(await store.read([NOON_KEY])).toEqual([present(105_000, 0, union.count())]);
      });

      test("an hour that the cold store does not know is hydrated as one without events", async () => {
        await bearAndRegister(store, "w1", NOON + HOUR_MS);
        expect(await store.hydrate(NOON_KEY, undefined, await store.retirementMark())).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([present(0, 0, 0)]);
        await store.commit("w1", 1, batchOf([impression("u")]));
        expect(await store.read([NOON_KEY])).toEqual([present(0, 1, 1)]);
      });

      test("an hour that is present is left as it is, also when the mark is stale", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u"), click("v", undefined, NOON - HOUR_MS)]));
        const mark = await store.retirementMark();
        const cold = { clicks: 9, impressions: 9, users: clickers(["x", "y", "z"]) };
        expect(await store.hydrate(NOON_KEY, cold, mark)).toBe(true);
        await store.trimJournal("w1", 1);
        expect(await store.retire(NOON)).toBe(1);
        expect(await store.hydrate(NOON_KEY, cold, mark)).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      });

      test("a mark from before a retirement is refused: what was read then may be stale", async () => {
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u")]));
        const staleMark = await store.retirementMark();
        await store.trimJournal("w1", 1);
        expect(await store.retire(NOON + HOUR_MS)).toBe(1);
        expect(await store.hydrate(NOON_KEY, undefined, staleMark)).toBe(false);
        expect(await store.read([NOON_KEY])).toEqual([ABSENT]);
        const cold = { clicks: 1, impressions: 0, users: clickers(["u"]) };
        expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
        expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      });

      test("an hour can be retired and hydrated again and again", async () => {
        await bearAndRegister(store, "w1");
        const users: string[] = [];
        for (let seq = 1; seq <= 5; seq++) {
          const events = clicksOf(`round-${seq}`, 30);
          users.push(...events.map(({ user }) => user));
          expect(await store.commit("w1", seq, batchOf(events))).toEqual(committed());
          await store.trimJournal("w1", seq);
          expect(await store.retire(NOON + HOUR_MS)).toBe(1);
          const cold = { clicks: users.length, impressions: 0, users: clickers(users) };
          expect(await store.hydrate(NOON_KEY, cold, await store.retirementMark())).toBe(true);
        }
        expect(await store.read([NOON_KEY])).toEqual([present(150, 0, sketchOf(users).count())]);
      });
    });

    describe("ranges", () => {
      test("show each hour of a stream that is held within them, and no other", async () => {
        await bearAndRegister(store, "w1", NOON - DAY_MS);
        const events = [
          ...mixedEvents("a", 60),
          click("b", undefined, NOON - HOUR_MS),
          click("c", undefined, NOON + DAY_MS),
        ];
        await store.commit("w1", 1, batchOf(events));
        for (const [from, to] of [
          [0, NOON + 2 * DAY_MS],
          [NOON, NOON + HOUR_MS],
          [NOON + HOUR_MS, NOON + DAY_MS],
          [NOON + 5 * HOUR_MS, NOON + DAY_MS],
        ] as const) {
          const range = oneStream(STREAM, from, to);
          expect(await rangeOf(store, range)).toEqual({
            hours: shownOf(events, range),
            freshFrom: NOON - DAY_MS,
          });
        }
        expect((await rangeOf(store, oneStream(STREAM))).hours).toHaveLength(4);
        expect((await rangeOf(store, oneStream("site"))).hours).toEqual([]);
      });

      test("show all streams whose names begin alike, and no neighbours of them", async () => {
        await bearAndRegister(store, "w1");
        const names = [
          "a",
          "a.",
          "a.b",
          "a.b.c",
          "a-b",
          "a_b",
          "aa",
          "A.b",
          "b",
          ".",
          "a.z",
          "a..",
          "0",
          "z",
        ];
        const events = names.flatMap((stream, i) => [
          click(`u${i}`, undefined, NOON, stream),
          impression(`u${i}`, undefined, NOON + (i % 3) * HOUR_MS, stream),
        ]);
        await store.commit("w1", 1, batchOf(events));
        for (const prefix of ["", "a", "a.", "a.b", "a.b.c.d", ".", "z", "A", "zz"]) {
          const range = branch(prefix);
          expect((await rangeOf(store, range)).hours).toEqual(shownOf(events, range));
        }
      });

      test("of more hours and streams than one answer of Redis carries show each once", async () => {
        await bearAndRegister(store, "w1");
        const events = Array.from({ length: 4_500 }, (_, i) =>
          click(`u${i}`, undefined, NOON + (i % 4) * HOUR_MS, `${i % 2 === 0 ? "even" : "odd"}.${i}`),
        );
        await store.commit("w1", 1, batchOf(events));
        for (const prefix of ["", "even.", "odd.1"]) {
          const range = branch(prefix);
          expect((await rangeOf(store, range)).hours).toEqual(shownOf(events, range));
        }
      });

      test("carry sketches of any size whole", async () => {
        await bearAndRegister(store, "w1");
        const events = [
          ...clicksOf("dense", 40_000),
          ...clicksOf("sparse", 300, NOON + HOUR_MS),
          ...clicksOf("one", 1, NOON + 2 * HOUR_MS),
        ];
        await store.commit("w1", 1, batchOf(events));
        const sketches: Sketch[] = [];
        await store.readRange(oneStream(STREAM), ({ users }) => void sketches.push(users.union()));
        const byHour = Map.groupBy(events, ({ at }) => hourOf(at));
        expect(sketches).toHaveLength(3);
        for (const [i, ofHour] of [...byHour.values()].entries()) {
          expectSameRegisters(sketches[i]!, sketchOf(ofHour.map(({ user }) => user)));
        }
      });

      test("do not show what was retired, whose hours lie before the answer; they do show the hydrated", async () => {
        await bearAndRegister(store, "w1");
        const events = [click("a"), click("b", undefined, NOON + HOUR_MS)];
        await store.commit("w1", 1, batchOf(events));
        await store.trimJournal("w1", 1);
        await store.retire(NOON + HOUR_MS);
        const range = oneStream(STREAM);
        expect(await rangeOf(store, range)).toEqual({
          hours: shownOf(events.slice(1), range),
          freshFrom: NOON + HOUR_MS,
        });
        const cold = { clicks: 7, impressions: 2, users: clickers(["x", "y"]) };
        await store.hydrate(NOON_KEY, cold, await store.retirementMark());
        await store.hydrate({ stream: STREAM, hour: 0 }, undefined, await store.retirementMark());
        expect((await rangeOf(store, range)).hours).toEqual([
          { stream: STREAM, hour: 0, read: present(0, 0, 0), uniqueClickers: 0, uniqueViewers: 0 },
          { ...NOON_KEY, read: present(7, 2, 2), uniqueClickers: 2, uniqueViewers: 0 },
          ...shownOf(events.slice(1), range),
        ]);
      });

      test("tell clickers from viewers, with ids and without, of any number", async () => {
        await bearAndRegister(store, "w1");
        const numbers = [...Array(9_000).keys()];
        const events = [
          ...numbers.map((i) => impression(`u-${i}`, i % 5 === 0 ? `i-${i}` : undefined)),
          ...numbers
            .filter((i) => i % 3 === 0)
            .map((i) => click(`u-${i}`, i % 2 === 0 ? `c-${i}` : undefined)),
          ...numbers.filter((i) => i % 9 === 0).map((i) => click(`other-${i}`)),
        ];
        await store.commit("w1", 1, batchOf(events));
        await expectUsers(usersOf(events));
        // What counts once by its id is of no kind the second time.
        await store.commit("w1", 2, batchOf([impression("nobody", "c-0"), click("nobody", "i-5")]));
        await expectUsers(usersOf(events));
        await store.commit("w1", 3, batchOf([click("u-1"), impression("other-9")]));
        await expectUsers(usersOf([...events, click("u-1"), impression("other-9")]));
        await expectCounted(store, [...events, click("u-1"), impression("other-9")]);
      });

      async function expectUsers(expected: UserSketches): Promise<void> {
        const shown: UserSketches[] = [];
        await store.readRange(oneStream(STREAM), ({ users }) => {
          const copy = new UserSketches();
          copy.merge(users);
          shown.push(copy);
        });
        expect(shown).toHaveLength(1);
        expectSameUsers(shown[0]!, expected);
      }

      test("go on by kind once an hour was hydrated", async () => {
        await bearAndRegister(store, "w1", NOON + HOUR_MS);
        const old = [...clicksOf("old", 700), ...clicksOf("old", 2_000).map(({ user }) => impression(user))];
        const cold = { clicks: 700, impressions: 2_000, users: usersOf(old) };
        await store.hydrate(NOON_KEY, cold, await store.retirementMark());
        await expectUsers(usersOf(old));
        const events = [click("old-1999"), impression("new"), click("newer", "id-1")];
        await store.commit("w1", 1, batchOf(events));
        await expectUsers(usersOf([...old, ...events]));
      });

      test("do not tell them in an hour that the cold store has undivided; all are counted", async () => {
        await bearAndRegister(store, "w1", NOON + HOUR_MS);
        const old = [...clicksOf("old", 700), ...clicksOf("old", 2_000).map(({ user }) => impression(user))];
        const cold = { clicks: 700, impressions: 2_000, users: undivided(usersOf(old)) };
        await store.hydrate(NOON_KEY, cold, await store.retirementMark());
        await expectUsers(undivided(usersOf(old)));
        const events = [
          click("old-1999"),
          impression("new"),
          click("newer", "id-1"),
          ...clicksOf("x", 3_000),
        ];
        await store.commit("w1", 1, batchOf(events));
        const all = usersOf([...old, ...events]);
        await expectUsers(undivided(all));
        expect(await store.read([NOON_KEY])).toEqual([present(3_702, 2_001, all.count())]);
        await store.trimJournal("w1", 1);
        await store.retire(NOON + HOUR_MS);
        const divided = { clicks: 3_702, impressions: 2_001, users: all };
        await store.hydrate(NOON_KEY, divided, await store.retirementMark());
        await expectUsers(all);
      });

      test("show each hour once although hours are retired and put in place meanwhile", async () => {
        await bearAndRegister(store, "w1");
        const events = Array.from({ length: 4_500 }, (_, i) =>
          click("u", undefined, NOON + (i % 2) * HOUR_MS, `s${i}`),
        );
        await store.commit("w1", 1, batchOf(events));
        await store.trimJournal("w1", 1);
        const keys = new Set<string>();
        let churn: Promise<unknown> | undefined;
        const freshFrom = await store.readRange(branch("s"), ({ stream, hour }) => {
          expect(keys.has(hourKeyName(stream, hour))).toBe(false);
          keys.add(hourKeyName(stream, hour));
          churn ??= retireAll(store, NOON + DAY_MS).then(async () => {
            const mark = await store.retirementMark();
            await store.hydrate({ stream: "s0", hour: NOON }, undefined, mark);
          });
        });
        await churn;
        expect(keys.size).toBeGreaterThan(0);
        const absent = events.filter(({ stream, at }) => !keys.has(hourKeyName(stream, hourOf(at))));
        expect(absent.filter(({ at }) => hourOf(at) >= Number(freshFrom))).toEqual([]);
      });

      test("are not told before the birth, nor once the data set has ceased to be born", async () => {
        expect(await store.readRange(branch(""), () => {})).toBe("unborn");
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("a")]));
        store = await harness.unbear();
        expect(await store.readRange(branch(""), () => {})).toBe("unborn");
      });

      test("any range over any streams shows what a model does", async () => {
        await bearAndRegister(store, "w1");
        const events: Event[] = [];
        const name = fc.stringMatching(/^[a.A_0-]{1,4}$/);
        const some = fc.array(fc.tuple(name, fc.integer({ min: -5, max: 5 }), fc.nat(9)), { maxLength: 20 });
        const bounds = fc.tuple(fc.integer({ min: -6, max: 6 }), fc.integer({ min: -6, max: 6 }));
        const prefix = fc.stringMatching(/^[a.A_0-]{0,2}$/);
        let seq = 0;
        await fc.assert(
          fc.asyncProperty(some, bounds, prefix, fc.boolean(), async (added, [from, to], text, isPrefix) => {
            const batch = added.map(([stream, hour, user]) =>
              click(`u${user}`, undefined, NOON + hour * HOUR_MS, stream),
            );
            events.push(...batch);
            if (batch.length > 0) await store.commit("w1", ++seq, batchOf(batch));
            const [first, end] = [from, to].map((hours) => NOON + hours * HOUR_MS);
            const range = { from: first!, to: end!, streams: { text, isPrefix } };
            expect((await rangeOf(store, range)).hours).toEqual(shownOf(events, range));
          }),
          { numRuns: 200 },
        );
      });
    });

    describe("void", () => {
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

    test("opening again does nothing; a closed store is not ready and refuses", async () => {
      await bearAndRegister(store, "w1");
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

interface Sending {
  readonly events: readonly Event[];
  readonly times: number;
}

/** Few users and ids, so that they come again, and hours on both sides of a turn. */
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

interface EmbeddedHarness extends Harness {
  readonly dataDir: string;
  /** In that folder, or in another one. Closed by end(). */
  store(dataDir?: string): HotStore;
}

function embeddedHarness(now: () => number): EmbeddedHarness {
  const dataDir = mkdtempSync(join(tmpdir(), "hourglass-hot-"));
  const stores: HotStore[] = [];
  const closeAll = () => Promise.all(stores.map((store) => store.close()));
  const storeIn = (folder = dataDir) => {
    const store = embeddedHotStore({ dataDir: folder, now });
    stores.push(store);
    return store;
  };
  const open = async () => {
    const store = storeIn();
    expect(await store.open()).toEqual([]);
    return store;
  };
  return {
    dataDir,
    store: storeIn,
    open,
    async unbear() {
      await closeAll();
      return open();
    },
    async end() {
      await closeAll();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

hotStoreContract("embedded", async () => embeddedHarness(() => NOON));

describe("hot store: embedded", () => {
  let now: number;
  let harness: EmbeddedHarness;
  let store: HotStore;
  let folders: string[];

  beforeEach(async () => {
    now = NOON;
    folders = [];
    harness = embeddedHarness(() => now);
    store = await harness.open();
  });

  afterEach(async () => {
    await harness.end();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  function newFolder(): string {
    const folder = mkdtempSync(join(tmpdir(), "hourglass-hot-"));
    folders.push(folder);
    return folder;
  }

  test("an id counts again once it has expired, not a millisecond before", async () => {
    await bearAndRegister(store, "w1");
    const event = click("u", "id-1");
    expect(await store.commit("w1", 1, batchOf([event]))).toEqual(committed());
    now += DAY_MS - 1;
    expect(await store.commit("w1", 2, batchOf([event]))).toEqual(committed(0));
    now += 1;
    expect(await store.commit("w1", 3, batchOf([event, event]))).toEqual(committed(1));
    now += DAY_MS - 1;
    expect(await store.commit("w1", 4, batchOf([event]))).toEqual(committed(0));
    await expectCounted(store, [event, event]);
  });

  test("ids that have expired are deleted as others come", async () => {
    await bearAndRegister(store, "w1");
    const events = (name: string, count: number) =>
      clicksOf(name, count).map((event) => ({ ...event, id: event.user }));
    await store.commit("w1", 1, batchOf(events("old", 500)));
    now += DAY_MS;
    for (let seq = 2; seq <= 6; seq++) await store.commit("w1", seq, batchOf(events(`new-${seq}`, 1)));
    // Remembered or not, they may come again: so it is looked up in the file.
    await store.close();
    expect(rowCount("ids")).toBe(5);
  });

  function rowCount(table: string): number {
    const sqlite = new Database(join(harness.dataDir, "journal.sqlite"), { readonly: true });
    try {
      return sqlite.query<{ n: number }, []>(`SELECT COUNT(*) AS n FROM ${table}`).get()!.n;
    } finally {
      sqlite.close();
    }
  }

  test("a second one on the folder is refused, until the first has ended", async () => {
    await bearAndRegister(store, "w1");
    const second = harness.store();
    const error = await rejectionOf(second.open());
    expect(error.message).toContain(join(harness.dataDir, "journal.sqlite"));
    expect(error.message).toContain("another Hourglass is running on this folder");
    expect(error.mayHaveApplied).toBe(false);
    expect(second.isReady).toBe(false);
    expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
    await store.close();
    expect(await second.open()).toEqual([]);
    await expectJournal(second, "w1", { 1: [click("u")] });
  });

  test("so is another process", async () => {
    const module = join(import.meta.dir, "../../src/store/embedded/hot-store.ts");
    const code = `
      const { embeddedHotStore } = await import(process.argv[1]);
      const store = embeddedHotStore({ dataDir: process.argv[2], now: Date.now });
      console.log(await store.open().then(() => "opened", (error) => error.name + ": " + error.message));`;
    const process2 = Bun.spawn([process.execPath, "-e", code, module, harness.dataDir]);
    const said = await process2.stdout.text();
    expect(said).toContain("HotUnavailableError");
    expect(said).toContain("another Hourglass is running on this folder: stop it, or set DATA_DIR");
    await bearAndRegister(store, "w1");
    expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
  });

  test("whatever was acknowledged is in the files at that moment", async () => {
    await bearAndRegister(store, "w1");
    const [first, second] = [
      mixedEvents("a", 50),
      [click("b", "id-1"), click("c", "id-1"), click("d", "id-2")],
    ];
    const ordered = eventsOf(batchOf(first)).map(({ register: _, ...event }) => event);
    await store.commit("w1", 1, batchOf(first));
    await store.commit("w1", 2, batchOf([click("trimmed")]));
    await store.commit("w1", 3, batchOf(second));
    expect(await store.voidBatch("w1", 4)).toEqual({ status: "voided" });
    // The files of a process that lives: what kill -9 would leave.
    const copy = newFolder();
    cpSync(harness.dataDir, copy, { recursive: true });
    const found = harness.store(copy);
    expect(await found.open()).toEqual([]);
    expect(await found.isBorn()).toBe(false);
    expect(await found.journalOwners()).toEqual([{ writer: "w1", adoptable: true, acceptedEvents: 53 }]);
    await expectJournal(found, "w1", { 1: ordered, 2: [click("trimmed")], 3: [second[0]!, second[2]!] });
    await found.trimJournal("w1", 3);
    await removeAdopted(found, "w1", 3);
    await bearAndRegister(found, "w2");
    expect(await found.commit("w2", 1, batchOf(second))).toEqual(committed(0, 1, 2));
  });

  test("a store that was closed and opened again has its journal, and no hours", async () => {
    await bearAndRegister(store, "w1");
    await store.commit("w1", 1, batchOf([click("a")]));
    await store.commit("w1", 2, batchOf([click("b")]));
    await store.trimJournal("w1", 1);
    await store.close();
    const again = await harness.open();
    await expectJournal(again, "w1", { 2: [click("b")] });
    expect(await again.read([NOON_KEY])).toBe("unborn");
  });

  test("a folder that cannot be made is a clear error, and open() may be called again", async () => {
    const blocked = join(newFolder(), "in-the-way");
    writeFileSync(blocked, "a file");
    const other = harness.store(blocked);
    const error = await rejectionOf(other.open());
    expect(error.message).toContain(blocked);
    expect(error.message).toContain("DATA_DIR has to be a folder that this process may write to");
    rmSync(blocked);
    expect(await other.open()).toEqual([]);
    await bearAndRegister(other, "w1");
  });

  describe("a disk that fails", () => {
    const FAILED = new Error("EIO: i/o error, fdatasync");
    let outcomes: (Error | undefined)[];
    let failing: HotStore;

    beforeEach(async () => {
      outcomes = [];
      await store.close();
      const syncFile = async () => {
        const outcome = outcomes.shift();
        if (outcome !== undefined) throw outcome;
      };
      failing = embeddedHotStore({ dataDir: harness.dataDir, now: () => now, syncFile });
      await failing.open();
      await bearAndRegister(failing, "w1");
    });

    afterEach(() => failing.close());

    test("refuses what it may not hold, and counts it once when it is sent again", async () => {
      const events = [click("u", "id-1"), click("v", "id-1"), impression("w")];
      outcomes = [FAILED];
      const error = await rejectionOf(failing.commit("w1", 1, batchOf(events)));
      expect(error.message).toContain("EIO");
      expect(error.mayHaveApplied).toBe(true);
      expect(await failing.read([NOON_KEY])).toEqual([present(0, 0, 0)]);
      expect(await failing.commit("w1", 1, batchOf(events))).toEqual(committed(1));
      expect(await failing.commit("w1", 2, batchOf([click("x", "id-1")]))).toEqual(committed(0));
      await expectCounted(failing, [events[0]!, events[2]!]);
      await expectJournal(failing, "w1", { 1: [events[0]!, events[2]!], 2: [] });
    });

    test("writes the log back into the file before it is believed again", async () => {
      outcomes = [FAILED];
      await rejectionOf(failing.commit("w1", 1, batchOf([click("u")])));
      expect(await failing.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      // All of it is in the file itself: the log, which may lack something on disk, is empty.
      expect(statSync(join(harness.dataDir, "journal.sqlite-wal")).size).toBe(0);
      expect(await failing.commit("w1", 2, batchOf([click("v")]))).toEqual(committed());
      expect(outcomes).toEqual([]);
    });

    test("a batch that it may hold can be made void: it and its ids never count", async () => {
      outcomes = [FAILED];
      await rejectionOf(failing.commit("w1", 1, batchOf([click("u", "id-1")])));
      expect(await failing.voidBatch("w1", 1)).toEqual({ status: "voided" });
      expect(await failing.commit("w1", 2, batchOf([click("u", "id-1")]))).toEqual(committed());
      await expectCounted(failing, [click("u", "id-1")]);
      await expectJournal(failing, "w1", { 2: [click("u", "id-1")] });
      expect((await failing.journalOwners())[0]?.acceptedEvents).toBe(1);
    });

    test("a writer that is given up leaves it to its adopter", async () => {
      outcomes = [FAILED];
      await rejectionOf(failing.commit("w1", 1, batchOf([click("u")])));
      expect(await failing.abandon("w1")).toBe(1);
      await expectJournal(failing, "w1", { 1: [click("u")] });
    });

    test("an hour that waits for it is not retired meanwhile", async () => {
      const held = Promise.withResolvers<void>();
      await failing.close();
      const syncFile = () => held.promise;
      failing = embeddedHotStore({ dataDir: harness.dataDir, now: () => now, syncFile });
      await failing.open();
      await removeAdopted(failing, "w1", 0);
      await bearAndRegister(failing, "w2");
      const committing = failing.commit("w2", 1, batchOf([click("u")]));
      expect(await failing.retire(NOON + HOUR_MS)).toBe(0);
      held.resolve();
      expect(await committing).toEqual(committed());
      await expectCounted(failing, [click("u")]);
    });
  });

  test("a journal that the version before wrote is read", async () => {
    await store.close();
    const folder = newFolder();
    const before = new Database(join(folder, "journal.sqlite"), { create: true, strict: true });
    before.run(`
      CREATE TABLE writers (writer TEXT PRIMARY KEY, accepted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
      CREATE TABLE journal (
        writer TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, duplicates TEXT NOT NULL,
        PRIMARY KEY (writer, seq)
      ) WITHOUT ROWID;
      CREATE TABLE ids (
        stream TEXT NOT NULL, id TEXT NOT NULL, expires_at INTEGER NOT NULL, PRIMARY KEY (stream, id)
      ) WITHOUT ROWID;
      CREATE INDEX ids_by_expiry ON ids (expires_at);
      INSERT INTO writers VALUES ('w1', 12), ('w2', 3);
      INSERT INTO ids VALUES ('${STREAM}', 'id-1', ${NOON + DAY_MS});
    `);
    const insert = before.query("INSERT INTO journal VALUES (?, ?, ?, ?)");
    insert.run("w1", 7, encodeBatch(batchOf([click("a"), click("b"), click("c")])), "1");
    insert.run("w1", 9, encodeBatch(batchOf([click("d")])), "");
    insert.run("w2", 1, encodeBatch(batchOf([click("e")])), "");
    before.close();
    const found = harness.store(folder);
    await found.open();
    await expectJournal(found, "w1", { 7: [click("a"), click("c")], 9: [click("d")] });
    await expectJournal(found, "w2", { 1: [click("e")] });
    const owners = await found.journalOwners();
    expect(owners.map(({ acceptedEvents }) => acceptedEvents)).toEqual([12, 3]);
    for (const [writer, seq] of [
      ["w1", 9],
      ["w2", 1],
    ] as const) {
      await found.trimJournal(writer, seq);
      await removeAdopted(found, writer, seq);
    }
    await bearAndRegister(found, "w3");
    expect(await found.commit("w3", 1, batchOf([click("f", "id-1"), click("g")]))).toEqual(committed(0));
    await expectJournal(found, "w3", { 1: [click("g")] });
  });

  test("journals of several writers are kept apart", async () => {
    await bearAndRegister(store, "w1");
    await store.commit("w1", 1, batchOf([click("a")]));
    await store.commit("w1", 2, batchOf([click("b")]));
    await store.abandon("w1");
    await bearAndRegister(store, "w2");
    await store.commit("w2", 1, batchOf([click("c")]));
    await store.trimJournal("w1", 1);
    await expectJournal(store, "w1", { 2: [click("b")] });
    await expectJournal(store, "w2", { 1: [click("c")] });
    await store.trimJournal("w2", 1);
    const owners = await store.journalOwners();
    expect(owners.map(({ writer, acceptedEvents }) => [writer, acceptedEvents])).toEqual([
      ["w1", 2],
      ["w2", 1],
    ]);
    await removeAdopted(store, "w1", 2);
    await store.commit("w2", 2, batchOf([click("d")]));
    await expectJournal(store, "w2", { 2: [click("d")] });
  });

  test("the journal's files stay small however much goes through them", async () => {
    await bearAndRegister(store, "w1");
    for (let seq = 1; seq <= 60; seq++) {
      await store.commit("w1", seq, batchOf(clicksOf("a", 2_000)));
      await store.trimJournal("w1", seq);
    }
    // 60 batches of some 40 KB each: written once into the log, and then over again.
    const sizes = ["journal.sqlite", "journal.sqlite-wal"].map((file) => {
      return statSync(join(harness.dataDir, file)).size;
    });
    expect(sizes[0]! + sizes[1]!).toBeLessThan(5_000_000);
  });
});

const countsKey = ({ stream, hour }: HourKey) => `hg:{0}:c:${hour}:${stream}`;
const viewersKey = ({ stream, hour }: HourKey) => `hg:{0}:u:${hour}:${stream}`;
const clickersKey = ({ stream, hour }: HourKey) => `hg:{0}:k:${hour}:${stream}`;
const idKey = (id: string, stream = STREAM) => `hg:{0}:id:${stream}:${id}`;
const writerKey = (writer: string) => `hg:{0}:w:${writer}`;
const journalKey = (writer: string) => `hg:{0}:j:${writer}`;
const META_KEY = "hg:{0}:meta";

/** How a client names them to the server: by these a proxy tells commands apart. */
const COMMIT_SHA1 = script("commit", commitSource).sha1;
const VOID_SHA1 = script("void", voidSource).sha1;

type Admin = Awaited<ReturnType<typeof connectAdmin>>;

/** Looks into a server from outside the store; strings come as bytes. */
async function connectAdmin(url: string) {
  const client = createClient({ url });
  // The server is killed under it.
  client.on("error", () => {});
  await client.connect();
  return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
}

function atPort(url: string, port: number): string {
  const moved = new URL(url);
  moved.port = String(port);
  return moved.href;
}

/** The next connection that such a command is sent over is cut, once. */
function cutBeforeArrival(proxy: TcpProxy, sha1: string): void {
  proxy.onUpstream = (chunk, connection) => {
    if (!chunk.includes(sha1)) return true;
    proxy.onUpstream = undefined;
    connection.cut();
    return false;
  };
}

function cutBeforeAnswer(proxy: TcpProxy, sha1: string): void {
  proxy.onUpstream = (chunk) => {
    if (chunk.includes(sha1)) proxy.onDownstream = cutOnce;
    return true;
  };
  const cutOnce: TcpProxy["onDownstream"] = (_, connection) => {
    proxy.onUpstream = undefined;
    proxy.onDownstream = undefined;
    connection.cut();
    return false;
  };
}

const CUTS = { "before it arrives": cutBeforeArrival, "before its answer": cutBeforeAnswer };

describeWithServers("hot store: Redis", ["redis"], () => {
  let server: RedisServer;
  let admin: Admin;

  beforeAll(async () => {
    server = await startRedis();
    admin = await connectAdmin(server.url);
  });

  afterAll(async () => {
    admin?.destroy();
    await server?.stop();
  });

  interface RedisHarness extends Harness {
    /** With other settings than open()'s, and not opened. Closed by end(). */
    store(settings?: Partial<RedisHotStoreOptions>): HotStore;
    openWith(settings: Partial<RedisHotStoreOptions>): Promise<HotStore>;
  }

  function harnessOn(url: string): RedisHarness {
    const stores: HotStore[] = [];
    let last: HotStore | undefined;
    const storeWith = (settings: Partial<RedisHotStoreOptions> = {}) => {
      const store = redisHotStore({ url, leaseMs: LONG_LEASE_MS, commandTimeoutMs: 10_000, ...settings });
      stores.push(store);
      last = store;
      return store;
    };
    const openWith = async (settings: Partial<RedisHotStoreOptions>) => {
      const store = storeWith(settings);
      expect(await store.open()).toEqual([]);
      return store;
    };
    return {
      store: storeWith,
      openWith,
      open: () => openWith({}),
      async unbear() {
        await admin.del(META_KEY);
        return last!;
      },
      async end() {
        await Promise.all(stores.map((store) => store.close()));
      },
    };
  }

  async function openRedis(): Promise<RedisHarness> {
    await admin.flushAll();
    // Else the first of them would be refused, and sent again in full: not what a fault is meant to hit.
    for (const source of [commitSource, voidSource]) await admin.scriptLoad(source);
    return harnessOn(server.url);
  }

  async function sketchAt(key: string): Promise<Sketch> {
    const bytes = await admin.get(key);
    return bytes === null ? new Sketch() : Sketch.decode(bytes as Buffer);
  }

  async function expectUsersAt(key: HourKey, { viewers, clickers }: UserSketches): Promise<void> {
    expectSameRegisters(await sketchAt(viewersKey(key)), viewers);
    expectSameRegisters(await sketchAt(clickersKey(key)), clickers!);
  }

  async function streamIdsOf(writer: string): Promise<string[]> {
    const entries = await admin.xRange(journalKey(writer), "-", "+");
    return (entries ?? []).map((entry) => String(entry?.id));
  }

  hotStoreContract("Redis", openRedis);

  describe("several writers", () => {
    let harness: RedisHarness;
    let a: HotStore;
    let b: HotStore;

    beforeEach(async () => {
      harness = await openRedis();
      [a, b] = [await harness.open(), await harness.open()];
      await bearAndRegister(a, "a");
      await bearAndRegister(b, "b");
    });

    afterEach(async () => {
      await harness.end();
    });

    test("count into the same hours, and see each other's ids", async () => {
      const shared = clicksOf("shared", 100);
      const [mine, theirs] = [clicksOf("a", 100), clicksOf("b", 100)];
      await Promise.all([
        a.commit("a", 1, batchOf([...shared, ...mine])),
        b.commit("b", 1, batchOf([...shared, ...theirs])),
      ]);
      await expectCounted(a, [...shared, ...shared, ...mine, ...theirs]);
      await expectUsersAt(NOON_KEY, usersOf([...shared, ...mine, ...theirs]));
      expect(await a.commit("a", 2, batchOf([click("x", "id-1")]))).toEqual(committed());
      expect(await b.commit("b", 2, batchOf([click("y"), click("x", "id-1")]))).toEqual(committed(1));
    });

    test("an hour waits for all that touched it before it is retired", async () => {
      await a.commit("a", 1, batchOf([click("u")]));
      await b.commit("b", 1, batchOf([click("v")]));
      await a.trimJournal("a", 1);
      expect(await a.retire(NOON + HOUR_MS)).toBe(0);
      await b.trimJournal("b", 1);
      expect(await a.retire(NOON + HOUR_MS)).toBe(1);
      expect(await b.read([NOON_KEY])).toEqual([ABSENT]);
    });

    test("a writer whose lease has run out is adopted, and commits nothing when it wakes", async () => {
      const frozen = await harness.openWith({ leaseMs: SHORT_LEASE_MS });
      await frozen.register("frozen");
      const batch = batchOf([click("u")]);
      await frozen.commit("frozen", 1, batch);
      await frozen.commit("frozen", 2, batch);
      expect(await a.fence("b")).toBe(false);
      const owners = await waitFor("the lease to run out", async () => {
        const adoptable = (await a.journalOwners()).filter((owner) => owner.adoptable);
        return adoptable.length > 0 && adoptable;
      });
      expect(owners).toEqual([{ writer: "frozen", adoptable: true, acceptedEvents: 2 }]);
      expect(await a.fence("frozen")).toBe(true);
      expect(await frozen.commit("frozen", 3, batch)).toEqual({ status: "fenced", lastSeq: 2 });
      expect(await frozen.commit("frozen", 2, batch)).toEqual({ status: "fenced", lastSeq: 2 });
      expect(await frozen.renewLease("frozen", 2)).toBe("lost");
      await expectJournal(a, "frozen", { 1: [click("u")], 2: [click("u")] });
      await a.trimJournal("frozen", 2);
      await a.removeJournal("frozen", 2);
      expect(await frozen.renewLease("frozen", 2)).toBe("lost");
      expect(await frozen.commit("frozen", 3, batch)).toEqual({ status: "fenced", lastSeq: 2 });
      expect(await admin.pTTL(writerKey("frozen"))).toBeGreaterThan(6 * DAY_MS);
      expect(await a.read([NOON_KEY])).toEqual([present(2, 0, 1)]);
    });

    test("a lease that has run out can be prolonged, until somebody adopts", async () => {
      const slow = await harness.openWith({ leaseMs: SHORT_LEASE_MS });
      await slow.register("slow");
      const isAdoptable = async () => (await a.journalOwners()).some(({ adoptable }) => adoptable);
      await waitFor("the lease to run out", isAdoptable);
      const patient = harness.store({ leaseMs: LONG_LEASE_MS });
      await patient.open();
      expect(await patient.renewLease("slow", 0)).toBe("held");
      expect(await isAdoptable()).toBe(false);
      expect(await a.fence("slow")).toBe(false);
    });

    test("a live writer's journal is not removed", async () => {
      await a.commit("a", 1, batchOf([click("u")]));
      await b.removeJournal("a", 1);
      await expectJournal(b, "a", { 1: [click("u")] });
      expect(await a.renewLease("a", 1)).toBe("held");
    });

    test("two that bear and hydrate at once, and their retirements, are each other's", async () => {
      await a.commit("a", 1, batchOf([click("u")]));
      const mark = await b.retirementMark();
      await a.trimJournal("a", 1);
      await a.retire(NOON + HOUR_MS);
      expect(await b.hydrate(NOON_KEY, undefined, mark)).toBe(false);
      expect(await b.commit("b", 1, batchOf([click("v")]))).toEqual({ status: "absent", groups: [0] });
      const cold = { clicks: 1, impressions: 0, users: clickers(["u"]) };
      const fresh = await b.retirementMark();
      const hydrations = await Promise.all([a, b].map((store) => store.hydrate(NOON_KEY, cold, fresh)));
      expect(hydrations).toEqual([true, true]);
      expect(await a.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
    });
  });

  describe("beside the contract", () => {
    let harness: RedisHarness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await openRedis();
      store = await harness.open();
    });

    afterEach(async () => {
      await harness.end();
    });

    test("ids are kept for 24 hours from the commit that brought them, however often they come", async () => {
      await bearAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("u", "id-1")]));
      await admin.pExpire(idKey("id-1"), 1_000_000);
      await store.commit("w1", 2, batchOf([click("u", "id-1"), click("v", "id-2")]));
      expect(await admin.pTTL(idKey("id-1"))).toBeWithin(1, 1_000_001);
      expect(await admin.pTTL(idKey("id-2"))).toBeWithin(DAY_MS - 600_000, DAY_MS + 1);
      await admin.del(idKey("id-2"));
      expect(await store.commit("w1", 3, batchOf([click("v", "id-2")]))).toEqual(committed());
    });

    test("nothing is hydrated before the birth, nor over it", async () => {
      const refused = await rejectionOf(store.retirementMark());
      expect(refused.mayHaveApplied).toBe(false);
      await rejectionOf(store.hydrate(NOON_KEY, undefined, 0));
      await store.bear(NOON + HOUR_MS);
      const staleMark = await store.retirementMark();
      await admin.del(META_KEY);
      await rejectionOf(store.hydrate(NOON_KEY, undefined, staleMark));
      await store.bear(NOON + HOUR_MS);
      expect(await store.hydrate(NOON_KEY, undefined, staleMark)).toBe(false);
    });

    test("a sketch that was hydrated and added to is the union, register by register", async () => {
      await bearAndRegister(store, "w1", NOON + HOUR_MS);
      const old = Array.from({ length: 700 }, (_, i) => `old-${i}`);
      const cold = { clicks: 700, impressions: 0, users: clickers(old) };
      await store.hydrate(NOON_KEY, cold, await store.retirementMark());
      await expectUsersAt(NOON_KEY, clickers(old));
      for (const [i, count] of [1, 10, 400, 9_000].entries()) {
        const events = clicksOf(`new-${i}`, count);
        await store.commit("w1", i + 1, batchOf(events));
        for (const { user } of events) cold.users.add(registerOf(user), true);
        await expectUsersAt(NOON_KEY, cold.users);
      }
      expect(await admin.strLen(clickersKey(NOON_KEY))).toBe(DENSE_SIZE_BYTES);
    });

    test("an hour that an older build began is undivided until it has been retired; nobody is lost", async () => {
      await bearAndRegister(store, "w1");
      const older = [click("a"), impression("a"), impression("b"), click("c")];
      await commitAsOlderBuild("w1", 1, older);
      expect(await store.read([NOON_KEY])).toEqual([readOf(older)]);
      const newer = [click("b"), impression("d"), click("e", "id-1")];
      expect(await store.commit("w1", 2, batchOf(newer))).toEqual(committed());
      const all = usersOf([...older, ...newer]);
      expect(await store.read([NOON_KEY])).toEqual([readOf([...older, ...newer])]);
      const { hours } = await rangeOf(store, oneStream(STREAM));
      expect(hours).toMatchObject([{ uniqueClickers: null, uniqueViewers: null }]);
      await store.trimJournal("w1", 2);
      expect(await store.retireHour(NOON_KEY)).toBe(true);
      expect(await admin.exists([viewersKey(NOON_KEY), clickersKey(NOON_KEY)])).toBe(0);
      await store.hydrate(NOON_KEY, { clicks: 4, impressions: 3, users: all }, await store.retirementMark());
      await expectUsersAt(NOON_KEY, all);
      expect(await rangeOf(store, oneStream(STREAM))).toMatchObject({
        hours: [{ uniqueClickers: all.clickers!.count(), uniqueViewers: all.viewers.count() }],
      });
    });

    /** All users in one sketch, and no word of kinds. */
    async function commitAsOlderBuild(writer: string, seq: number, events: readonly Event[]): Promise<void> {
      const count = (kind: Event["kind"]) => events.filter((event) => event.kind === kind).length;
      await admin.hSet(countsKey(NOON_KEY), {
        c: count("click"),
        i: count("impression"),
        [`w:${writer}`]: seq,
      });
      await admin.pfAdd(
        viewersKey(NOON_KEY),
        events.map(({ user }) => user),
      );
      await admin.zAdd("hg:{0}:hours", { score: NOON, value: hourKeyName(STREAM, NOON) });
      await admin.hSet(writerKey(writer), "last", seq);
    }

    test("says where it is, without the password", async () => {
      await admin.sendCommand(["ACL", "SETUSER", "hourglass", "on", ">open-sesame", "~*", "&*", "+@all"]);
      const url = (password: string) => server.url.replace("//", `//hourglass:${password}@`);
      const right = harness.store({ url: url("open-sesame") });
      expect(await right.open()).toEqual([]);
      expect(right.description).toBe(`redis://127.0.0.1:${server.port}`);
      const wrong = harness.store({ url: url("open-barley") });
      for (const ask of [() => wrong.open(), () => wrong.isBorn()]) {
        const error = await rejectionOf(ask());
        expect(error.mayHaveApplied).toBe(false);
        expect(error.message).toContain("WRONGPASS");
        expect(`${Bun.inspect(error)} ${JSON.stringify(error.cause)}`).not.toContain("barley");
      }
      expect(wrong.isReady).toBe(false);
      expect(wrong.description).not.toContain("barley");
    });

    test("is reached by a socket of this machine, too", async () => {
      const near = harness.store({ url: server.socketUrl });
      expect(await near.open()).toEqual([]);
      expect(near.description).toBe(server.socketUrl);
      await bearAndRegister(near, "w1");
      expect(await near.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      expect(await store.read([NOON_KEY])).toEqual(await near.read([NOON_KEY]));
    });

    test("warns of a Redis that keeps no append-only file, and of one that evicts", async () => {
      const careless = await startRedis({
        args: ["--appendonly", "no", "--maxmemory-policy", "allkeys-lru"],
      });
      try {
        const warnings = await harness.store({ url: careless.url }).open();
        expect(warnings).toHaveLength(2);
        expect(warnings[0]).toContain("Set 'appendonly yes'");
        expect(warnings[1]).toContain("'allkeys-lru'. Set 'maxmemory-policy noeviction'");
      } finally {
        await careless.stop();
      }
    });

    test("scripts that the server has forgotten are sent again", async () => {
      await bearAndRegister(store, "w1");
      await admin.scriptFlush();
      expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      await admin.scriptFlush();
      expect(await store.read([NOON_KEY])).toEqual([present(1, 0, 1)]);
      await admin.scriptFlush();
      for (const seq of [2, 3]) {
        expect(await store.commit("w1", seq, batchOf([click("u", `id-${seq}`)]))).toEqual(committed());
      }
      expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 1)]);
    });

    test("a Redis that is full refuses, having changed nothing, and goes on when there is room", async () => {
      await bearAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a", "id-1"), click("b")]));
      await admin.configSet("maxmemory", "1");
      try {
        const batch = batchOf([click("c", "id-2"), click("d")]);
        const plain = clicksOf("plain", 50, NOON, "site-2");
        const error = await rejectionOf(store.commit("w1", 2, batch));
        expect(error.message).toContain("OOM");
        expect(error.mayHaveApplied).toBe(false);
        expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
        expect(await admin.exists(idKey("id-2"))).toBe(0);
        await rejectionOf(store.commit("w1", 2, batchOf(plain)));
        // What makes room is not refused.
        await store.trimJournal("w1", 1);
        expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
        expect(await store.retire(NOON + HOUR_MS)).toBe(1);
        await admin.configSet("maxmemory", "0");
        await store.hydrate(NOON_KEY, undefined, await store.retirementMark());
        await store.hydrate({ stream: "site-2", hour: NOON }, undefined, await store.retirementMark());
        expect(await store.commit("w1", 2, batch)).toEqual(committed());
        expect(await store.commit("w1", 3, batchOf(plain))).toEqual(committed());
        await expectCounted(store, [...eventsOf(batch), ...plain]);
      } finally {
        await admin.configSet("maxmemory", "0");
      }
    });

    test("a day of the default stream, both sketches dense, takes at most a megabyte", async () => {
      await bearAndRegister(store, "w1", NOON + DAY_MS);
      const stream = "default";
      const million = sketchOfUsers(1_000_000);
      const hours = Array.from({ length: 24 }, (_, i) => NOON + i * HOUR_MS);
      for (const hour of hours) {
        const users = new UserSketches(million, million);
        const cold = { clicks: 1_000_000, impressions: 10_000_000, users };
        await store.hydrate({ stream, hour }, cold, await store.retirementMark());
      }
      // Some users more, so that it is Redis' own encoding of a sketch that is measured, not ours.
      for (const [i, hour] of hours.entries()) {
        const more = clicksOf("more", 2_000, hour, stream);
        const events = [...more, ...more.map(({ user }) => impression(user, undefined, hour, stream))];
        expect(await store.commit("w1", i + 1, batchOf(events))).toEqual(committed());
      }
      const reads = await store.read(hours.map((hour) => ({ stream, hour })));
      expect(reads).toEqual(Array(24).fill(reads === "unborn" ? reads : reads[0]));
      for (const keyOf of [viewersKey, clickersKey]) {
        const lengths = await Promise.all(hours.map((hour) => admin.strLen(keyOf({ stream, hour }))));
        expect(lengths).toEqual(Array(24).fill(DENSE_SIZE_BYTES));
      }
      const takenBytes = await memoryUsageBytes();
      console.log(`24 hours of 1 M users each, dense: ${takenBytes} bytes of Redis, journal apart`);
      expect(takenBytes).toBeLessThanOrEqual(1_048_576);
    });

    function sketchOfUsers(count: number): Sketch {
      const sketch = new Sketch();
      for (let i = 0; i < count; i++) sketch.add(registerOf(`user-${i}`));
      return sketch;
    }

    async function memoryUsageBytes(): Promise<number> {
      let sumBytes = 0;
      for (const key of (await admin.keys("hg:*")).map(String)) {
        if (key.startsWith(journalKey(""))) continue;
        sumBytes += Number(await admin.sendCommand(["MEMORY", "USAGE", key, "SAMPLES", "0"]));
      }
      return sumBytes;
    }
  });

  describe("void of a batch that was applied", () => {
    let harness: RedisHarness;
    let store: HotStore;

    beforeEach(async () => {
      harness = await openRedis();
      store = await harness.open();
      await bearAndRegister(store, "w1");
      await bearAndRegister(store, "w2");
    });

    afterEach(async () => {
      await harness.end();
    });

    const before = [click("before", "id-0"), impression("before")];

    test("takes back its counts, ids and journal entry; the next batch follows", async () => {
      await store.commit("w1", 1, batchOf(before));
      const events = [
        click("a", "id-1"),
        impression("b", "id-2", NOON + HOUR_MS),
        impression("c"),
        click("d", undefined, NOON, "site-2"),
        ...USERS_OF_ANY_BYTES.map((user) => impression(user, user)),
      ];
      await store.commit("w1", 2, batchOf(events));
      const result = await store.voidBatch("w1", 2);
      expect(result).toEqual({ status: "reverted", duplicates: [...events.keys()] });
      const keys = [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }, { stream: "site-2", hour: NOON }];
      const counts = (await readHours(store, keys)).map(({ clicks, impressions }) => [clicks, impressions]);
      expect(counts).toEqual([
        [1, 1],
        [0, 0],
        [0, 0],
      ]);
      await expectJournal(store, "w1", { 1: before });
      expect(await store.commit("w1", 2, batchOf(events))).toEqual(committed());
      expect(await store.commit("w2", 1, batchOf(events))).toEqual(committed());
      expect(await store.commit("w1", 3, batchOf([click("z", "id-0")]))).toEqual(committed(0));
      await expectJournal(store, "w2", {
        1: eventsOf(batchOf(events)).map(({ register: _, ...event }) => event),
      });
      expect((await readHours(store, keys))[1]).toEqual({ clicks: 0, impressions: 1, uniqueUsers: 1 });
    });

    test("takes no user away from another's events, of either kind", async () => {
      const shared = [click("both"), impression("both"), impression("seen"), click("clicked")];
      await store.commit("w2", 1, batchOf(shared));
      await store.commit("w1", 1, batchOf([...shared, click("seen"), impression("clicked")]));
      expect((await store.voidBatch("w1", 1)).status).toBe("reverted");
      const [hour] = await readHours(store, [NOON_KEY]);
      expect(hour).toEqual({ clicks: 2, impressions: 2, uniqueUsers: 3 });
      // Sketches cannot forget: who saw is still among the clickers, as the batch said.
      await expectUsersAt(NOON_KEY, usersOf([...shared, click("seen"), impression("clicked")]));
      await store.trimJournal("w1", 1);
      await store.trimJournal("w2", 1);
      expect(await store.retire(NOON + HOUR_MS)).toBe(1);
      const cold = { clicks: 2, impressions: 2, users: usersOf(shared) };
      await store.hydrate(NOON_KEY, cold, await store.retirementMark());
      await expectUsersAt(NOON_KEY, usersOf(shared));
    });

    async function readHours(from: HotStore, keys: readonly HourKey[]) {
      const reads = await from.read(keys);
      if (reads === "unborn") throw new Error("the data set is not born");
      return reads.map((read) => {
        if (read.status !== "present") throw new Error(`an hour is ${read.status}`);
        return read.counts;
      });
    }

    test("leaves alone what had been duplicates of others", async () => {
      await store.commit("w1", 1, batchOf(before));
      await store.commit("w1", 2, batchOf([click("x", "id-0"), impression("b", "id-1")]));
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "reverted", duplicates: [0, 1] });
      expect(await store.commit("w2", 1, batchOf([click("x", "id-0"), click("y", "id-1")]))).toEqual(
        committed(0),
      );
      const [hour] = await readHours(store, [NOON_KEY]);
      expect([hour!.clicks, hour!.impressions]).toEqual([2, 1]);
    });

    test("an id that came twice in the batch itself is taken back too: nobody was told of it", async () => {
      await store.commit("w1", 1, batchOf([click("a", "id-1"), click("b", "id-1"), impression("c")]));
      expect(await store.voidBatch("w1", 1)).toEqual({ status: "reverted", duplicates: [0, 1, 2] });
      expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
      expect(await store.commit("w2", 1, batchOf([click("d", "id-1")]))).toEqual(committed());
      const [hour] = await readHours(store, [NOON_KEY]);
      expect([hour!.clicks, hour!.impressions]).toEqual([1, 0]);
    });

    const kept = impression("b", "id-2", NOON + HOUR_MS);
    const events = [click("a", "id-1"), click("c"), kept, click("d", "id-3", NOON + HOUR_MS)];

    /** Ordinal 2 of w1's batch 2 comes again through w2, which is told that it counts. */
    async function commitAndMeetAgain(): Promise<void> {
      await store.commit("w1", 1, batchOf(before));
      expect(await store.commit("w1", 2, batchOf(events))).toEqual(committed());
      expect(await store.commit("w2", 1, batchOf([click("x", "id-2"), click("y")]))).toEqual(committed(0));
    }

    async function expectOnlyMetAgain(): Promise<void> {
      await expectJournal(store, "w1", { 1: before, 2: [kept] });
      await expectJournal(store, "w2", { 1: [click("y")] });
      const [noon, later] = await readHours(store, [NOON_KEY, { stream: STREAM, hour: NOON + HOUR_MS }]);
      expect([noon!.clicks, noon!.impressions]).toEqual([2, 1]);
      expect([later!.clicks, later!.impressions]).toEqual([0, 1]);
    }

    test("an event whose id came again meanwhile is kept, and is in the journal", async () => {
      await commitAndMeetAgain();
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "reverted", duplicates: [0, 1, 3] });
      await expectOnlyMetAgain();
      expect(await streamIdsOf("w1")).toEqual(["1-0", "2-1"]);
      expect((await store.readJournal("w1", 1, ALL)).map(({ seq }) => seq)).toEqual([2]);
      expect(await store.readJournal("w1", 2, ALL)).toEqual([]);
      expect(await store.commit("w2", 2, batchOf([click("e", "id-2"), click("f", "id-1")]))).toEqual(
        committed(0),
      );
      expect(await store.commit("w1", 3, batchOf([click("g", "id-3")]))).toEqual(committed());
      await store.trimJournal("w1", 2);
      await expectJournal(store, "w1", { 3: [click("g", "id-3")] });
    });

    test("a batch of which every event came again meanwhile is kept whole", async () => {
      const batch = batchOf([click("a", "all-1"), click("b", "all-2")]);
      const before = await store.read([NOON_KEY]);
      expect(await store.commit("w1", 1, batch)).toEqual(committed());
      const counted = await store.read([NOON_KEY]);
      expect(counted).not.toEqual(before);
      expect(await store.commit("w2", 1, batch)).toEqual(committed(0, 1));
      expect(await store.voidBatch("w1", 1)).toEqual({ status: "reverted", duplicates: [] });
      expect(await store.read([NOON_KEY])).toEqual(counted);
      await expectJournal(store, "w1", { 1: [click("a", "all-1"), click("b", "all-2")] });
    });

    test("asked for again, since the answer was lost, it answers what was kept as before", async () => {
      await commitAndMeetAgain();
      const first = await store.voidBatch("w1", 2);
      expect(await store.voidBatch("w1", 2)).toEqual(first);
      await expectOnlyMetAgain();
      await store.commit("w2", 2, batchOf([click("x", "id-2"), click("x", "id-1")]));
      expect(await store.voidBatch("w1", 2)).toEqual(first);
      await expectJournal(store, "w1", { 1: before, 2: [kept] });
    });

    test("asked for again when nothing was kept, it takes nothing more", async () => {
      await store.commit("w1", 1, batchOf(before));
      await store.commit("w1", 2, batchOf([click("a", "id-1"), click("b")]));
      await store.voidBatch("w1", 2);
      await store.commit("w2", 1, batchOf([click("c", "id-1")]));
      const again = await store.voidBatch("w1", 2);
      if (again.status !== "voided") expect(again).toEqual({ status: "reverted", duplicates: [0, 1] });
      await expectJournal(store, "w1", { 1: before });
      const [hour] = await readHours(store, [NOON_KEY]);
      expect([hour!.clicks, hour!.impressions]).toEqual([2, 1]);
      expect(await store.commit("w2", 2, batchOf([click("c", "id-1")]))).toEqual(committed(0));
    });

    test("is refused once the writer is fenced: its adopter has the batch", async () => {
      await commitAndMeetAgain();
      await store.abandon("w1");
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "fenced", lastSeq: 2 });
      expect(await store.voidBatch("w1", 3)).toEqual({ status: "fenced", lastSeq: 2 });
      const ordered = eventsOf(batchOf(events)).map(({ register: _, ...event }) => event);
      await expectJournal(store, "w1", { 1: before, 2: ordered });
    });

    test("is done whole or not at all on a Redis that is full", async () => {
      await store.commit("w1", 1, batchOf(before));
      const batches = [[click("a", "id-1"), click("b")], [click("c")]].map(batchOf);
      for (const [i, batch] of batches.entries()) {
        const seq = i + 2;
        await store.commit("w1", seq, batch);
        const present = await store.read([NOON_KEY]);
        await admin.configSet("maxmemory", "1");
        const refusal = await store.voidBatch("w1", seq).then(
          () => undefined,
          (error: unknown) => error as HotUnavailableError,
        );
        await admin.configSet("maxmemory", "0");
        if (refusal !== undefined) {
          expect(refusal.message).toContain("OOM");
          expect(refusal.mayHaveApplied).toBe(false);
          expect(await store.read([NOON_KEY])).toEqual(present);
        }
        await store.voidBatch("w1", seq);
        const [hour] = await readHours(store, [NOON_KEY]);
        expect([hour!.clicks, hour!.impressions]).toEqual([1, 1]);
      }
      await expectJournal(store, "w1", { 1: before });
      expect(await store.commit("w2", 1, batchOf([click("c", "id-1")]))).toEqual(committed());
    });
  });

  describe("lost batches", () => {
    let harness: RedisHarness;
    let store: HotStore;
    let proxy: TcpProxy;

    beforeEach(async () => {
      harness = await openRedis();
      proxy = await startProxy(server.port);
      store = await harness.openWith({ url: atPort(server.url, proxy.port) });
      await bearAndRegister(store, "w1");
      for (let seq = 1; seq <= 3; seq++) await store.commit("w1", seq, batchOf([click(`u-${seq}`)]));
    });

    afterEach(async () => {
      await harness.end();
      await proxy.close();
    });

    /** Nothing is answered from it or written to it until its journals are flushed and it is born again. */
    async function expectUnborn(): Promise<void> {
      expect(await store.isBorn()).toBe(false);
      expect(await store.read([NOON_KEY])).toBe("unborn");
      expect(await store.register("w9")).toBe(false);
      for (const { writer } of await store.journalOwners()) await removeAdopted(store, writer);
      await bearAndRegister(store, "w9", NOON + HOUR_MS);
      expect(await store.read([NOON_KEY])).toEqual([ABSENT]);
    }

    const lose = (seqs: number) => admin.hIncrBy(writerKey("w1"), "last", -seqs);

    test("are noticed by the next commit", async () => {
      await lose(1);
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "unborn" });
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "unborn" });
      expect(await store.renewLease("w1", 3)).toBe("lost");
      await expectUnborn();
    });

    test("are noticed when the lease is renewed", async () => {
      expect(await store.renewLease("w1", 3)).toBe("held");
      await lose(1);
      expect(await store.renewLease("w1", 2)).toBe("held");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.commit("w1", 3, batchOf([click("v")]))).toEqual({ status: "unborn" });
      await expectUnborn();
    });

    test("are noticed by a void", async () => {
      await lose(1);
      expect(await store.voidBatch("w1", 4)).toEqual({ status: "unknown" });
      await expectUnborn();
    });

    test("are noticed on a new connection, before anything is read over it", async () => {
      await lose(1);
      expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 3)]);
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("unborn");
      await expectUnborn();
    });

    test("a connection that is merely cut makes nothing of it", async () => {
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toEqual([present(3, 0, 3)]);
      expect(await store.renewLease("w1", 3)).toBe("held");
      expect(await store.commit("w1", 4, batchOf([click("u-4")]))).toEqual(committed());
    });

    test("are noticed by the writer that sent them although it was fenced meanwhile", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      await expectUnborn();
    });

    test("are noticed by a commit of a writer that was fenced meanwhile", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "fenced", lastSeq: 2 });
      await expectUnborn();
    });

    test("are noticed by a void of a writer that was fenced meanwhile", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.voidBatch("w1", 4)).toEqual({ status: "fenced", lastSeq: 2 });
      await expectUnborn();
    });

    test("a writer that is fenced and lost nothing makes nothing of it", async () => {
      await store.abandon("w1");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "fenced", lastSeq: 3 });
      expect(await store.voidBatch("w1", 4)).toEqual({ status: "fenced", lastSeq: 3 });
      await removeAdopted(store, "w1", 3);
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect(await store.commit("w1", 4, batchOf([click("v")]))).toEqual({ status: "fenced", lastSeq: 3 });
      expect(await store.isBorn()).toBe(true);
    });

    /** What is left if the server comes back as it was before the writer came: born, and with hours. */
    const forgetWriter = () => Promise.all([admin.del(writerKey("w1")), admin.sRem("hg:{0}:writers", "w1")]);

    test("with the writer itself: noticed by a commit, a void, a renewal", async () => {
      const calls: (() => Promise<unknown>)[] = [
        () => store.commit("w1", 4, batchOf([click("v")])),
        () => store.voidBatch("w1", 4),
        () => store.renewLease("w1", 3),
      ];
      for (const call of calls) {
        await admin.flushAll();
        await bearAndRegister(store, "w1");
        await store.commit("w1", 1, batchOf([click("u")]));
        await forgetWriter();
        await call();
        await expectUnborn();
      }
    });

    test("with the writer itself: noticed on a new connection, before anything is read", async () => {
      await forgetWriter();
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("unborn");
      await expectUnborn();
    });

    test("with a writer that had committed nothing: noticed on a new connection", async () => {
      await store.abandon("w1");
      await removeAdopted(store, "w1", 3);
      await store.register("w2");
      await Promise.all([admin.del(writerKey("w2")), admin.sRem("hg:{0}:writers", "w2")]);
      await reconnect(store, proxy);
      expect(await firstAnswer(store)).toBe("unborn");
      await expectUnborn();
    });

    test("that the cold store has are noticed when the journal is removed", async () => {
      await lose(1);
      await store.abandon("w1");
      expect(await store.fence("w1")).toBe(true);
      await store.removeJournal("w1", 3);
      expect(await store.journalOwners()).toEqual([]);
      await expectUnborn();
    });

    test("everything lost: nothing is known, nothing is empty", async () => {
      await admin.flushAll();
      expect(await store.read([NOON_KEY])).toBe("unborn");
      expect(await store.renewLease("w1", 3)).toBe("lost");
      expect((await store.commit("w1", 4, batchOf([click("v")]))).status).toMatch(/^(unborn|unknown)$/);
      expect(await store.voidBatch("w1", 4)).toEqual({ status: "unknown" });
      expect(await store.abandon("w1")).toBe(0);
      await expectUnborn();
    });

    test("once the data set is born again its hours hold what comes then, whole", async () => {
      await lose(1);
      expect(await store.commit("w1", 4, batchOf([click("u-1")]))).toEqual({ status: "unborn" });
      await removeAdopted(store, "w1", 3);
      await bearAndRegister(store, "w2");
      // Users of the lost hour: were they taken for known, they would be missing now.
      const again = [1, 2, 3].map((i) => click(`u-${i}`));
      expect(await store.commit("w2", 1, batchOf(again))).toEqual(committed());
      await expectCounted(store, again);
    });
  });

  /** Cut, and allowed to connect again only once that was noticed. */
  async function reconnect(which: HotStore, proxy: TcpProxy): Promise<void> {
    proxy.refuse();
    proxy.cutAll();
    await waitFor("the cut to be noticed", () => !which.isReady);
    await proxy.accept();
  }

  async function firstAnswer(from: HotStore): Promise<readonly HourRead[] | "unborn"> {
    const { read } = await waitFor("an answer", async () => ({ read: await from.read([NOON_KEY]) }));
    return read;
  }

  /** A server of their own, as the fsync of every batch makes its files the same as its memory. */
  describe("restarts", () => {
    let durable: RedisServer;
    let harness: RedisHarness;
    let store: HotStore;
    let snapshot: string;

    beforeEach(async () => {
      durable = await startRedis({ args: ["--appendfsync", "always"] });
      harness = harnessOn(durable.url);
      store = await harness.open();
      snapshot = mkdtempSync(join(tmpdir(), "hourglass-snapshot-"));
    });

    afterEach(async () => {
      await harness.end();
      await durable.stop();
      rmSync(snapshot, { recursive: true, force: true });
    });

    const takeSnapshot = () => cpSync(durable.dataDir, snapshot, { recursive: true });

    /** As a replica that lags behind, or a disk that had not got everything. */
    async function comeBackAsAtSnapshot(): Promise<void> {
      await durable.kill();
      rmSync(durable.dataDir, { recursive: true });
      cpSync(snapshot, durable.dataDir, { recursive: true });
      await durable.start();
    }

    test("a Redis that is killed and started again has everything; the store finds it by itself", async () => {
      await bearAndRegister(store, "w1", NOON);
      const events = [...mixedEvents("a", 100), click("x", "id-1")];
      const ordered = eventsOf(batchOf(events)).map(({ register: _, ...event }) => event);
      await store.commit("w1", 1, batchOf(events));
      expect(await store.voidBatch("w1", 2)).toEqual({ status: "voided" });
      await durable.kill();
      await waitFor("the end of the connection", () => !store.isReady);
      const error = await rejectionOf(store.commit("w1", 3, batchOf([click("y")])));
      expect(error.mayHaveApplied).toBe(false);
      expect(error.message).toContain("not connected, last error:");
      await durable.start();
      await waitFor("the connection", () => store.isReady);
      await expectCounted(store, events);
      await expectJournal(store, "w1", { 1: ordered });
      const keys = [{ stream: STREAM, hour: NOON - HOUR_MS }];
      expect(await store.read(keys)).toEqual([ABSENT]);
      expect(await store.renewLease("w1", 1)).toBe("held");
      expect(await store.commit("w1", 1, batchOf(events))).toEqual(committed());
      expect(await store.commit("w1", 3, batchOf([click("x", "id-1"), click("y")]))).toEqual(committed(0));
      await expectCounted(store, [...events, click("y")]);
    });

    test("a Redis that comes back without acknowledged batches answers nothing that is stale", async () => {
      await bearAndRegister(store, "w1");
      const other = await harness.open();
      await other.register("w2");
      await store.commit("w1", 1, batchOf([click("a")]));
      await other.commit("w2", 1, batchOf([click("b")]));
      takeSnapshot();
      await store.commit("w1", 2, batchOf([click("c")]));
      await comeBackAsAtSnapshot();
      expect(await firstAnswer(store)).toBe("unborn");
      expect(await store.renewLease("w1", 2)).toBe("lost");
      expect(await store.commit("w1", 3, batchOf([click("d")]))).toEqual({ status: "unborn" });
      expect(await waitFor("the other's", () => other.renewLease("w2", 1))).toBe("lost");
      await expectJournal(store, "w1", { 1: [click("a")] });
      await removeAdopted(store, "w1", 1);
      expect(await store.bear(NOON + HOUR_MS)).toBe(false);
      await removeAdopted(store, "w2", 1);
      await bearAndRegister(store, "w3", NOON + HOUR_MS);
      expect(await other.read([NOON_KEY])).toEqual([ABSENT]);
    });

    test("so does one that comes back as it was before the writer came", async () => {
      await bearAndRegister(store, "w1");
      await store.commit("w1", 1, batchOf([click("a")]));
      takeSnapshot();
      const young = await harness.open();
      await young.register("w2");
      await young.commit("w2", 1, batchOf([click("b")]));
      await store.close();
      await comeBackAsAtSnapshot();
      expect(await firstAnswer(young)).toBe("unborn");
    });

    test("a Redis that is away: each call fails at once, as long as it lasts", async () => {
      await bearAndRegister(store, "w1");
      await durable.kill();
      await waitFor("the end of the connection", () => !store.isReady);
      const startMs = performance.now();
      for (let round = 0; round < 50; round++) {
        for (const call of everyCall(store, 1))
          expect((await rejectionOf(call())).mayHaveApplied).toBe(false);
      }
      expect(performance.now() - startMs).toBeLessThan(5_000);
      const error = await rejectionOf(harness.store().open());
      expect(error.message).toContain("ECONNREFUSED");
    });
  });

  function everyCall(of: HotStore, seq: number): (() => Promise<unknown>)[] {
    return [
      () => of.commit("w1", seq, batchOf([click("u")])),
      () => of.voidBatch("w1", seq),
      () => of.read([NOON_KEY]),
      () => of.isBorn(),
      () => of.bear(NOON),
      () => of.register("w9"),
      () => of.renewLease("w1", seq - 1),
      () => of.abandon("w8"),
      () => of.retirementMark(),
      () => of.hydrate(NOON_KEY, undefined, 0),
      () => of.retire(0),
      () => of.readJournal("w1", 0, 10),
      () => of.trimJournal("w1", 0),
      () => of.journalOwners(),
      () => of.fence("w8"),
      () => of.removeJournal("w8", 0),
    ];
  }

  describe("users that an hour's sketch is known to hold", () => {
    let harness: RedisHarness;
    let writers: MirrorWriter[];

    interface MirrorWriter {
      readonly store: HotStore;
      readonly proxy: TcpProxy;
      name: string;
      seq: number;
    }

    beforeEach(async () => {
      harness = await openRedis();
      writers = [];
      for (let i = 0; i < 2; i++) {
        const proxy = await startProxy(server.port);
        const store = await harness.openWith({ url: atPort(server.url, proxy.port) });
        writers.push({ store, proxy, name: `w${i}`, seq: 0 });
      }
    });

    afterEach(async () => {
      await harness.end();
      for (const { proxy } of writers) await proxy.close();
    });

    test("are not sent again over the same connection", async () => {
      const { store, proxy } = writers[0]!;
      await bearAndRegister(store, "w1");
      const argumentCounts: number[] = [];
      proxy.onUpstream = (chunk) => {
        if (chunk.includes(COMMIT_SHA1))
          argumentCounts.push(Number(/^\*(\d+)\r/.exec(chunk.toString())?.[1]));
        return true;
      };
      const events = clicksOf("u", 500);
      await store.commit("w1", 1, batchOf(events));
      await store.commit("w1", 2, batchOf(events));
      await reconnect(store, proxy);
      await waitFor("the connection", () => store.isReady);
      await store.commit("w1", 3, batchOf(events));
      const [first, second, third] = argumentCounts as [number, number, number];
      expect(first - second).toBeGreaterThan(450);
      expect(third).toBe(first);
      await expectCounted(store, [...events, ...events, ...events]);
    });

    test("are sent again once they were taken back", async () => {
      const { store } = writers[0]!;
      await bearAndRegister(store, "w1");
      const events = clicksOf("u", 300);
      await store.commit("w1", 1, batchOf(events));
      expect((await store.voidBatch("w1", 1)).status).toBe("reverted");
      await store.trimJournal("w1", 1);
      expect(await store.retire(NOON + HOUR_MS)).toBe(1);
      await store.hydrate(NOON_KEY, undefined, await store.retirementMark());
      await store.commit("w1", 2, batchOf(events));
      await expectCounted(store, events);
    });

    test("are sent again by a writer that took no part in a loss, and is replaced", async () => {
      const [{ store }, { store: other }] = writers as [MirrorWriter, MirrorWriter];
      await bearAndRegister(store, "w1");
      const events = clicksOf("u", 300);
      await store.commit("w1", 1, batchOf(events));
      await admin.del(META_KEY);
      await removeAdopted(other, "w1", 1);
      await bearAndRegister(other, "w2");
      expect(await store.register("w3")).toBe(true);
      await store.commit("w3", 1, batchOf(events));
      await expectCounted(store, events);
    });

    const POOL = 3_000;
    const HOURS = [NOON, NOON + HOUR_MS];

    interface MirrorHour {
      readonly key: HourKey;
      clicks: number;
      impressions: number;
      /** Of all events that count, as the cold store would have it. */
      readonly flushed: UserSketches;
      /** What is in Redis: with the users of events that were taken back. */
      held: UserSketches;
    }

    /** `users`: which of the pool, as a range. `fault`: what happens to the commit on its way. */
    const someUsers = fc.record({
      hour: fc.nat(HOURS.length - 1),
      from: fc.nat(11).map((n) => (n * POOL) / 12),
      count: fc.integer({ min: 1, max: 400 }),
      /** 1: all of them. */
      clickEvery: fc.constantFrom(1, 2, 7, 1_000),
      withIds: fc.boolean(),
    });
    const someStep = fc.record({
      writer: fc.nat(1),
      what: fc.constantFrom(
        "commit",
        "commit",
        "commit",
        "void",
        "burn",
        "reconnect",
        "rehydrate",
        "replace",
      ),
      fault: fc.constantFrom(undefined, undefined, undefined, cutBeforeArrival, cutBeforeAnswer),
      users: someUsers,
    });
    type Step = typeof someStep extends fc.Arbitrary<infer T> ? T : never;

    test("stay in it, and none is missing: it is that of all users, whatever happens", async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(someStep, { minLength: 4, maxLength: 20 }), async (steps) => {
          await admin.flushAll();
          const hours = HOURS.map((hour): MirrorHour => {
            const key = { stream: STREAM, hour };
            return { key, clicks: 0, impressions: 0, flushed: new UserSketches(), held: new UserSketches() };
          });
          for (const [i, writer] of writers.entries()) {
            Object.assign(writer, { name: `w${i}`, seq: 0 });
            await bearAndRegister(writer.store, writer.name);
          }
          for (const step of steps) {
            await takeStep(step, hours);
            for (const { key, held } of hours) await expectUsersAt(key, held);
          }
          await expectHeldEvents(hours);
        }),
        { numRuns: 30 },
      );
    });

    async function takeStep({ writer: index, what, fault, users }: Step, hours: MirrorHour[]): Promise<void> {
      const writer = writers[index]!;
      const hour = hours[users.hour]!;
      if (what === "rehydrate") return rehydrate(hours);
      if (what === "reconnect") return reconnectAndWait(writer);
      if (what === "replace") return replace(writer);
      writer.seq += 1;
      if (what === "burn") return void (await writer.store.voidBatch(writer.name, writer.seq));
      const events = eventsOfUsers(writer, users, hour.key.hour);
      await commitUntilAnswered(writer, events, fault);
      for (const { user, kind } of events) hour.held.add(registerOf(user), kind === "click");
      if (what === "void") return void (await writer.store.voidBatch(writer.name, writer.seq));
      for (const { user, kind } of events) hour.flushed.add(registerOf(user), kind === "click");
      const clickCount = events.filter(({ kind }) => kind === "click").length;
      hour.clicks += clickCount;
      hour.impressions += events.length - clickCount;
    }

    function eventsOfUsers(writer: MirrorWriter, users: Step["users"], at: number): Event[] {
      return Array.from({ length: users.count }, (_, i) => {
        const id = users.withIds && i % 3 === 0 ? `${writer.name} ${writer.seq} ${i}` : undefined;
        const event = i % users.clickEvery === 0 ? click : impression;
        return event(`user-${(users.from + i) % POOL}`, id, at);
      });
    }

    async function commitUntilAnswered(
      { store, proxy, name, seq }: MirrorWriter,
      events: readonly Event[],
      fault: Step["fault"],
    ): Promise<void> {
      const batch = batchOf(events);
      if (fault !== undefined) {
        fault(proxy, COMMIT_SHA1);
        await rejectionOf(store.commit(name, seq, batch));
        await waitFor("the connection", () => store.isReady);
      }
      expect(await store.commit(name, seq, batch)).toEqual(committed());
    }

    async function reconnectAndWait({ store, proxy }: MirrorWriter): Promise<void> {
      await reconnect(store, proxy);
      await waitFor("the connection", () => store.isReady);
    }

    async function replace(writer: MirrorWriter): Promise<void> {
      const { store, name, seq } = writer;
      await store.abandon(name);
      await store.trimJournal(name, seq);
      await removeAdopted(store, name, seq);
      Object.assign(writer, { name: `${name}'`, seq: 0 });
      expect(await store.register(writer.name)).toBe(true);
    }

    /** Everything is flushed and retired, and comes back from the cold store. */
    async function rehydrate(hours: MirrorHour[]): Promise<void> {
      for (const { store, name, seq } of writers) await store.trimJournal(name, seq);
      const { store } = writers[0]!;
      await retireAll(store, NOON + DAY_MS);
      for (const hour of hours) {
        const cold = { clicks: hour.clicks, impressions: hour.impressions, users: hour.flushed };
        expect(await store.hydrate(hour.key, cold, await store.retirementMark())).toBe(true);
        hour.held = new UserSketches();
        hour.held.merge(hour.flushed);
      }
    }

    async function expectHeldEvents(hours: readonly MirrorHour[]): Promise<void> {
      const reads = await writers[0]!.store.read(hours.map(({ key }) => key));
      if (reads === "unborn") throw new Error("the data set is not born");
      const none = { clicks: 0, impressions: 0, uniqueUsers: 0 };
      const found = reads.map((read) => (read.status === "present" ? read.counts : none));
      const expected = hours.map(({ clicks, impressions, held }) => {
        return { clicks, impressions, uniqueUsers: held.count() };
      });
      expect(found).toEqual(expected);
    }
  });

  describe("faults on the way", () => {
    let harness: RedisHarness;
    let store: HotStore;
    let proxy: TcpProxy;
    const batch = batchOf([click("u", "id-1"), click("v")]);

    beforeEach(async () => {
      harness = await openRedis();
      proxy = await startProxy(server.port);
      store = await openThroughProxy();
      await bearAndRegister(store, "w1");
    });

    afterEach(async () => {
      proxy.onUpstream = undefined;
      proxy.onDownstream = undefined;
      await harness.end();
      await proxy.close();
    });

    const openThroughProxy = (settings: Partial<RedisHotStoreOptions> = {}) =>
      harness.openWith({ url: atPort(server.url, proxy.port), ...settings });

    const untilReady = (which = store) => waitFor("the connection", () => which.isReady);

    for (const [when, cutAt] of Object.entries(CUTS)) {
      const cut = (sha1: string) => cutAt(proxy, sha1);

      test(`a connection that is cut with a commit on it, ${when}: in doubt, then applied once`, async () => {
        cut(COMMIT_SHA1);
        const error = await rejectionOf(store.commit("w1", 1, batch));
        expect(error.mayHaveApplied).toBe(true);
        expect(error.message).toContain("Redis could not do 'commit'");
        await untilReady();
        expect(await store.commit("w1", 1, batch)).toEqual(committed());
        expect(await store.commit("w1", 2, batch)).toEqual(committed(0));
        expect(await store.read([NOON_KEY])).toEqual([present(3, 0, 2)]);
      });

      test(`a connection that is cut with a commit on it, ${when}: in doubt, then never applied`, async () => {
        cut(COMMIT_SHA1);
        await rejectionOf(store.commit("w1", 1, batch));
        await untilReady();
        const status = cutAt === cutBeforeAnswer ? "reverted" : "voided";
        expect((await store.voidBatch("w1", 1)).status).toBe(status);
        expect(await store.readJournal("w1", 0, ALL)).toEqual([]);
        expect(await store.commit("w1", 2, batch)).toEqual(committed());
        expect((await admin.hmGet(countsKey(NOON_KEY), ["c", "i"])).map(String)).toEqual(["2", "null"]);
      });

      test(`a connection that is cut with a void on it, ${when}: the same answer later`, async () => {
        await store.commit("w1", 1, batch);
        const other = await harness.open();
        await other.register("w2");
        expect(await other.commit("w2", 1, batch)).toEqual(committed(0));
        cut(VOID_SHA1);
        expect((await rejectionOf(store.voidBatch("w1", 1))).mayHaveApplied).toBe(true);
        await untilReady();
        expect(await store.voidBatch("w1", 1)).toEqual({ status: "reverted", duplicates: [1] });
        await expectJournal(store, "w1", { 1: [click("u", "id-1")] });
        expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
      });
    }

    test("an answer to something else is no acknowledgement, and ends the connection", async () => {
      let injected = 0;
      // From here on the server queues what it is sent, and every answer is one command late.
      proxy.onUpstream = (chunk, { server }) => {
        if (chunk.includes("id-1") && ++injected === 1) server.write("*1\r\n$5\r\nMULTI\r\n");
        return true;
      };
      const error = await store.commit("w1", 1, batch).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(HotUnavailableError);
      expect(error).toMatchObject({ mayHaveApplied: true });
      expect(String(error)).toContain("OK");
      await waitFor("a new connection", () => store.isReady);
      expect(await store.commit("w1", 1, batch)).toEqual(committed());
      expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
    });

    test("a copy of a commit that arrives after its batch was voided applies nothing", async () => {
      let copy: Buffer | undefined;
      proxy.onUpstream = (chunk, connection) => {
        if (!chunk.includes(COMMIT_SHA1)) return true;
        copy = Buffer.from(chunk);
        connection.cut();
        return false;
      };
      await rejectionOf(store.commit("w1", 1, batch));
      proxy.onUpstream = undefined;
      await untilReady();
      expect(await store.voidBatch("w1", 1)).toEqual({ status: "voided" });
      expect(await sendRaw(copy!)).toContain("committed");
      expect(await store.read([NOON_KEY])).toEqual([EMPTY]);
      expect(await store.commit("w1", 2, batch)).toEqual(committed());
      await expectJournal(store, "w1", { 2: [click("u", "id-1"), click("v")] });
      expect(await sendRaw(copy!)).toContain("committed");
      expect(await store.read([NOON_KEY])).toEqual([present(2, 0, 2)]);
    });

    /** As it was caught on its way; answers what the server says to it. */
    function sendRaw(command: Buffer): Promise<string> {
      return new Promise((resolve, reject) => {
        const socket = connectTcp(server.port, "127.0.0.1");
        socket.once("error", reject);
        socket.once("data", (answer) => {
          socket.destroy();
          resolve(answer.toString());
        });
        socket.write(command);
      });
    }

    test("a Redis that falls silent: each call ends in time, in doubt, and all is well after it", async () => {
      const impatient = await openThroughProxy({ commandTimeoutMs: 300 });
      await impatient.register("w1");
      await impatient.commit("w1", 1, batch);
      server.pause();
      try {
        const startMs = performance.now();
        const errors = await Promise.all(everyCall(impatient, 2).map((call) => rejectionOf(call())));
        expect(errors.map(({ mayHaveApplied }) => mayHaveApplied)).toEqual(errors.map(() => true));
        expect(errors[0]!.message).toBe("Redis could not do 'commit': no answer within 300 ms");
        expect(impatient.isReady).toBe(false);
        const later = await rejectionOf(impatient.commit("w1", 2, batch));
        expect(later.mayHaveApplied).toBe(false);
        const opening = await rejectionOf(harness.store({ commandTimeoutMs: 300 }).open());
        expect(opening.message).toContain("no answer to the handshake within 300 ms");
        expect(performance.now() - startMs).toBeLessThan(5_000);
      } finally {
        server.resume();
      }
      await untilReady(impatient);
      expect(await impatient.renewLease("w1", 1)).toBe("held");
    });

    test("a commit that a frozen server carries out when it wakes is applied once, and can be voided", async () => {
      const impatient = await harness.openWith({ commandTimeoutMs: 300 });
      for (const seq of [1, 2]) {
        const mine = batchOf([click(`u-${seq}`, `id-${seq}`)]);
        server.pause();
        try {
          const error = await rejectionOf(impatient.commit("w1", seq, mine));
          expect(error.mayHaveApplied).toBe(true);
        } finally {
          server.resume();
        }
        await untilReady(impatient);
        await waitFor("the frozen copy to be carried out", async () => {
          return Number(await admin.hGet(writerKey("w1"), "last")) === seq;
        });
        if (seq === 1) expect(await impatient.commit("w1", 1, mine)).toEqual(committed());
        else expect(await impatient.voidBatch("w1", 2)).toEqual({ status: "reverted", duplicates: [0] });
      }
      await expectJournal(impatient, "w1", { 1: [click("u-1", "id-1")] });
      expect((await admin.hmGet(countsKey(NOON_KEY), ["c"])).map(String)).toEqual(["1"]);
    });

    test("a server that takes connections and says nothing: open() fails in time", async () => {
      proxy.onUpstream = () => false;
      const mute = harness.store({ url: atPort(server.url, proxy.port), commandTimeoutMs: 200 });
      const error = await rejectionOf(mute.open());
      expect(error.message).toContain(
        "Redis could not do 'connect': no answer to the handshake within 200 ms",
      );
      expect(error.mayHaveApplied).toBe(false);
      expect(mute.isReady).toBe(false);
      await mute.close();
      proxy.onUpstream = undefined;
    });

    test("a server that falls silent while it is connected to anew is tried again, until it answers", async () => {
      const impatient = await openThroughProxy({ commandTimeoutMs: 200 });
      let attempts = 0;
      proxy.onUpstream = (chunk) => {
        if (chunk.includes("CLIENT") || chunk.includes("SELECT")) attempts += 1;
        return false;
      };
      proxy.cutAll();
      await waitFor("some attempts", () => attempts >= 4 && !impatient.isReady);
      proxy.onUpstream = undefined;
      await untilReady(impatient);
      expect(await impatient.isBorn()).toBe(true);
    });

    test("opening while it reconnects by itself leaves one connection, not two", async () => {
      proxy.delayMs = 30;
      proxy.cutAll();
      await waitFor("it to connect anew", () => !store.isReady && proxy.connectionCount === 1);
      await Promise.all([store.open(), store.open()]);
      proxy.delayMs = 0;
      await untilReady();
      expect(await store.isBorn()).toBe(true);
      await store.close();
      await waitFor("all connections to end", () => proxy.connectionCount === 0);
    });

    test("close() while it reconnects leaves no connection and makes no new one", async () => {
      proxy.delayMs = 30;
      proxy.cutAll();
      await waitFor("it to connect anew", () => !store.isReady && proxy.connectionCount === 1);
      await store.close();
      await waitFor("all connections to end", () => proxy.connectionCount === 0);
      proxy.delayMs = 0;
      await rejectionOf(store.open());
      expect(store.isReady).toBe(false);
      await waitFor("all connections to end", () => proxy.connectionCount === 0);
    });

    test("close() ends what is under way", async () => {
      proxy.dropAnswers();
      const reading = rejectionOf(store.read([NOON_KEY]));
      await store.close();
      await reading;
    });
  });
});
