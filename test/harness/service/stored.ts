/**
 * The content of the cold store, inspected without any of the service's code: as anyone with a MySQL or SQLite client
 * would check it.
 */
import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { createConnection } from "mysql2/promise";
import { hourKeyName } from "../../../src/domain/event.ts";
import { UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { UserHash } from "../../../src/domain/unique-users/user-hash.ts";
import { TEST_USERS } from "../pipeline/test-users.ts";

export interface StoredEvent {
  readonly stream: string;
  readonly hour: number;
  readonly at: number;
  readonly kind: string;
  readonly user: string;
  readonly id: string | null;
}

export interface StoredHour {
  readonly stream: string;
  readonly hour: number;
  readonly clicks: number;
  readonly impressions: number;
  readonly viewers_sketch: Uint8Array;
  readonly clickers_sketch: Uint8Array;
}

/** Of one stream, or of all. */
export interface ColdView {
  countEvents(stream?: string): Promise<number>;
  events(stream?: string): Promise<StoredEvent[]>;
  hours(stream?: string): Promise<StoredHour[]>;
  /** Under the key of the data set: not always that of tests. */
  userHash(): Promise<UserHash>;
  /** Any statement: to look at what is not above, or to damage it. */
  run(sql: string): Promise<Row[]>;
}

const COUNT = "SELECT COUNT(*) AS count FROM events";
const EVENTS = "SELECT stream, hour, at, kind, user, id FROM events";
const EVENT_ORDER = "ORDER BY stream, at, user, kind";
const HOURS = "SELECT stream, hour, clicks, impressions, viewers_sketch, clickers_sketch FROM hourly";
const HOUR_ORDER = "ORDER BY stream, hour";
const USER_KEY = "SELECT user_key FROM data_set";

type Row = Record<string, unknown>;

export function sqliteView(path: () => string): ColdView {
  const inDatabase = (options: object) => async (sql: string) => {
    const database = new Database(path(), { ...options, strict: true });
    try {
      database.run("PRAGMA busy_timeout = 5000");
      return database.query<Row, []>(sql).all();
    } finally {
      database.close();
    }
  };
  return viewOf(inDatabase({ readonly: true }), inDatabase({ readwrite: true }));
}

export function mariaDbView(url: string): ColdView {
  const query = async (sql: string) => {
    const connection = await createConnection({ uri: url });
    try {
      const [rows] = await connection.query(sql);
      return rows as Row[];
    } finally {
      await connection.end();
    }
  };
  return viewOf(query, query);
}

function viewOf(query: (sql: string) => Promise<Row[]>, run: (sql: string) => Promise<Row[]>): ColdView {
  return {
    run,
    countEvents: async (stream) => Number((await query(`${COUNT} ${where(stream)}`))[0]?.["count"]),
    events: async (stream) => (await query(`${EVENTS} ${where(stream)} ${EVENT_ORDER}`)).map(storedEvent),
    hours: async (stream) => {
      return wholeHours((await query(`${HOURS} ${where(stream)} ${HOUR_ORDER}`)) as unknown as StoredHour[]);
    },
    userHash: async () => new UserHash((await query(USER_KEY))[0]?.["user_key"] as Uint8Array),
  };
}

/** A stream's name has nothing that would have to be escaped. */
function where(stream: string | undefined): string {
  return stream === undefined ? "" : `WHERE stream = '${stream}'`;
}

/** Flushes, and shards, each have their part of an hour: what these come to. */
export function wholeHours<Hour extends StoredHour>(parts: readonly Hour[]): StoredHour[] {
  const byHour = Map.groupBy(parts, ({ stream, hour }) => hourKeyName(stream, hour));
  return Array.from(byHour.values(), (ofHour) => {
    const { stream, hour } = ofHour[0]!;
    const users = new UserSketches();
    for (const part of ofHour) users.merge(usersIn(part));
    const { viewers, clickers } = users.encode();
    const sumOf = (kind: "clicks" | "impressions") => ofHour.reduce((sum, part) => sum + part[kind], 0);
    const counts = { clicks: sumOf("clicks"), impressions: sumOf("impressions") };
    return { stream, hour, ...counts, viewers_sketch: viewers, clickers_sketch: clickers };
  });
}

export function usersIn({ viewers_sketch, clickers_sketch }: StoredHour): UserSketches {
  return UserSketches.decode(viewers_sketch, clickers_sketch);
}

/** MySQL has users and ids as bytes. */
function storedEvent(row: Row): StoredEvent {
  const { user, id } = row;
  return { ...(row as unknown as StoredEvent), user: String(user), id: id === null ? null : String(id) };
}

export interface ReplayedHour {
  readonly stream: string;
  readonly hour: number;
  clicks: number;
  impressions: number;
  readonly users: UserSketches;
}

/** The hours, recounted from the rows; by hourKeyName. */
export function replay(events: Iterable<StoredEvent>, hash = TEST_USERS): Map<string, ReplayedHour> {
  const hours = new Map<string, ReplayedHour>();
  for (const { stream, hour, kind, user } of events) {
    const name = hourKeyName(stream, hour);
    const held = hours.get(name) ?? { stream, hour, clicks: 0, impressions: 0, users: new UserSketches() };
    if (kind === "click") held.clicks += 1;
    else held.impressions += 1;
    held.users.add(hash.registerOf(user), kind === "click");
    hours.set(name, held);
  }
  return hours;
}

/** The hourly table is what its rows give, register by register. */
export function expectHoursToBeReplay(
  hours: readonly StoredHour[],
  events: readonly StoredEvent[],
  hash = TEST_USERS,
): void {
  const replayed = replay(events, hash);
  expect(hours.map(({ stream, hour }) => hourKeyName(stream, hour)).sort()).toEqual([...replayed.keys()].sort());
  for (const stored of hours) {
    const { stream, hour, clicks, impressions } = stored;
    const expected = replayed.get(hourKeyName(stream, hour))!;
    expect({ stream, hour, clicks, impressions }).toEqual({
      stream,
      hour,
      clicks: expected.clicks,
      impressions: expected.impressions,
    });
    expectSameUsers(usersIn(stored), expected.users);
  }
}

/** Register by register, and kind by kind. */
export function expectSameUsers(actual: UserSketches, expected: UserSketches): void {
  const [found, right] = [actual.encode(), expected.encode()];
  const isSame = (kind: "viewers" | "clickers") => Bun.deepEquals(found[kind], right[kind]);
  expect({ areViewersSame: isSame("viewers"), areClickersSame: isSame("clickers") }).toEqual({
    areViewersSame: true,
    areClickersSame: true,
  });
}
