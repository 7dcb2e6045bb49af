/** What an operator must see to in the cold store is logged when it begins and when it ends, not at each check. */
import { expect, test } from "bun:test";
import { HOUR_MS, type HourKey } from "../../../src/domain/event.ts";
import { selectionOf } from "../../../src/domain/stream-rules.ts";
import { ColdProblems } from "../../../src/pipeline/upkeep/cold-problems.ts";
import { ColdUnavailableError, type UpkeepProblems } from "../../../src/store/cold.ts";
import { StoreWatch } from "../../../src/store/store-watch.ts";
import { RecordedLog } from "../../harness/pipeline/pipeline-harness.ts";

const NO_LETTERS = { deadLetterCount: async () => 0, deadLetterHours: async (): Promise<readonly HourKey[]> => [] };

test("upkeep that fails, and succeeds again", async () => {
  const log = new RecordedLog();
  let found: UpkeepProblems = {};
  const problems = new ColdProblems({ ...NO_LETTERS, upkeep: async () => found }, log);
  await problems.check();
  expect(log.entries).toEqual([]);
  found = { folding: "DELETE denied" };
  for (let i = 0; i < 3; i++) await problems.check();
  expect(log.entries).toMatchObject([{ level: "warn", fields: { problem: "DELETE denied" } }]);
  expect(log.has("could not fold the rows of hours")).toBe(true);
  found = {};
  for (let i = 0; i < 3; i++) await problems.check();
  expect(log.entries.slice(1)).toMatchObject([{ level: "info", fields: { upkeep: "folding" } }]);
});

test("dead letters, whenever there are more", async () => {
  const log = new RecordedLog();
  let count = 0;
  const problems = new ColdProblems(
    { ...NO_LETTERS, upkeep: async () => ({}), deadLetterCount: async () => count },
    log,
  );
  for (count of [0, 2, 2, 1, 3]) await problems.check();
  expect(log.entries.map(({ fields }) => fields)).toEqual([{ deadLetters: 2 }, { deadLetters: 3 }]);
  expect(problems.deadLetterCount).toBe(3);
});

test("ranges with dead letters are known; with too many such hours, all are taken to have some", async () => {
  let hours: HourKey[] = [{ hour: HOUR_MS, stream: "shop.a" }];
  const letters = { deadLetterCount: async () => hours.length, deadLetterHours: async () => hours };
  const problems = new ColdProblems({ ...letters, upkeep: async () => ({}) }, new RecordedLog());
  const has = (from: number, to: number, stream: string) =>
    problems.hasDeadLetters({ from: from * HOUR_MS, to: to * HOUR_MS, streams: selectionOf(stream) });
  expect(has(0, 9, "*")).toBe(false);
  await problems.check();
  expect([has(0, 2, "*"), has(1, 2, "shop.a"), has(1, 2, "shop.*")]).toEqual([true, true, true]);
  expect([has(0, 1, "*"), has(2, 3, "*"), has(1, 2, "shop.b")]).toEqual([false, false, false]);
  hours = Array.from({ length: 1_000 }, () => hours[0]!);
  await problems.check();
  expect(has(2, 3, "shop.b")).toBe(true);
  hours = [];
  await problems.check();
  expect(has(0, 9, "*")).toBe(false);
});

test("a store that is unavailable is neither called available again, nor said to refuse partitions", async () => {
  const log = new RecordedLog();
  const watch = new StoreWatch("cold", log);
  // Upkeep answers although the store is unavailable: what failed is in the answer.
  const store = {
    ...NO_LETTERS,
    upkeep: async () => ({ partitions: "access denied" }),
    deadLetterCount: () => Promise.reject(new ColdUnavailableError("access denied")),
  };
  const problems = new ColdProblems(watch.watched(store), log);
  for (let i = 0; i < 2; i++) await expect(problems.check()).rejects.toThrow("access denied");
  expect(log.entries.map(({ message }) => message)).toEqual(["the cold store is unavailable"]);
  expect(watch.isUnavailable).toBe(true);
});
