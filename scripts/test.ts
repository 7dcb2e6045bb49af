/**
 * `npm test`: types, lint and format, and all tests, on the servers that they need. Arguments go on to
 * `bun test`. The last line of the output is `N passed, N failed`, whatever happened before it.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { provideServers } from "./install-servers.ts";
import { PROJECT_ROOT, runStep } from "./step.ts";
import { judge, sum, summary, type Tally } from "./test-report.ts";

const TIME_LIMIT_MINUTES = 60;
/** Of a test that sets none of its own: Bun's 5 s are too few on a machine that is busy with other things. */
const TEST_TIMEOUT_MS = 60_000;
const BIN = join(PROJECT_ROOT, "node_modules", ".bin");

/** What a shell may have set for the service must not steer its tests. */
const SERVICE_SETTINGS = [
  ...["PORT", "HOST", "DATA_DIR", "REDIS_URL", "MYSQL_URL", "LOG_LEVEL", "WORKERS"],
  ...["AMQP_URL", "AMQP_QUEUE"],
];

async function main(testArguments: readonly string[]): Promise<Tally> {
  const signal = stopSignal();
  await provideServers(signal);
  const tallies = [
    await check("types", ["tsc", "--noEmit"], signal),
    await check("lint and format", ["biome", "ci", ...plainOutput(), "."], signal),
    await runTests(testArguments, signal),
  ];
  if (signal.aborted) console.error(`\nSTOPPED: ${signal.reason}`);
  return sum(tallies);
}

/** Biome colours what it writes to a log, too. */
function plainOutput(): string[] {
  return process.stdout.isTTY ? [] : ["--colors=off"];
}

/** Aborted when the time is up, or when somebody wants this to end. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const timeLimit = setTimeout(() => {
    controller.abort(`not finished within ${TIME_LIMIT_MINUTES} minutes`);
  }, TIME_LIMIT_MINUTES * 60_000);
  timeLimit.unref();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, () => controller.abort(name));
  }
  return controller.signal;
}

/** A check is one passed or one failed in the sum. */
async function check(
  name: string,
  [program, ...args]: readonly [string, ...string[]],
  signal: AbortSignal,
): Promise<Tally> {
  console.log(`== ${name}: ${[program, ...args].join(" ")}`);
  const passed = (await runStep([join(BIN, program), ...args], { signal })) === 0;
  console.log(`${passed ? "(pass)" : "(fail)"} ${name}\n`);
  return { passed: passed ? 1 : 0, failed: passed ? 0 : 1, skipped: 0 };
}

async function runTests(testArguments: readonly string[], signal: AbortSignal): Promise<Tally> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-test-report-"));
  const reportPath = join(folder, "report.xml");
  const wholeSuite = testArguments.length === 0;
  try {
    const args = wholeSuite ? ["./test"] : testArguments;
    console.log(`== tests: bun test ${args.join(" ")}`);
    const reporter = ["--reporter=junit", `--reporter-outfile=${reportPath}`];
    const options = [...reporter, `--timeout=${TEST_TIMEOUT_MS}`];
    const command = [process.execPath, "--no-env-file", "test", ...options, ...args];
    const exitCode = await runStep(command, { signal, env: environmentOfTests() });
    const report = (await Bun.file(reportPath).exists()) ? await Bun.file(reportPath).text() : undefined;
    const { tally, problems } = judge({ exitCode, report, files: wholeSuite ? testFiles() : [] });
    for (const problem of problems) console.error(`(fail) ${problem}`);
    return tally;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function environmentOfTests(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !SERVICE_SETTINGS.includes(name)));
}

function testFiles(): string[] {
  return Array.from(new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: PROJECT_ROOT })).sort();
}

const tally = await main(process.argv.slice(2)).catch((error: unknown): Tally => {
  console.error(error);
  return { passed: 0, failed: 1, skipped: 0 };
});
console.log(summary(tally));
process.exit(tally.failed === 0 ? 0 : 1);
