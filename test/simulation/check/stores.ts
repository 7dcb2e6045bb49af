/**
 * The stores' content, compared after each step that changed them: an hour in the hot store equals its rows plus the
 * journals, or is absent; an aggregate equals its rows.
 */
import { type HourKey, hourKeyName, type JournaledBatch } from "../../../src/domain/event.ts";
import { UserSketches } from "../../../src/domain/unique-users/sketch.ts";
import { addTo, type ColdData, type Counts, countOf, type EventRow } from "../stores/cold/data.ts";
import type { HeldHour, HotData } from "../stores/hot/data.ts";
import type { Report } from "./events.ts";

interface Expected extends Counts, HourKey {
  /** How many of its events are only in a journal. */
  readonly unflushed?: number;
}

interface Unflushed extends Counts, HourKey {
  unflushed: number;
}

/** What is only in a journal, by the name of the hour. */
function unflushedHours(hot: HotData, cold: ColdData): Map<string, Unflushed> {
  const hours = new Map<string, Unflushed>();
  for (const [writer, journal] of hot.journals) {
    const watermark = cold.storedThrough(writer);
    for (const [seq, { batch }] of journal) if (seq > watermark) addBatch(hours, batch);
  }
  return hours;
}

function addBatch(hours: Map<string, Unflushed>, { groups }: JournaledBatch): void {
  for (const { stream, hour, clicks, impressions, users, registers, clickFlags } of groups) {
    const name = hourKeyName(stream, hour);
    let unflushed = hours.get(name);
    if (unflushed === undefined) {
      unflushed = { stream, hour, clicks: 0, impressions: 0, users: new UserSketches(), unflushed: 0 };
      hours.set(name, unflushed);
    }
    unflushed.clicks += clicks;
    unflushed.impressions += impressions;
    unflushed.unflushed += users.length;
    for (let i = 0; i < registers.length; i++) unflushed.users.add(registers[i]!, clickFlags[i]!);
  }
}

/** The hours of one shard: those of rows, and then those that are only in journals. */
function* expectedHours(hot: HotData, cold: ColdData, shard: number): Generator<[name: string, Expected]> {
  const unflushed = unflushedHours(hot, cold);
  for (const part of cold.parts) {
    if (part.shard !== shard) continue;
    const sum = unflushed.get(part.name);
    if (sum !== undefined) {
      unflushed.delete(part.name);
      sum.clicks += part.clicks;
      sum.impressions += part.impressions;
      sum.users.merge(part.users);
    }
    yield [part.name, sum ?? part];
  }
  yield* unflushed;
}

export function checkHot(hot: HotData, cold: ColdData, shard: number, report: Report): void {
  const { meta } = hot;
  if (meta === undefined) return;
  // Of what is not retained the hot store may have more, or less, until it retires that.
  const { aggregatesFrom } = cold.retained();
  let heldHours = 0;
  for (const [name, expected] of expectedHours(hot, cold, shard)) {
    const held = hot.hours.get(name);
    if (held !== undefined) heldHours += 1;
    if (expected.hour < aggregatesFrom) continue;
    if (held !== undefined) compare(name, held, expected, report);
    else if (expected.hour >= meta.freshFrom)
      report("hour-incomplete", `hour ${name} is taken for empty, and has ${text(expected)}`);
    else if (expected.unflushed !== undefined)
      report("hour-incomplete", `hour ${name} is not held, and ${expected.unflushed} of its events are no rows yet`);
  }
  if (heldHours === hot.hours.size) return;
  const expected = new Map(expectedHours(hot, cold, shard));
  for (const [name, held] of hot.hours) {
    if (held.hour >= aggregatesFrom && !expected.has(name) && held.clicks + held.impressions > 0)
      report("hour-counts", `hour ${name} holds ${text(held)}, and there are no such events`);
  }
}

function compare(name: string, held: HeldHour, expected: Expected, report: Report): void {
  if (held.clicks !== expected.clicks || held.impressions !== expected.impressions) {
    report("hour-counts", `hour ${name} holds ${text(held)}, rows and journals ${text(expected)}`);
  } else if (!haveSameUsers(held.users, expected.users)) {
    const [found, right] = [held.users.count(), expected.users.count()];
    report("hour-users", `the sketches of hour ${name} hold ${found} users, rows and journals ${right}`);
  }
}

function text({ clicks, impressions }: Pick<Counts, "clicks" | "impressions">): string {
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
