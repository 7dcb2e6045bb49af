/**
 * Counts what `bun test` did from its JUnit report.
 *
 * Invariant: a run counts as passed only if that is proven. The runner exits with 0 when a test file calls
 * `process.exit(0)`, leaves a file that it could not load out of its report, and counts an error between two
 * tests as none: each of these is one failure here.
 */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface TestRun {
  /** Undefined when the runner was ended from outside. */
  readonly exitCode: number | undefined;
  /** The report's text, or undefined when none was written. */
  readonly report: string | undefined;
  /** The files that must have a part in the report. */
  readonly files: readonly string[];
}

export interface Verdict {
  readonly tally: Tally;
  /** What went wrong beside the tests that failed. */
  readonly problems: readonly string[];
}

export function judge(run: TestRun): Verdict {
  const ended = run.exitCode === undefined ? "was ended" : `exited with ${run.exitCode}`;
  const report = readReport(run.report ?? "");
  if (report === undefined) {
    const problem = `the test runner ${ended} and left no whole report`;
    return { tally: { passed: 0, failed: 1, skipped: 0 }, problems: [problem] };
  }
  const { tests, failures, skipped } = report;
  const problems = run.files
    .filter((file) => !report.files.has(file))
    .map((file) => `${file} did not load, or has no test`);
  if (tests === 0 && problems.length === 0) problems.push("no test was run");
  if (run.exitCode !== 0 && failures + problems.length === 0)
    problems.push(`the test runner ${ended} though no test failed: an error outside of the tests`);
  const tally = { passed: tests - failures - skipped, failed: failures + problems.length, skipped };
  return { tally, problems };
}

export function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce((a, b) => ({
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  }));
}

/** The last line is of one form, whatever happened: what was skipped is told above it. */
export function summary({ passed, failed, skipped }: Tally): string {
  const line = `${passed} passed, ${failed} failed`;
  return skipped === 0 ? line : `${skipped} SKIPPED, and so neither passed nor failed\n${line}`;
}

interface Report {
  readonly tests: number;
  readonly failures: number;
  readonly skipped: number;
  readonly files: ReadonlySet<string>;
}

function readReport(xml: string): Report | undefined {
  const root = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (root === undefined || !xml.trimEnd().endsWith("</testsuites>")) return undefined;
  const [tests, failures, skipped] = [count(root, "tests"), count(root, "failures"), count(root, "skipped")];
  if (tests === undefined || failures === undefined || skipped === undefined) return undefined;
  if (failures + skipped > tests) return undefined;
  const files = new Set(Array.from(xml.matchAll(/<testsuite\b[^>]*? file="([^"]*)"/g), (found) => found[1]!));
  return { tests, failures, skipped, files };
}

function count(element: string, attribute: string): number | undefined {
  const text = new RegExp(` ${attribute}="(\\d+)"`).exec(element)?.[1];
  return text === undefined ? undefined : Number(text);
}
