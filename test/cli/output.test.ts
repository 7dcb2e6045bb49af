/** What commands do when their output cannot be written: a full disk must not look like success. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { postEvent } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { testedProgram } from "../harness/service/program.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

let service: Service;
let settings: Record<string, string>;

beforeAll(async () => {
  service = await startService();
  settings = { DATA_DIR: service.dataDir, PORT: String(service.port), REDIRECT_SECRET: "s".repeat(32) };
  await postEvent(service.port, { at: Date.now(), user: "ann", kind: "click" });
  await waitFor("an hour to verify", async () => (await runCommand(settings, "verify", "--json")).output !== "");
});
afterAll(() => service.stop());

const FULL = '"$@" >/dev/full';
const WITHOUT_READER = 'exec 3> >(:); wait $!; "$@" >&3 3>&-';

/** `script`: of a shell, which redirects the command's standard output. */
async function runInto(script: string, ...args: string[]) {
  const child = Bun.spawn(["bash", "-c", script, "bash", testedProgram(), ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, output, errors };
}

interface ShownKey {
  readonly name: string;
  readonly state: string;
}

async function keys(): Promise<ShownKey[]> {
  const { output } = await runCommand(settings, "keys", "list", "--json");
  return output
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ShownKey);
}

const CREATE = ["keys", "create", "--scope", "read", "--name"];
const COMMANDS = [
  ["verify"],
  ["verify", "--json", "--stream", "default"],
  ["keys", "list"],
  [...CREATE, "text"],
  [...CREATE, "json", "--json"],
  ["dead-letters", "list"],
  ["poison", "list"],
  ["sign-redirect", "https://example.com/"],
  ["migrate"],
  ["healthcheck"],
  ["forget", "--user", "nobody"],
  ["import", "/dev/null"],
  ["--help"],
  ["keys", "--help"],
  ["help", "verify"],
  ["--version"],
];

test("each command exits with 2 and says so once if standard output is full", async () => {
  const full = "hourglass: cannot write to standard output: ENOSPC";
  for (const args of COMMANDS) {
    const { exitCode, errors } = await runInto(FULL, ...args);
    expect({ args, exitCode, times: errors.split(full).length - 1 }).toEqual({ args, exitCode: 2, times: 1 });
  }
});

test("a key that could not be shown is revoked, and named on standard error", async () => {
  for (const [name, script] of Object.entries({ full: FULL, closed: WITHOUT_READER })) {
    const { exitCode, errors } = await runInto(script, ...CREATE, name);
    expect(exitCode).toBe(2);
    expect(errors).toMatch(/The key could not be shown, so it was revoked: [0-9a-f]{16}\n/);
    expect((await keys()).filter((key) => key.name === name)).toMatchObject([{ state: "revoked" }]);
  }
});

test("keys are revoked to the last, whether or not that can be shown", async () => {
  const ids: string[] = [];
  for (const name of ["first", "second"]) {
    const { output } = await runCommand(settings, ...CREATE, name, "--json");
    ids.push((JSON.parse(output) as { id: string }).id);
  }
  expect((await runInto(FULL, "keys", "revoke", ...ids)).exitCode).toBe(2);
  const states = (await keys()).filter(({ name }) => ["first", "second"].includes(name)).map(({ state }) => state);
  expect(states).toEqual(["revoked", "revoked"]);
});

test("a reader that left early is no failure", async () => {
  for (const args of [["verify"], ["keys", "list"], ["dead-letters", "list"], ["--help"]]) {
    expect(await runInto(WITHOUT_READER, ...args)).toMatchObject({ exitCode: 0, errors: "" });
  }
});
