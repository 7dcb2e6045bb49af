/**
 * The stores' content, compared after each step that changed them: an hour in the hot store equals its rows plus the
 * journals, or is absent; an aggregate equals its rows.
 */
import { type HourKey, hourKeyName, type JournaledBatch } from "../../../src/domain/event.ts";
import { UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { addTo, type ColdData, type Counts, countOf, type EventRow } from "../stores/cold/data.ts";
import type { HeldHour, HotData } from "../stores/hot/data.ts";
import type { Report } from "./events.ts";

interface Expected extends HourKey {
  clicks: number;
  impressions: number;
  /** Those of the rows themselves, and not to be changed, as long as nothing is unflushed. */
  users: UserSketches;
  /** How many of them are only in a journal. */
  unflushed: number;
}

/** The hours of one shard according to rows and journals. */
function expectedHours(hot: HotData, cold: ColdData, shard: number): Map<string, Expected> {
  const hours = new Map<string, Expected>();
  for (const { name, stream, hour, shard: ofShard, clicks, impressions, users } of cold.parts) {
    if (ofShard === shard) hours.set(name, { stream, hour, clicks, impressions, users, unflushed: 0 });
  }
  for (const [writer, journal] of hot.journals) {
    const watermark = cold.storedThrough(writer);
    for (const [seq, { batch }] of journal) if (seq > watermark) addBatch(hours, batch);
  }
  return hours;
}

function hourOf(hours: Map<string, Expected>, { stream, hour }: HourKey): Expected {
  const name = hourKeyName(stream, hour);
  let expected = hours.get(name);
  if (expected === undefined) {
    expected = { stream, hour, clicks: 0, impressions: 0, users: new UserSketches(), unflushed: 0 };
    hours.set(name, expected);
  }
  return expected;
}

function addBatch(hours: Map<string, Expected>, { groups }: JournaledBatch): void {
  for (const group of groups) {
    const expected = hourOf(hours, group);
    if (expected.unflushed === 0) expected.users = unionOf([expected]);
    expected.clicks += group.clicks;
    expected.impressions += group.impressions;
    expected.unflushed += group.users.length;
    for (let i = 0; i < group.registers.length; i++) {
      expected.users.add(group.registers[i]!, group.clickFlags[i]!);
    }
  }
}

export function checkHot(hot: HotData, cold: ColdData, shard: number, report: Report): void {
  const { meta } = hot;
  if (meta === undefined) return;
  const expected = expectedHours(hot, cold, shard);
  // Of what is not retained the hot store may have more, or less, until it retires that.
  const { aggregatesFrom } = cold.retained();
  for (const [name, hour] of expected) {
    if (hour.hour < aggregatesFrom) continue;
    const held = hot.hours.get(name);
    if (held !== undefined) compare(held, hour, report);
    else if (hour.hour >= meta.freshFrom)
      report("hour-incomplete", `hour ${name} is taken for empty, and has ${text(hour)}`);
    else if (hour.unflushed > 0)
      report("hour-incomplete", `hour ${name} is not held, and ${hour.unflushed} of its events are no rows yet`);
  }
  for (const [name, held] of hot.hours) {
    if (held.hour >= aggregatesFrom && !expected.has(name) && held.clicks + held.impressions > 0)
      report("hour-counts", `hour ${name} holds ${text(held)}, and there are no such events`);
  }
}

function compare(held: HeldHour, expected: Expected, report: Report): void {
  const name = hourKeyName(held.stream, held.hour);
  if (held.clicks !== expected.clicks || held.impressions !== expected.impressions) {
    report("hour-counts", `hour ${name} holds ${text(held)}, rows and journals ${text(expected)}`);
  } else if (!haveSameUsers(held.users, expected.users)) {
    const [found, right] = [held.users.count(), expected.users.count()];
    report("hour-users", `the sketches of hour ${name} hold ${found} users, rows and journals ${right}`);
  }
}

function text({ clicks, impressions }: Pick<Expected, "clicks" | "impressions">): string {
  return `${clicks} clicks and ${impressions} impressions`;
}

function haveSameUsers(a: UserSketches, b: UserSketches): boolean {
  return a.clickers.count() === b.clickers.count() && a.viewers.count() === b.viewers.count();
}

function unionOf(parts: readonly { readonly users: UserSketches }[]): UserSketches {
  const union = new UserSketches();
  for (const { users } of parts) union.merge(users);
  return union;
}

export function checkCold(cold: ColdData, report: Report): void {
  const parts = Map.groupBy(cold.parts, ({ name }) => name);
  for (const [name, rows] of cold.rows) {
    const [found, counted] = [parts.get(name) ?? [], countedSoFar(rows)];
    const sumOf = (kind: "clicks" | "impressions") => found.reduce((sum, part) => sum + part[kind], 0);
    const isRight =
      sumOf("clicks") === counted.clicks &&
      sumOf("impressions") === counted.impressions &&
      haveSameUsers(found.length === 1 ? found[0]!.users : unionOf(found), counted.users);
    if (!isRight) report("aggregate", `the aggregate of ${name} is not what its ${rows.length} rows come to`);
  }
}

interface Counted {
  readonly counts: Counts;
  rowCount: number;
}

/** By list of rows. Rows are only added, so each is counted once. */
const COUNTED = new WeakMap<readonly EventRow[], Counted>();

function countedSoFar(rows: readonly EventRow[]): Counts {
  let counted = COUNTED.get(rows);
  if (counted === undefined) {
    counted = { counts: countOf([]), rowCount: 0 };
    COUNTED.set(rows, counted);
  }
  for (; counted.rowCount < rows.length; counted.rowCount++) addTo(counted.counts, rows[counted.rowCount]!);
  return counted.counts;
}
