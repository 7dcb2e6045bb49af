/** What an operator must see to in the cold store is logged when it begins and when it ends, not at each check. */
import { expect, test } from "bun:test";
import { ColdProblems } from "../../../src/pipeline/upkeep/cold-problems.ts";
import type { UpkeepProblems } from "../../../src/store/cold.ts";
import { RecordedLog } from "../../harness/pipeline/pipeline-harness.ts";

test("upkeep that fails, and succeeds again", async () => {
  const log = new RecordedLog();
  let found: UpkeepProblems = {};
  const problems = new ColdProblems({ upkeep: async () => found, deadLetterCount: async () => 0 }, log);
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
  const problems = new ColdProblems({ upkeep: async () => ({}), deadLetterCount: async () => count }, log);
  for (count of [0, 2, 2, 1, 3]) await problems.check();
  expect(log.entries.map(({ fields }) => fields)).toEqual([{ deadLetters: 2 }, { deadLetters: 3 }]);
  expect(problems.deadLetterCount).toBe(3);
});
