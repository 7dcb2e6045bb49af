/** Events, expectations and the shape of a harness, for all tests of hot stores. */
import { expect, test } from "bun:test";
import {
  type Batch,
  DAY_MS,
  type Event,
  HOUR_MS,
  type HourKey,
  hourKeyName,
  hourOf,
  type JournaledBatch,
} from "../../../src/domain/event.ts";
import { type HourRange, includes } from "../../../src/domain/hour-range.ts";
import { Sketch, type UserCounts, UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { type CommitResult, type HotStore, HotUnavailableError, type HourRead } from "../../../src/store/hot.ts";
import { compareHours } from "../../../src/store/sql/rows.ts";
import { TEST_USERS } from "../../harness/pipeline/test-users.ts";

export const NOON = Date.UTC(2026, 0, 31, 12);
export const STREAM = "site-1";

/** So long that no lease expires while a test runs. */
export const LONG_LEASE_MS = 600_000;
export const SHORT_LEASE_MS = 50;
export const REGISTERS = 16384;
export const DENSE_SIZE_BYTES = 12304;

export const ALL = Number.POSITIVE_INFINITY;
export const NOON_KEY: HourKey = { stream: STREAM, hour: NOON };

export function click(user: string, id?: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "click", user, id };
}

export function impression(user: string, id?: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "impression", user, id };
}

export function clicksOf(name: string, count: number, at = NOON, stream = STREAM): Event[] {
  return Array.from({ length: count }, (_, i) => click(`${name}-${i}`, undefined, at, stream));
}

/** `count` events of users `name`-0, -1, …, every third a click, spread over three hours and two streams. */
export function mixedEvents(name: string, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => {
    const at = NOON + (i % 3) * HOUR_MS + i;
    const stream = i % 2 === 0 ? STREAM : "site-2";
    const event = i % 3 === 0 ? click : impression;
    return event(`${name}-${i}`, undefined, at, stream);
  });
}

/** The events of a batch by their ordinals, each with the register that goes with it. */
export function eventsOf(batch: Batch): (Event & { readonly register: number })[] {
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

export function withoutOrdinals(batch: Batch, ordinals: readonly number[]): Event[] {
  return eventsOf(batch).filter((_, ordinal) => !ordinals.includes(ordinal));
}

export function sketchOf(users: Iterable<string>): Sketch {
  const sketch = new Sketch();
  for (const user of users) sketch.add(TEST_USERS.registerOf(user));
  return sketch;
}

export function usersOf(events: Iterable<Event>): UserSketches {
  const users = new UserSketches();
  for (const { user, kind } of events) users.add(TEST_USERS.registerOf(user), kind === "click");
  return users;
}

/** Users who all clicked. */
export function clickers(users: Iterable<string>): UserSketches {
  return new UserSketches(new Sketch(), sketchOf(users));
}

/** All 16384 registers; shows only the first that differs, since a diff of all would fill the screen. */
export function expectSameRegisters(actual: Sketch, expected: Sketch): void {
  for (let index = 0; index < REGISTERS; index++) {
    const ranks = { index, rank: actual.register(index) };
    if (ranks.rank !== expected.register(index)) expect(ranks).toEqual({ index, rank: expected.register(index) });
  }
}

export function present(clicks: number, impressions: number, uniqueUsers: number): HourRead {
  return { status: "present", counts: { clicks, impressions, uniqueUsers } };
}

export const EMPTY: HourRead = { status: "empty" };
export const ABSENT: HourRead = { status: "absent" };

export function committed(...duplicates: number[]): CommitResult {
  return { status: "committed", duplicates };
}

export function readOf(events: readonly Event[]): HourRead {
  const clicks = events.filter(({ kind }) => kind === "click").length;
  return present(clicks, events.length - clicks, sketchOf(events.map(({ user }) => user)).count());
}

/** Every hour that one of these events is of holds these, each once, and no others. */
export async function expectCounted(store: HotStore, events: readonly Event[]): Promise<void> {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  const hours = [...byHour.values()];
  const keys = hours.map(([first]) => ({ stream: first!.stream, hour: hourOf(first!.at) }));
  expect(await store.read(keys)).toEqual(hours.map(readOf));
}

/** The journal holds these events, under these seqs, and says what registers and sums go with them. */
export async function expectJournal(
  store: HotStore,
  writer: string,
  expected: Readonly<Record<number, readonly Event[]>>,
): Promise<void> {
  const batches = await store.readJournal(writer, 0, ALL);
  expect(batches.map(({ seq }) => seq)).toEqual(Object.keys(expected).map(Number));
  for (const batch of batches) expectEvents(batch, expected[batch.seq]!);
}

export function expectEvents(batch: JournaledBatch, expected: readonly Event[]): void {
  const registered = expected.map((event) => ({ ...event, register: TEST_USERS.registerOf(event.user) }));
  expect(eventsOf(batch)).toEqual(registered);
  expect(batch.eventCount).toBe(expected.length);
  for (const { clicks, impressions, clickFlags } of batch.groups) {
    expect(clicks).toBe(clickFlags.filter(Boolean).length);
    expect(impressions).toBe(clickFlags.length - clicks);
  }
}

export interface ShownHour extends HourKey, Omit<UserCounts, "uniqueUsers"> {
  readonly read: HourRead;
}

/** Each hour as it was shown, in order of hour and stream, and what was answered. */
export async function rangeOf(store: HotStore, range: HourRange) {
  const hours: ShownHour[] = [];
  const freshFrom = await store.readRange(range, ({ hour, stream, clicks, impressions, users }) => {
    const { uniqueUsers, ...byKind } = users.counts();
    hours.push({ hour, stream, read: present(clicks, impressions, uniqueUsers), ...byKind });
  });
  return { hours: hours.sort(compareHours), freshFrom };
}

/** The expected result of a range over a store with these events. */
export function shownOf(events: readonly Event[], range: HourRange): ShownHour[] {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  const shown = Array.from(byHour.values(), (ofHour) => {
    const [{ stream, at }] = ofHour as [Event];
    const { uniqueUsers: _, ...byKind } = usersOf(ofHour).counts();
    return { hour: hourOf(at), stream, read: readOf(ofHour), ...byKind };
  });
  return shown.filter((hour) => includes(range, hour)).sort(compareHours);
}

export function oneStream(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: false } };
}

export function branch(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: true } };
}

export async function initializeAndRegister(store: HotStore, writer: string, freshFrom = 0): Promise<void> {
  expect(await store.initialize(freshFrom)).toBe(true);
  expect(await store.register(writer)).toBe(true);
}

/** Does what a recovery does with a writer whose batches are all in the cold store. */
export async function removeAdopted(store: HotStore, writer: string, watermark = 0): Promise<void> {
  expect(await store.fence(writer)).toBe(true);
  await store.removeJournal(writer, watermark);
}

export async function retireAll(store: HotStore, beforeHour: number): Promise<number> {
  let retired = 0;
  for (;;) {
    const count = await store.retire(beforeHour);
    if (count === 0) return retired;
    retired += count;
  }
}

export async function rejectionOf(promise: Promise<unknown>): Promise<HotUnavailableError> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof HotUnavailableError)) throw error;
  return error;
}

/** An empty data set. */
export interface Harness {
  /** Opened; closed by end(). Only one at a time in the embedded case. */
  open(): Promise<HotStore>;
  /** The store, or another in its place, on a data set that is no longer initialized. Journals are left. */
  uninitialize(): Promise<HotStore>;
  end(): Promise<void>;
}

interface OpenHarness {
  readonly harness: Harness;
  readonly store: HotStore;
}

/** Like test(), with a store of its own for each test. */
export function testWithStore(openHarness: () => Promise<Harness>) {
  return (name: string, work: (opened: OpenHarness) => Promise<void>) =>
    test(name, async () => {
      const harness = await openHarness();
      try {
        await work({ harness, store: await harness.open() });
      } finally {
        await harness.end();
      }
    });
}

/** The same, with a writer `w1` that may commit. */
export function testWithWriter(openHarness: () => Promise<Harness>) {
  const test = testWithStore(openHarness);
  return (name: string, work: (opened: OpenHarness) => Promise<void>) =>
    test(name, async (opened) => {
      await initializeAndRegister(opened.store, "w1");
      await work(opened);
    });
}

export const USERS_OF_ANY_BYTES = [
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

export const STREAMS = ["default", "a.b", "a-b", "a_b", "A.B", ".", "-", "..", "0", "x".repeat(64)];
