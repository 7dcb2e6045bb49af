/**
 * Counts the results of `bun test` for one file from its JUnit report.
 *
 * Invariant: a file counts as passed only if that is proven. The runner exits with 0 when a test file calls
 * `process.exit(0)`, omits a file that it could not load from its report, and does not count an error between two
 * tests: each of these is one failure here.
 */
export interface Tally {
  readonly passed: number;
  /** The failures, a line each. */
  readonly failed: readonly string[];
  readonly skipped: number;
}

export interface FileRun {
  readonly file: string;
  /** Undefined when the runner was ended from outside. */
  readonly exitCode: number | undefined;
  /** The report's text, or undefined when none was written. */
  readonly report: string | undefined;
  /** Which tests were to run, by their full names; undefined: all of them. */
  readonly namePattern: string | undefined;
}

export const NOTHING: Tally = { passed: 0, failed: [], skipped: 0 };

export function judge({ file, exitCode, report, namePattern }: FileRun): Tally {
  const ended = exitCode === undefined ? "was ended" : `exited with ${exitCode}`;
  const cases = readCases(report ?? "");
  if (cases === undefined)
    return { ...NOTHING, failed: [`${file}: the test runner ${ended} and left no whole report`] };
  const meant = namePattern === undefined ? undefined : new RegExp(namePattern);
  const own = cases.filter((one) => meant?.test(fullName(one)) ?? true);
  const [passed, failedTests, skipped] = OUTCOMES.map((outcome) => own.filter((one) => one.outcome === outcome));
  const failed = failedTests!.map(({ path }) => `${file}: ${path.join(" > ")}`);
  if (own.length === 0) failed.push(`${file} did not load, or has no test`);
  else if (exitCode !== 0 && failed.length === 0)
    failed.push(`${file}: the test runner ${ended} though no test failed: an error outside of the tests`);
  return { passed: passed!.length, failed, skipped: skipped!.length };
}

const OUTCOMES = ["passed", "failed", "skipped"] as const;

export function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce(
    (a, b) => ({
      passed: a.passed + b.passed,
      failed: [...a.failed, ...b.failed],
      skipped: a.skipped + b.skipped,
    }),
    NOTHING,
  );
}

/** The last line always has one form; those above it name what failed, and say how many tests were skipped. */
export function summary({ passed, failed, skipped }: Tally): string {
  const lines = failed.length === 0 ? [] : ["Failed:", ...failed.map((name) => `  ${name}`)];
  if (skipped > 0) lines.push(`${skipped} SKIPPED, and so neither passed nor failed`);
  return [...lines, `${passed} passed, ${failed.length} failed`].join("\n");
}

export interface TestCase {
  /** Its groups and its own name, from the outside in. */
  readonly path: readonly string[];
  readonly outcome: "passed" | "failed" | "skipped";
}

/** Undefined if the report is cut off, or contradicts itself. */
export function readCases(xml: string): TestCase[] | undefined {
  const root = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (root === undefined || !xml.trimEnd().endsWith("</testsuites>")) return undefined;
  const cases: TestCase[] = [];
  const groups: (string | undefined)[] = [];
  for (const [, openedSuite, testCase, result] of xml.matchAll(TAG)) {
    if (openedSuite !== undefined) groups.push(groupName(openedSuite));
    else if (testCase !== undefined) cases.push({ path: pathOf(groups, testCase), outcome: "passed" });
    else if (result === undefined) groups.pop();
    else cases.push({ path: cases.pop()?.path ?? [], outcome: result === "failure" ? "failed" : "skipped" });
  }
  const count = (outcome: TestCase["outcome"]) => cases.filter((one) => one.outcome === outcome).length;
  const isWhole =
    attribute(root, "tests") === `${cases.length}` &&
    attribute(root, "failures") === `${count("failed")}` &&
    attribute(root, "skipped") === `${count("skipped")}`;
  return isWhole ? cases : undefined;
}

/** A suite or a test that is opened, what came of a test, or the end of a suite. */
const TAG = /<testsuite( (?:[^>"]|"[^"]*")*)>|<testcase( (?:[^>"]|"[^"]*")*)>|<(failure|skipped)\b|<\/testsuite>/g;

/** A file is a suite without a line, and no group. */
function groupName(attributes: string): string | undefined {
  return attribute(attributes, "line") === undefined ? undefined : attribute(attributes, "name");
}

function pathOf(groups: readonly (string | undefined)[], attributes: string): string[] {
  return [...groups, attribute(attributes, "name")].filter((name) => name !== undefined);
}

function attribute(element: string, name: string): string | undefined {
  const text = new RegExp(` ${name}="([^"]*)"`).exec(element)?.[1];
  return text?.replace(/&(lt|gt|quot|apos|amp|#10);/g, (_, entity: string) => ENTITIES[entity]!);
}

const ENTITIES: Readonly<Record<string, string>> = {
  ...{ lt: "<", gt: ">", quot: '"', apos: "'", amp: "&", "#10": "\n" },
};

/** The name that `bun test -t` matches. */
export function fullName({ path }: TestCase): string {
  return path.join(" ");
}
