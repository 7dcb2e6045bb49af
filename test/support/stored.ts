/**
 * What is in the cold store, looked at from outside with nothing of the service's: the way anyone with a
 * client of MySQL or SQLite would check it.
 */
import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { createConnection } from "mysql2/promise";
import { hourKeyName } from "../../src/count/event.ts";
import { registerOf, Sketch } from "../../src/count/sketch.ts";

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
  readonly unique_users: number;
  readonly users_sketch: Uint8Array;
}

export interface ColdView {
  countEvents(): Promise<number>;
  events(): Promise<StoredEvent[]>;
  hours(): Promise<StoredHour[]>;
}

const COUNT = "SELECT COUNT(*) AS count FROM events";
const EVENTS = "SELECT stream, hour, at, kind, user, id FROM events ORDER BY stream, at, user, kind";
const HOURS = "SELECT * FROM hourly ORDER BY stream, hour";

type Row = Record<string, unknown>;

export function sqliteView(path: () => string): ColdView {
  return viewOf(async (sql) => {
    const database = new Database(path(), { readonly: true, strict: true });
    try {
      return database.query<Row, []>(sql).all();
    } finally {
      database.close();
    }
  });
}

export function mariaDbView(url: string): ColdView {
  return viewOf(async (sql) => {
    const connection = await createConnection({ uri: url });
    try {
      const [rows] = await connection.query(sql);
      return rows as Row[];
    } finally {
      await connection.end();
    }
  });
}

function viewOf(query: (sql: string) => Promise<Row[]>): ColdView {
  return {
    countEvents: async () => Number((await query(COUNT))[0]?.["count"]),
    events: async () => (await query(EVENTS)).map(storedEvent),
    hours: async () => wholeHours((await query(HOURS)) as unknown as StoredHour[]),
  };
}

/** Of several shards each has its part of an hour: what these come to. */
function wholeHours(parts: readonly StoredHour[]): StoredHour[] {
  const byHour = Map.groupBy(parts, ({ stream, hour }) => hourKeyName(stream, hour));
  return Array.from(byHour.values(), ([first, ...others]) => others.reduce(united, first!));
}

function united(a: StoredHour, b: StoredHour): StoredHour {
  const users = Sketch.decode(a.users_sketch);
  users.merge(Sketch.decode(b.users_sketch));
  return {
    ...a,
    clicks: a.clicks + b.clicks,
    impressions: a.impressions + b.impressions,
    unique_users: users.count(),
    users_sketch: users.encode(),
  };
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
  readonly users: Sketch;
}

/** What the hours come to, counted anew from the rows; by hourKeyName. */
export function replay(events: Iterable<StoredEvent>): Map<string, ReplayedHour> {
  const hours = new Map<string, ReplayedHour>();
  for (const { stream, hour, kind, user } of events) {
    const name = hourKeyName(stream, hour);
    const held = hours.get(name) ?? { stream, hour, clicks: 0, impressions: 0, users: new Sketch() };
    if (kind === "click") held.clicks += 1;
    else held.impressions += 1;
    held.users.add(registerOf(user));
    hours.set(name, held);
  }
  return hours;
}

/** The hourly table is what its rows give, register by register. */
export function expectHoursToBeReplay(hours: readonly StoredHour[], events: readonly StoredEvent[]): void {
  const replayed = replay(events);
  expect(hours.map(({ stream, hour }) => hourKeyName(stream, hour)).sort()).toEqual(
    [...replayed.keys()].sort(),
  );
  for (const { stream, hour, clicks, impressions, unique_users, users_sketch } of hours) {
    const expected = replayed.get(hourKeyName(stream, hour))!;
    expect({ stream, hour, clicks, impressions, unique_users }).toEqual({
      stream,
      hour,
      clicks: expected.clicks,
      impressions: expected.impressions,
      unique_users: expected.users.count(),
    });
    const stored = Sketch.decode(users_sketch).encode();
    expect(Buffer.compare(stored, expected.users.encode())).toBe(0);
  }
}
