/**
 * `npm test`: types, lint and format, and all quick tests, in several lanes, on the servers that they need.
 * `npm run test:all` runs the long tests as well, `npm run test:long` only those.
 *
 *   npm test [-- --yes] [--lanes=4] [--record] [part of a path …]
 *
 * The last line of the output is always `N passed, N failed`.
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ALL_KINDS, SERVER_KINDS } from "../../test/harness/servers/binaries.ts";
import { PROJECT_ROOT, runStep } from "../step.ts";
import { engineRuns, provideEngines } from "./engines.ts";
import { provideServers } from "./install-servers.ts";
import { type Job, runInLanes } from "./lanes.ts";
import { planTests, type TestFile, type Tier, type Timings } from "./plan.ts";
import { ConsoleProgress } from "./progress.ts";
import { judge, NOTHING, sum, summary, type Tally } from "./report.ts";

interface Options {
  readonly tier: Tier;
  readonly lanes: number;
  /** Installs what is missing without asking. */
  readonly mayInstall: boolean;
  /** Writes how long each file took into timings.json. */
  readonly records: boolean;
  /** A file with the tally of an earlier command, which is added to this one's. */
  readonly tallyPath: string | undefined;
  /** Only files whose paths contain one of these; none: all. */
  readonly only: readonly string[];
}

const MINUTE_MS = 60_000;
const TIME_LIMITS: Readonly<Record<Tier, { wholeMs: number; fileMs: number }>> = {
  quick: { wholeMs: 45 * MINUTE_MS, fileMs: 20 * MINUTE_MS },
  long: { wholeMs: 60 * MINUTE_MS, fileMs: 25 * MINUTE_MS },
  all: { wholeMs: 60 * MINUTE_MS, fileMs: 25 * MINUTE_MS },
};
/** Files wait more than they work, so a core bears several. */
const LANES_PER_CORE = 2;
/** Linux may schedule per session, and each command is a session: then `nice` alone changes nothing. */
const YIELD = '{ echo 10 > /proc/self/autogroup; } 2>/dev/null; exec nice -n 10 "$@"';
const LOW_PRIORITY = ["sh", "-c", YIELD, "sh"];
const BIN = join(PROJECT_ROOT, "node_modules", ".bin");
const TIMINGS = join(import.meta.dir, "timings.json");
/** Data in memory, where there is room: a disk's fsync is most of what the tests would wait for. */
const MEMORY_DISK = "/dev/shm";
const MEMORY_NEEDED_BYTES = 3_000_000_000;

function readOptions(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      tier: { type: "string", default: "quick" },
      lanes: { type: "string", default: `${LANES_PER_CORE * availableParallelism()}` },
      yes: { type: "boolean", default: false },
      record: { type: "boolean", default: false },
      tally: { type: "string" },
    },
  });
  const { tier } = values;
  if (tier !== "quick" && tier !== "long" && tier !== "all")
    throw new Error(`--tier=${tier}: expected quick, long or all`);
  const lanes = Number(values.lanes);
  if (!(Number.isInteger(lanes) && lanes > 0)) throw new Error(`--lanes=${values.lanes}: expected 1 or more`);
  return {
    ...{ tier, lanes, mayInstall: values.yes, records: values.record },
    ...{ tallyPath: values.tally, only: positionals },
  };
}

async function main(options: Options): Promise<Tally> {
  const signal = stopSignal(TIME_LIMITS[options.tier].wholeMs);
  const kinds = options.tier === "quick" ? SERVER_KINDS : ALL_KINDS;
  await provideServers({ kinds, mayInstall: options.mayInstall, signal });
  const folder = mkdtempSync(join(tmpdir(), "hourglass-test-reports-"));
  try {
    return await runAll(options, folder, signal);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    if (signal.aborted) console.error(`\nSTOPPED: ${signal.reason}`);
  }
}

async function runAll(options: Options, folder: string, signal: AbortSignal): Promise<Tally> {
  const tallies = new Map<string, Tally>();
  const note = (name: string, tally: Tally) => void tallies.set(name, tally);
  const timings = readTimings();
  const sources = await readTestFiles(options.only);
  const again = options.tier === "quick" ? [] : engineRuns(sources.keys());
  const files = planTests(sources, options.tier, timings);
  if (again.length > 0 && (await provideEngines(signal))) files.unshift(...again);
  if (files.length === 0) throw new Error(`no test file for ${options.only.join(" ") || options.tier}`);
  const checks = options.only.length === 0 && options.tier !== "long" ? checkJobs(folder, signal, note) : [];
  const environment = testEnvironment();
  const jobs = [...checks, ...files.map((file) => testJob(file, { ...options, folder, signal, environment, note }))];
  console.log(`${files.length} test files, ${options.lanes} at a time, data in ${environment["TMPDIR"]}\n`);
  const progress = new ConsoleProgress(jobs.length, ({ name }) => tallies.get(name));
  await runInLanes(jobs, options.lanes, progress);
  progress.close();
  if (options.records) writeTimings({ ...timings, ...Object.fromEntries(progress.seconds) });
  return sum([...tallies.values()]);
}

/** Aborted when the time is up, or when somebody wants this to end. */
function stopSignal(timeLimitMs: number): AbortSignal {
  const controller = new AbortController();
  const timeLimit = setTimeout(() => {
    controller.abort(`not finished within ${timeLimitMs / MINUTE_MS} minutes`);
  }, timeLimitMs);
  timeLimit.unref();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => controller.abort(name));
  }
  return controller.signal;
}

async function readTestFiles(only: readonly string[]): Promise<Map<string, string>> {
  const paths = Array.from(new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: PROJECT_ROOT })).sort();
  const meant = paths.filter((path) => only.length === 0 || only.some((part) => path.includes(part)));
  const read = async (path: string) => [path, await Bun.file(join(PROJECT_ROOT, path)).text()] as const;
  return new Map(await Promise.all(meant.map(read)));
}

type Note = (name: string, tally: Tally) => void;

/** A check is one passed or one failed in the sum. */
function checkJobs(folder: string, signal: AbortSignal, note: Note): Job[] {
  const check = (name: string, [program, ...args]: readonly [string, ...string[]]): Job => ({
    name,
    place: "background",
    async run() {
      const outputPath = join(folder, name);
      const passed = (await runStep([...LOW_PRIORITY, join(BIN, program), ...args], { signal, outputPath })) === 0;
      if (!passed) console.error(`\n(fail) ${name}: ${[program, ...args].join(" ")}\n${readText(outputPath)}`);
      note(name, passed ? { ...NOTHING, passed: 1 } : { ...NOTHING, failed: [name] });
    },
  });
  // Several threads of the compiler take twice the CPU time in sum, which the tests beside it have use for.
  const types = check("types", ["tsc", "--noEmit", "--singleThreaded"]);
  return [types, check("lint", ["biome", "ci", "--colors=off", "."])];
}

/** Bun collects garbage after each 16 MB otherwise: that takes a sixth of the CPU time of the simulation's seeds. */
const LARGE_HEAP = { BUN_JSC_largeHeapSize: "134217728" };

interface TestContext {
  readonly tier: Tier;
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly environment: Record<string, string | undefined>;
  readonly note: Note;
}

function testJob({ path, place, namePattern, engine }: TestFile, context: TestContext): Job {
  const { tier, folder, note } = context;
  const heap = place === "background" ? LARGE_HEAP : {};
  const environment = { ...context.environment, ...heap, ...engine?.environment };
  const title = engine === undefined ? path : `${path} on ${engine.name}`;
  const name = title.replaceAll(/[/ ]/g, "_");
  const [reportPath, outputPath] = [join(folder, `${name}.xml`), join(folder, `${name}.log`)];
  const reporter = ["--reporter=junit", `--reporter-outfile=${reportPath}`];
  const filter = namePattern === undefined ? [] : ["-t", namePattern];
  const priority = place === "background" ? LOW_PRIORITY : [];
  const command = [...priority, process.execPath, "--no-env-file", "test", ...reporter, ...filter, `./${path}`];
  return {
    name: title,
    place,
    async run() {
      const signal = AbortSignal.any([context.signal, AbortSignal.timeout(TIME_LIMITS[tier].fileMs)]);
      const exitCode = await runStep(command, { signal, env: environment, outputPath });
      const report = existsSync(reportPath) ? readText(reportPath) : undefined;
      const tally = judge({ file: title, exitCode, report, namePattern });
      note(title, tally);
      if (tally.failed.length > 0) console.error(`\n${readText(outputPath)}`);
    },
  };
}

function readText(path: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

function testEnvironment(): Record<string, string | undefined> {
  const folder = join(MEMORY_DISK, `hourglass-tests-${userInfo().uid}`);
  if (process.env["TMPDIR"] !== undefined || !existsSync(MEMORY_DISK)) return { ...process.env, TMPDIR: tmpdir() };
  const { bavail, bsize } = statfsSync(MEMORY_DISK);
  if (bavail * bsize < MEMORY_NEEDED_BYTES) return { ...process.env, TMPDIR: tmpdir() };
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return { ...process.env, TMPDIR: folder };
}

function readTimings(): Timings {
  return existsSync(TIMINGS) ? (JSON.parse(readFileSync(TIMINGS, "utf8")) as Timings) : {};
}

function writeTimings(timings: Timings): void {
  const known = Object.entries(timings).filter(([path]) => existsSync(join(PROJECT_ROOT, path)));
  const rounded = known.sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, s]) => [path, Math.ceil(s)]);
  writeFileSync(TIMINGS, `${JSON.stringify(Object.fromEntries(rounded), undefined, 2)}\n`);
}

/** Adds what an earlier command counted, and leaves the sum for a later one. */
function withEarlier(tally: Tally, path: string | undefined): Tally {
  if (path === undefined) return tally;
  const earlier = readText(path).trim().split("\n").filter(Boolean);
  appendFileSync(path, `${JSON.stringify(tally)}\n`);
  return sum([tally, ...earlier.map((line) => JSON.parse(line) as Tally)]);
}

const options = readOptions(process.argv.slice(2));
const tally = await main(options).catch((error: unknown): Tally => {
  console.error(error);
  return { ...NOTHING, failed: ["the command itself"] };
});
console.log(`\n${summary(withEarlier(tally, options.tallyPath))}`);
process.exit(tally.failed.length === 0 ? 0 : 1);
