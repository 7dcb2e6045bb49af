/** Promises are broken on purpose in a copy of the project: a suite or a test must notice. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { seedFor } from "../harness/pipeline/random.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { budgetTest } from "../harness/tiers.ts";
import { expectAllHeld, SERVERS, say, TIMEOUT_MS } from "./chaos-tests.ts";
import { MUTATIONS } from "./faults/mutations.ts";
import { runTeeth } from "./suites/teeth.ts";
import { exitCodeOf } from "./verdict/report.ts";

describe("mutations", () => {
  for (const { name, edits, check } of MUTATIONS) {
    test(`${name}: follows the source`, () => {
      for (const { file, find } of edits) {
        const source = readFileSync(join(PROJECT_ROOT, file), "utf8");
        expect({ file, find, count: source.split(find).length - 1 }).toEqual({ file, find, count: 1 });
      }
      const [program, path] = check.args[0] === "test" ? check.args : ["bun", check.args[0]];
      expect({ program, path, exists: existsSync(join(PROJECT_ROOT, path!)) }).toMatchObject({
        exists: true,
      });
    });
  }
});

test("a suite ends with 0 only if it ran, and everything held", () => {
  const report = { name: "any", seed: 1, figures: {}, problems: [] };
  expect(exitCodeOf(report)).toBe(0);
  expect(exitCodeOf({ ...report, problems: ["lost an event"] })).toBe(1);
  expect(exitCodeOf({ ...report, skipped: "no root" })).toBe(2);
});

describeWithServers("chaos, teeth", [...SERVERS, "rabbitmq"], () => {
  const checkedByTests = MUTATIONS.filter(({ check }) => check.args[0] === "test").map(({ name }) => name);
  const budgets = { quick: ["seq-not-checked"], full: checkedByTests, timeoutMs: 4 * TIMEOUT_MS };
  budgetTest("a promise that is broken on purpose is noticed", budgets, async (only) => {
    expectAllHeld(await runTeeth({ only, seed: seedFor("teeth"), say }));
  });

  test("an unknown mutation is refused", async () => {
    const biting = runTeeth({ only: ["no-such-mutation"], seed: 0, say });
    await expect(biting).rejects.toThrow("there is no mutation 'no-such-mutation'");
  });
});
