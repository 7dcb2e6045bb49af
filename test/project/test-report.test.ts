/** The command that runs all tests never calls a run passed that is not proven so. */
import { describe, expect, test } from "bun:test";
import { judge, sum, summary, type TestRun, type Verdict } from "../../scripts/test-report.ts";

function report(tests: number, failures: number, skipped: number, files = ["test/a.test.ts"]): string {
  const suites = files.map((file) => `<testsuite name="${file}" file="${file}" tests="1">\n  </testsuite>`);
  const counts = `tests="${tests}" assertions="9" failures="${failures}" skipped="${skipped}"`;
  return `<testsuites name="bun test" ${counts} time="0.1">\n${suites.join("")}\n</testsuites>\n`;
}

const passedRun: TestRun = { exitCode: 0, report: report(3, 0, 1), files: ["test/a.test.ts"] };

const CASES: Readonly<Record<string, readonly [Partial<TestRun>, Verdict["tally"], RegExp | undefined]>> = {
  "all passed": [{}, { passed: 2, failed: 0, skipped: 1 }, undefined],
  "a test failed": [
    { exitCode: 1, report: report(3, 1, 0) },
    { passed: 2, failed: 1, skipped: 0 },
    undefined,
  ],
  "an error between the tests": [
    { exitCode: 1 },
    { passed: 2, failed: 1, skipped: 1 },
    /outside of the tests/,
  ],
  "a crash before the report": [
    { exitCode: 139, report: undefined },
    { passed: 0, failed: 1, skipped: 0 },
    /exited with 139 and left no whole report/,
  ],
  "a test that ends the runner as if all were well": [
    { report: undefined },
    { passed: 0, failed: 1, skipped: 0 },
    /exited with 0 and left no whole report/,
  ],
  "a report cut off": [
    { report: report(3, 0, 0).slice(0, -20) },
    { passed: 0, failed: 1, skipped: 0 },
    /no whole report/,
  ],
  "a report without counts": [
    { report: "<testsuites></testsuites>" },
    { passed: 0, failed: 1, skipped: 0 },
    /no whole report/,
  ],
  "a report of impossible counts": [
    { report: report(1, 1, 1) },
    { passed: 0, failed: 1, skipped: 0 },
    /no whole report/,
  ],
  "the time was up": [
    { exitCode: undefined, report: undefined },
    { passed: 0, failed: 1, skipped: 0 },
    /was ended/,
  ],
  "the time was up after the report": [
    { exitCode: undefined },
    { passed: 2, failed: 1, skipped: 1 },
    /was ended/,
  ],
  "a file that did not load": [
    { exitCode: 1, files: ["test/a.test.ts", "test/b.test.ts"] },
    { passed: 2, failed: 1, skipped: 1 },
    /^test\/b\.test\.ts did not load/,
  ],
  "no test": [{ report: report(0, 0, 0, []), files: [] }, { passed: 0, failed: 1, skipped: 0 }, /no test/],
};

describe("a test run", () => {
  for (const [name, [run, tally, problem]] of Object.entries(CASES)) {
    test(name, () => {
      const verdict = judge({ ...passedRun, ...run });
      expect(verdict.tally).toEqual(tally);
      expect(verdict.problems).toHaveLength(problem === undefined ? 0 : 1);
      if (problem !== undefined) expect(verdict.problems[0]).toMatch(problem);
    });
  }

  test("two files that did not load are two failures", () => {
    const { tally } = judge({ ...passedRun, exitCode: 1, files: ["test/b.test.ts", "test/c.test.ts"] });
    expect(tally.failed).toBe(2);
  });
});

describe("the last line", () => {
  test("is of one form; what was skipped, if something was, is told above it", () => {
    expect(summary({ passed: 2, failed: 0, skipped: 0 })).toBe("2 passed, 0 failed");
    expect(summary({ passed: 2, failed: 1, skipped: 3 })).toBe(
      "3 SKIPPED, and so neither passed nor failed\n2 passed, 1 failed",
    );
  });

  test("adds up all steps", () => {
    const one = { passed: 1, failed: 2, skipped: 3 };
    expect(sum([one, one, { passed: 1, failed: 0, skipped: 0 }])).toEqual({
      passed: 3,
      failed: 4,
      skipped: 6,
    });
  });
});
