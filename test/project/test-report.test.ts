/** The command that runs all tests never reports a run as passed without proof. */
import { describe, expect, test } from "bun:test";
import { type Job, type Place, runInLanes } from "../../scripts/test/lanes.ts";
import { planTests, type Tier } from "../../scripts/test/plan.ts";
import { type FileRun, judge, readCases, sum, summary } from "../../scripts/test/report.ts";

type Outcome = "" | "<failure/>" | "<skipped/>";

const FILE = "test/a.test.ts";

function testCase(name: string, outcome: Outcome): string {
  return outcome === "" ? `<testcase name="${name}" />` : `<testcase name="${name}">${outcome}</testcase>`;
}

function reportOf(counts: string, ...cases: string[]): string {
  const suite = `<testsuite name="${FILE}" file="${FILE}" tests="1">\n${cases.join("\n")}</testsuite>`;
  return `<testsuites name="bun test" ${counts} time="0.1">\n${suite}\n</testsuites>\n`;
}

function report(...outcomes: Outcome[]): string {
  const count = (outcome: Outcome) => outcomes.filter((one) => one === outcome).length;
  const counts = `tests="${outcomes.length}" failures="${count("<failure/>")}" skipped="${count("<skipped/>")}"`;
  return reportOf(counts, ...outcomes.map((outcome, i) => testCase(`test ${i}`, outcome)));
}

const passedRun: FileRun = {
  ...{ file: FILE, exitCode: 0, namePattern: undefined },
  report: report("", "", "<skipped/>"),
};

/** The counts, and what the one failure says. */
const CASES: Readonly<Record<string, readonly [Partial<FileRun>, { passed: number; skipped: number }, RegExp?]>> = {
  "all passed": [{}, { passed: 2, skipped: 1 }],
  "a test failed": [
    { exitCode: 1, report: report("", "", "<failure/>") },
    { passed: 2, skipped: 0 },
    /^test\/a\.test\.ts: test 2$/,
  ],
  "an error between the tests": [{ exitCode: 1 }, { passed: 2, skipped: 1 }, /outside of the tests/],
  "a crash before the report": [
    { exitCode: 139, report: undefined },
    { passed: 0, skipped: 0 },
    /exited with 139 and left no whole report/,
  ],
  "a test that ends the runner as if all were well": [
    { report: undefined },
    { passed: 0, skipped: 0 },
    /exited with 0 and left no whole report/,
  ],
  "a report cut off": [{ report: report("", "", "").slice(0, -20) }, { passed: 0, skipped: 0 }, /no whole report/],
  "a report without counts": [{ report: "<testsuites></testsuites>" }, { passed: 0, skipped: 0 }, /no whole report/],
  "a report of impossible counts": [
    { report: reportOf('tests="1" failures="1" skipped="1"', testCase("a", "")) },
    { passed: 0, skipped: 0 },
    /no whole report/,
  ],
  "the time was up": [{ exitCode: undefined, report: undefined }, { passed: 0, skipped: 0 }, /was ended/],
  "the time was up after the report": [{ exitCode: undefined }, { passed: 2, skipped: 1 }, /was ended/],
  "a file that did not load": [
    { exitCode: 1, report: reportOf('tests="0" failures="0" skipped="0"') },
    { passed: 0, skipped: 0 },
    /^test\/a\.test\.ts did not load/,
  ],
  "no test": [{ report: reportOf('tests="0" failures="0" skipped="0"') }, { passed: 0, skipped: 0 }, /no test/],
  "tests of the other tier are no skipped ones": [
    { namePattern: "test [01]$", report: report("", "<skipped/>", "<skipped/>") },
    { passed: 1, skipped: 1 },
  ],
};

describe("a test run", () => {
  for (const [name, [run, counts, failure]] of Object.entries(CASES)) {
    test(name, () => {
      const failed = failure === undefined ? [] : [expect.stringMatching(failure)];
      expect(judge({ ...passedRun, ...run })).toEqual({ ...counts, failed });
    });
  }

  test("names are read with their groups, whatever characters they hold", () => {
    const inner = `<testsuite name="a &gt; b" line="2">${testCase("&quot;c&quot;", "")}</testsuite>`;
    const outer = `<testsuite name="outer" line="1">${inner}${testCase("d", "<failure/>")}</testsuite>`;
    expect(readCases(reportOf('tests="2" failures="1" skipped="0"', outer))).toEqual([
      { path: ["outer", "a > b", '"c"'], outcome: "passed" },
      { path: ["outer", "d"], outcome: "failed" },
    ]);
  });
});

describe("a tier", () => {
  const sources = new Map([
    ["test/a.test.ts", "test("],
    ["test/b.test.ts", "longTest("],
    ["test/c.long.test.ts", "test("],
    ["test/d.alone.test.ts", "budgetTest("],
    ["test/e.test.ts", 'describeWithServers(isLong ? longGroup("a") : "a"'],
  ]);
  const paths = (tier: Tier, timings = {}) => planTests(sources, tier, timings).map(({ path }) => path.slice(5, 6));

  test("holds each file that has a test of it", () => {
    expect([paths("quick"), paths("long"), paths("all")]).toEqual([
      ["a", "b", "d", "e"],
      ["b", "c", "d", "e"],
      ["a", "b", "c", "d", "e"],
    ]);
  });

  test("runs each test in one of the two", () => {
    const patternOf = (tier: Tier, path: string) =>
      planTests(sources, tier, {}).find((file) => file.path.includes(path))?.namePattern;
    for (const name of ["group a test", "group a test [long]", "group [long] a test"]) {
      const runs = (["quick", "long"] as const).filter((tier) => RegExp(patternOf(tier, "b.test")!).test(name));
      expect(runs).toEqual([name.includes("[long]") ? "long" : "quick"]);
    }
    expect(patternOf("all", "b.test")).toBeUndefined();
    expect(patternOf("long", "c.long")).toBeUndefined();
  });

  test("begins with files of unknown duration, then the slowest", () => {
    const timings = { "test/a.test.ts": 5, "test/b.test.ts": 9, "test/d.alone.test.ts": 7 };
    expect(paths("all", timings)).toEqual(["c", "e", "b", "d", "a"]);
  });

  test("knows by a file's name where it runs", () => {
    const names = ["a.test.ts", "b.alone.test.ts", "c.background.test.ts"];
    const files = planTests(new Map(names.map((name) => [name, "test("])), "quick", { "a.test.ts": 1 });
    const placeOf = (name: string) => files.find(({ path }) => path === name)?.place;
    expect(names.map(placeOf)).toEqual(["lanes", "alone", "background"]);
  });
});

describe("the lanes", () => {
  test("run what only computes beside all others, help each other, and run what runs alone at the end", async () => {
    const running = new Set<string>();
    const beside = new Map<string, string[]>();
    const turns = async () => {
      for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    };
    const job = (name: string, place: Place): Job => ({
      ...{ name, place },
      async run() {
        running.add(name);
        await turns();
        beside.set(name, [...running].sort());
        await turns();
        running.delete(name);
      },
    });
    const jobs = [
      job("e", "alone"),
      job("c", "background"),
      job("a", "lanes"),
      job("b", "lanes"),
      job("d", "background"),
      job("f", "lanes"),
      job("g", "lanes"),
    ];
    await runInLanes(jobs, 1, { started() {}, ended() {} });
    expect([...beside]).toEqual([
      ["a", ["a", "c"]],
      ["c", ["a", "c"]],
      ["b", ["b", "d"]],
      ["d", ["b", "d"]],
      ["f", ["f", "g"]],
      ["g", ["f", "g"]],
      ["e", ["e"]],
    ]);
  });
});

describe("the last line", () => {
  test("has one form; what failed and how many were skipped, if any, is listed above it", () => {
    expect(summary({ passed: 2, failed: [], skipped: 0 })).toBe("2 passed, 0 failed");
    expect(summary({ passed: 2, failed: ["test/a.test.ts: test 1"], skipped: 3 })).toBe(
      "Failed:\n  test/a.test.ts: test 1\n3 SKIPPED, and so neither passed nor failed\n2 passed, 1 failed",
    );
  });

  test("adds up all steps", () => {
    const one = { passed: 1, failed: ["a", "b"], skipped: 3 };
    expect(sum([one, { passed: 1, failed: ["c"], skipped: 0 }])).toEqual({
      passed: 2,
      failed: ["a", "b", "c"],
      skipped: 3,
    });
  });
});
