/**
 * Lists the names of all tests without running them, to compare them before and after a change.
 *
 *   npm run --silent test:names > before.txt
 *   npm run --silent test:names -- --compare=before.txt
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PROJECT_ROOT, runStep } from "../step.ts";
import { type Job, runInLanes } from "./lanes.ts";
import { readCases } from "./report.ts";

/** Nothing follows the end of a name: all tests are filtered out, and listed in the report all the same. */
const MATCHES_NOTHING = "$nothing";

async function testNames(): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-test-names-"));
  const names: string[] = [];
  const job = (path: string): Job => ({
    name: path,
    place: "lanes",
    run: async () => void names.push(...(await namesIn(path, join(folder, path.replaceAll("/", "_"))))),
  });
  try {
    const paths = Array.from(new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: PROJECT_ROOT }));
    await runInLanes(paths.map(job), availableParallelism(), { started() {}, ended() {} });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return names.sort();
}

async function namesIn(path: string, reportPath: string): Promise<string[]> {
  const reporter = ["--reporter=junit", `--reporter-outfile=${reportPath}`];
  const command = [process.execPath, "--no-env-file", "test", "-t", MATCHES_NOTHING, ...reporter, `./${path}`];
  const outputPath = `${reportPath}.log`;
  await runStep(command, { signal: new AbortController().signal, outputPath });
  const cases = existsSync(reportPath) ? readCases(readFileSync(reportPath, "utf8")) : undefined;
  if (cases === undefined) throw new Error(`${path} did not load:\n${readFileSync(outputPath, "utf8")}`);
  return cases.map((one) => one.path.join(" > ").replaceAll("\n", " "));
}

/** Lines of `these` that `others` lack, each as often as it is missing. */
function without(these: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const name of others) left.set(name, (left.get(name) ?? 0) + 1);
  return these.filter((name) => {
    const count = left.get(name) ?? 0;
    left.set(name, count - 1);
    return count <= 0;
  });
}

const { values } = parseArgs({ options: { compare: { type: "string" } } });
const names = await testNames();
if (values.compare === undefined) {
  console.log(names.join("\n"));
} else {
  const before = readFileSync(values.compare, "utf8").trimEnd().split("\n");
  const [removed, added] = [without(before, names), without(names, before)];
  for (const name of removed) console.log(`- ${name}`);
  for (const name of added) console.log(`+ ${name}`);
  console.log(`${before.length} before, ${names.length} now: ${removed.length} removed, ${added.length} added`);
}
