/** Events, expectations and the shape of a harness, for all tests of cold stores. */
import { expect, test } from "bun:test";
import {
  DAY_MS,
  type Event,
  HOUR_MS,
  type HourKey,
  hourKeyName,
  hourOf,
  type JournaledBatch,
} from "../../../src/domain/event.ts";
import { type HourRange, includes } from "../../../src/domain/hour-range.ts";
import { type UserCounts, UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { type ColdStore, ColdUnavailableError, WriterSealedError } from "../../../src/store/cold.ts";
import { compareHours } from "../../../src/store/sql/rows.ts";
import { journaledBatchOf } from "../../harness/pipeline/batches.ts";
import { TEST_USERS } from "../../harness/pipeline/test-users.ts";
import { expectSameUsers, type StoredHour, usersIn } from "../../harness/service/stored.ts";

export const NOON = Date.UTC(2026, 0, 31, 12);
export const STREAM = "site-1";

export interface StoredEvent {
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

export interface StoredWriter {
  readonly writer: string;
  readonly events: number;
}

/** An empty database, looked into from outside the store. */
export interface Harness {
  /** Another store on the same data. Closed by end(). */
  store(): ColdStore;
  /** In order of the primary key. */
  events(): Promise<StoredEvent[]>;
  /** Each once: the sum of its parts. */
  hours(): Promise<StoredHour[]>;
  /** The rows that they are the sums of. */
  hourParts(): Promise<StoredHour[]>;
  writers(): Promise<StoredWriter[]>;
  run(sql: string): Promise<void>;
  end(): Promise<void>;
}

interface OpenHarness {
  readonly harness: Harness;
  readonly store: ColdStore;
}

/** Like test(), with a database of its own for each test. */
export function testWithStore(openHarness: () => Promise<Harness>) {
  return (name: string, work: (opened: OpenHarness) => Promise<void>) =>
    test(name, async () => {
      const harness = await openHarness();
      try {
        const store = harness.store();
        await store.open();
        await work({ harness, store });
      } finally {
        await harness.end();
      }
    });
}

export const SELECT_EVENTS = `
  SELECT e.hour, e.stream, w.writer, e.seq, e.ordinal, e.at, e.kind, e.user, e.id
  FROM events e JOIN writers w ON w.id = e.writer ORDER BY e.hour, e.stream, e.writer, e.seq, e.ordinal`;
/** Small, so that hours are folded again and again. */
export const PARTS_PER_HOUR = 3;
export const SELECT_HOURS = "SELECT * FROM hourly ORDER BY hour, stream";
export const SELECT_WRITERS = "SELECT writer, events FROM writers ORDER BY writer";

export const batchOf = journaledBatchOf;

export function emptyBatch(seq: number): JournaledBatch {
  return { seq, groups: [], eventCount: 0 };
}

export function click(user: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "click", user };
}

export function impression(user: string, at = NOON, stream = STREAM): Event {
  return { stream, at, kind: "impression", user };
}

/** `count` events of users `name`-0, -1, …, every third a click, spread over three hours and two streams. */
export function mixedEvents(name: string, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => {
    const at = NOON + (i % 3) * HOUR_MS + i;
    const user = `${name}-${i}`;
    const stream = i % 2 === 0 ? STREAM : "site-2";
    return i % 3 === 0 ? click(user, at, stream) : impression(user, at, stream);
  });
}

export function usersOf(events: Iterable<{ readonly user: string; readonly kind: string }>): UserSketches {
  const users = new UserSketches();
  for (const { user, kind } of events) users.add(TEST_USERS.registerOf(user), kind === "click");
  return users;
}

/** Hours and writers are what a replay of the rows gives; answers the rows. */
export async function expectConsistent(harness: Harness): Promise<StoredEvent[]> {
  const events = await harness.events();
  const replayed = Map.groupBy(events, ({ stream, hour }) => hourKeyName(stream, hour));
  const hours = await harness.hours();
  expect(hours.map(({ stream, hour }) => hourKeyName(stream, hour))).toEqual([...replayed.keys()]);
  for (const hour of hours) {
    const rows = replayed.get(hourKeyName(hour.stream, hour.hour)) ?? [];
    const expected = usersOf(rows);
    expect(hour.clicks).toBe(rows.filter(({ kind }) => kind === "click").length);
    expect(hour.impressions).toBe(rows.filter(({ kind }) => kind === "impression").length);
    expectSameUsers(usersIn(hour), expected);
  }
  for (const { writer, events: count } of await harness.writers()) {
    expect(count).toBe(events.filter((event) => event.writer === writer).length);
  }
  return events;
}

export async function rejectionOf(promise: Promise<unknown>): Promise<ColdUnavailableError> {
  const error = await promise.then(
    () => new Error("it succeeded"),
    (reason: unknown) => reason,
  );
  if (!(error instanceof ColdUnavailableError)) throw error;
  return error;
}

export interface ShownHour extends HourKey, UserCounts {
  readonly clicks: number;
  readonly impressions: number;
}

export async function rangeOf(store: ColdStore, range: HourRange): Promise<ShownHour[]> {
  const hours: ShownHour[] = [];
  await store.readRange(range, ({ users, ...hour }) => {
    hours.push({ ...hour, ...users.counts() });
  });
  const times = hours.map(({ hour }) => hour);
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  return hours.sort(compareHours);
}

/** The expected result of a range over these events. */
export function shownOf(events: readonly Event[], range: HourRange): ShownHour[] {
  const byHour = Map.groupBy(events, ({ stream, at }) => hourKeyName(stream, hourOf(at)));
  const shown = Array.from(byHour.values(), (ofHour) => {
    const [{ stream, at }] = ofHour as [Event];
    const clicks = ofHour.filter(({ kind }) => kind === "click").length;
    const counts = { clicks, impressions: ofHour.length - clicks, ...usersOf(ofHour).counts() };
    return { hour: hourOf(at), stream, ...counts };
  });
  return shown.filter((hour) => includes(range, hour)).sort(compareHours);
}

export function oneStream(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: false } };
}

export function branch(text: string, from = 0, to = NOON + DAY_MS): HourRange {
  return { from, to, streams: { text, isPrefix: true } };
}

/** `expect().rejects` holds the event loop while it waits: an answer of another thread would never come. */
export async function expectSealed(promise: Promise<unknown>): Promise<void> {
  const outcome = await promise.catch((error: unknown) => error);
  expect(outcome).toBeInstanceOf(WriterSealedError);
}

export function atPort(url: string, port: number): string {
  const moved = new URL(url);
  moved.port = `${port}`;
  return moved.href;
}
