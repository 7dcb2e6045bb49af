/** The supervisor of workers stops at any moment. Its workers here are shell scripts. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Supervisor } from "../../src/cli/serve/workers.ts";
import { withDeadline } from "../../src/runtime/clock.ts";
import { RecordedLog } from "../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const DEADLINE_MS = 60_000;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-supervisor-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function supervisorOf(script: string, workers = 2): { supervisor: Supervisor; log: RecordedLog } {
  const log = new RecordedLog();
  const command = ["sh", "-c", script, "sh", folder];
  const environment = { PATH: process.env["PATH"] };
  return { log, supervisor: new Supervisor({ workers, log, command, environment, onListening: () => {} }) };
}

const inTime = (code: Promise<number>) => withDeadline(code, DEADLINE_MS, () => new Error("it runs on"));

test("starts no worker if it is stopped before", async () => {
  const { supervisor } = supervisorOf(`echo > "$1/started"`);
  supervisor.stop();
  expect(await inTime(supervisor.run())).toBe(0);
  expect(existsSync(join(folder, "started"))).toBe(false);
});

test("stops workers that lose the first signal", async () => {
  const loseOne = `trap 'trap - TERM' TERM; echo $$ > "$1/$HOURGLASS_WORKER"; while :; do sleep 0.1; done`;
  const { supervisor } = supervisorOf(loseOne);
  const pids = () => [0, 1].map((worker) => Number(readFileSync(join(folder, String(worker)), "utf8")));
  const code = supervisor.run();
  const workers = await waitFor("both workers", () => pids().every(Boolean) && pids());
  try {
    supervisor.stop();
    expect(await inTime(code)).toBe(0);
  } finally {
    for (const pid of workers.filter((each) => existsSync(`/proc/${each}`))) process.kill(pid, "SIGKILL");
  }
});

test("starts no other worker if it is stopped after one ended", async () => {
  const { supervisor, log } = supervisorOf("exit 1", 1);
  const code = supervisor.run();
  await waitFor("the end of a worker", () => log.has("a worker ended, starting another"), { intervalMs: 1 });
  supervisor.stop();
  expect(await inTime(code)).toBe(0);
});
