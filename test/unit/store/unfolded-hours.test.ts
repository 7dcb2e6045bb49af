/** Which hours a flush folds: those with many parts, and those that have waited long. */
import { expect, test } from "bun:test";
import { HOUR_MS, type HourKey } from "../../../src/domain/event.ts";
import { UnfoldedHours } from "../../../src/store/sql/unfolded-hours.ts";

function hoursOf(count: number, stream = "site"): HourKey[] {
  return Array.from({ length: count }, (_, i) => ({ stream: `${stream}-${i}`, hour: i * HOUR_MS }));
}

const HOUR: HourKey = { stream: "site", hour: 0 };

test("an hour is folded before it has more parts than it may have, again and again", () => {
  const unfolded = new UnfoldedHours(10);
  let parts = 0;
  let folds = 0;
  for (let flush = 0; flush < 1_000; flush++) {
    parts += 1;
    const due = unfolded.append([HOUR]);
    expect(parts).toBeLessThanOrEqual(10);
    if (due.length === 0) continue;
    expect(due).toMatchObject([HOUR]);
    [parts, folds] = [0, folds + 1];
  }
  expect(folds).toBeLessThanOrEqual(200);
});

test("hours with equally many parts are folded by different flushes, in the order of the primary key", () => {
  const unfolded = new UnfoldedHours(32);
  const hours = hoursOf(160);
  const due = Array.from({ length: 320 }, () => unfolded.append(hours.toReversed()));
  for (const each of due.slice(32)) expect(each.length).toBeLessThanOrEqual(40);
  for (const each of due)
    expect(each.map(({ hour }) => hour)).toEqual(each.map(({ hour }) => hour).sort((a, b) => a - b));
});

test("an hour that waits for long is folded if it has more than one part, a few hours at a time", () => {
  const unfolded = new UnfoldedHours();
  unfolded.append(hoursOf(120, "twice"));
  unfolded.append([...hoursOf(120, "twice"), ...hoursOf(10, "once")]);
  const due = Array.from({ length: 4_000 }, () => unfolded.append([]));
  expect(due.flat()).toHaveLength(120);
  expect(due.flat().every(({ stream }) => stream.startsWith("twice"))).toBe(true);
  expect(Math.max(...due.map(({ length }) => length))).toBe(50);
  expect(due.findIndex(({ length }) => length > 0)).toBe(3_598);
});

test("memory is bounded: with very many hours the oldest are folded early", () => {
  const unfolded = new UnfoldedHours();
  expect(unfolded.append(hoursOf(50_000, "many"))).toEqual([]);
  expect(unfolded.append(hoursOf(50_000, "many"))).toEqual([]);
  const due = unfolded.append(hoursOf(10, "more"));
  expect(due).toHaveLength(10);
  expect(due.every(({ stream }) => stream.startsWith("many"))).toBe(true);
});

test("memory is bounded however many hours a flush brings", () => {
  const unfolded = new UnfoldedHours();
  for (let flush = 0; flush < 6; flush++) {
    // Each twice, as hours with one part are not folded.
    const due = unfolded.append(hoursOf(30_000, `flush-${Math.floor(flush / 2)}`));
    expect(unfolded.size).toBeLessThanOrEqual(50_000);
    expect(due.length).toBeLessThanOrEqual(50);
  }
});
