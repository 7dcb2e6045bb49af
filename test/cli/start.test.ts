/** How the program starts and ends: signals at any moment, npm in between, proxies, folders without data. */
import { expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT, projectFiles } from "../harness/project/project-files.ts";
import { localImports } from "../harness/project/source-rules.ts";
import { freePort } from "../harness/servers/ports.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { runCommand } from "../harness/service/command.ts";
import { startService } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const SERVICE = [process.execPath, join(PROJECT_ROOT, "src/main.ts")];
const LIGHT_FILES_MAX = 5;
const SIGTERM_BIT = 1n << 14n;

function start(command: readonly string[], settings: Record<string, string>) {
  return Bun.spawn([...command], {
    cwd: PROJECT_ROOT,
    env: { PATH: `${join(PROJECT_ROOT, "node_modules/.bin")}:${process.env["PATH"]}`, ...settings },
    stdio: ["ignore", "ignore", "ignore"],
  });
}

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-start-"));
  try {
    await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("nothing large is loaded before signals have a handler", async () => {
  const files = await projectFiles();
  const loaded = new Set(["src/main.ts"]);
  for (const path of loaded) {
    const source = (await files.get(path)) ?? "";
    const imports = localImports(path, source).filter((target) => !source.includes(`import("./${target.slice(4)}")`));
    for (const target of imports) loaded.add(target);
    expect(source.match(/^import .* from "[^.n]/m)).toBeNull();
  }
  expect(loaded.size).toBeLessThanOrEqual(LIGHT_FILES_MAX);
});

test("SIGTERM ends it at any moment of its start, as a service, and as the first process of a container", async () => {
  const canUnshare = Bun.spawnSync(["unshare", "--pid", "--fork", "true"]).exitCode === 0;
  const asFirst = ["unshare", "--pid", "--fork", "--kill-child=KILL"];
  await withFolder(async (folder) => {
    for (const prefix of canUnshare ? [[], asFirst] : [[]]) {
      for (const moment of ["its handler", "its folder", "its journal"] as const) {
        const data = join(folder, "data");
        const child = start([...prefix, ...SERVICE], { PORT: "0", DATA_DIR: data });
        const pid = await pidOf(child.pid, prefix.length > 0);
        await handlesSigterm(pid);
        const path = {
          "its handler": folder,
          "its folder": data,
          "its journal": join(data, "journal.sqlite"),
        }[moment];
        await waitFor(moment, () => existsSync(path), { timeoutMs: 30_000, intervalMs: 1 });
        process.kill(pid, "SIGTERM");
        expect(await child.exited).toBe(0);
        rmSync(data, { recursive: true, force: true });
      }
    }
  });
});

/** Below unshare, its child. */
async function pidOf(pid: number, isBelow: boolean): Promise<number> {
  if (!isBelow) return pid;
  const children = () => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return Number(await waitFor("the child", children, { intervalMs: 1 }));
}

/** The last of its two lives: the process replaces itself first. */
async function handlesSigterm(pid: number): Promise<void> {
  const isHandled = () => {
    const [, caught = "0"] = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return (BigInt(`0x${caught}`) & SIGTERM_BIT) !== 0n;
  };
  await waitFor("a handler", isHandled, { timeoutMs: 30_000, intervalMs: 1 });
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} to npm start ends the server`, async () => {
    await withFolder(async (folder) => {
      const port = await freePort();
      const npm = start(["npm", "start"], { PORT: String(port), DATA_DIR: folder, HOME: folder });
      const isReady = async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).ok;
      await waitFor("the server", isReady, { timeoutMs: 60_000 });
      npm.kill(signal);
      await npm.exited;
      await waitFor(
        "the port to be free",
        async () =>
          await isReady().then(
            () => false,
            () => true,
          ),
      );
    });
  });
}

test("scripts that run a server take the place of the shell that npm starts", async () => {
  const { scripts } = await Bun.file(join(PROJECT_ROOT, "package.json")).json();
  for (const name of ["start", "dev", "demo"]) expect(scripts[name]).toStartWith("exec bun ");
});

test("commands ask the service of this machine directly, whatever proxy is set", async () => {
  const service = await startService();
  let asked = 0;
  const proxy = Bun.serve({ port: 0, fetch: () => new Response(null, { status: 502 + 0 * ++asked }) });
  const url = `http://127.0.0.1:${proxy.port}`;
  try {
    await withFolder(async (folder) => {
      const file = join(folder, "a.csv");
      writeFileSync(file, `timestamp,user,event\n${Date.now()},ann,click\n`);
      const proxies = { HTTP_PROXY: url, http_proxy: url, HTTPS_PROXY: url, ALL_PROXY: url };
      const settings = { ...proxies, PORT: String(service.port), DATA_DIR: service.dataDir };
      const state = ["--state", join(folder, "state")];
      for (const command of [
        ["healthcheck"],
        ["import", ...state, file],
        ["import", ...state, "--url", `http://localhost:${service.port}`, file],
        ["bench", "--seconds", "1", "--connections", "1"],
        ["forget", "--user", "ann"],
      ]) {
        const { exitCode, errors } = await runCommand(settings, ...command);
        expect({ command, exitCode, errors }).toEqual({ command, exitCode: 0, errors: expect.any(String) });
      }
      expect(asked).toBe(0);
    });
  } finally {
    await proxy.stop(true);
    await service.stop();
  }
});

test("commands that only read say that a folder has no data, and create none", async () => {
  await withFolder(async (folder) => {
    const settings = { DATA_DIR: join(folder, "none") };
    for (const command of [
      ["export"],
      ["verify"],
      ["forget", "--user", "ann"],
      ["keys", "list"],
      ["dead-letters", "list"],
      ["poison", "list"],
    ]) {
      const { exitCode, errors } = await runCommand(settings, ...command);
      expect({ command, exitCode, errors }).toEqual({
        ...{ command, exitCode: 2 },
        errors: expect.stringContaining(`${settings.DATA_DIR} has no Hourglass data`),
      });
    }
    expect(existsSync(settings.DATA_DIR)).toBe(false);
  });
});

test("a folder whose two files do not belong together is refused, and serves again once they do", async () => {
  const service = await startService();
  try {
    const at = Date.now();
    await postEvent(service.port, { at, user: "u", kind: "click" });
    await service.kill("SIGTERM");
    const settings = { DATA_DIR: service.dataDir, PORT: String(await freePort()) };
    const cold = join(service.dataDir, "cold.sqlite");
    renameSync(cold, `${cold}-kept`);
    // The first start makes the file that verify() finds.
    for (const args of [[], ["verify"]]) {
      const { exitCode, errors } = await runCommand(settings, ...args);
      expect(exitCode).toBe(2);
      expect(errors).toContain("journal.sqlite and cold.sqlite in DATA_DIR do not belong together");
      expect(errors).not.toContain("Redis");
      expect(readdirSync(service.dataDir).sort()).toEqual(["cold.sqlite", "cold.sqlite-kept", "journal.sqlite"]);
    }
    renameSync(`${cold}-kept`, cold);
    await service.start();
    expect(await readHour(service.port, at)).toMatchObject({ clicks: 1 });
    // The journal is locked, and the service has compared the two.
    expect(await runCommand(settings, "verify")).toMatchObject({ exitCode: 0, errors: "" });
  } finally {
    await service.stop();
  }
});

for (const older of ["journal.sqlite", "cold.sqlite"]) {
  test(`a ${older} of an earlier time is refused beside the other file, and serves again with its own`, async () => {
    const service = await startService();
    try {
      const path = join(service.dataDir, older);
      const at = Date.now();
      await postEvent(service.port, { at, user: "u", kind: "click" });
      await service.kill("SIGTERM");
      copyFileSync(path, `${path}-backup`);
      await service.start();
      await postEvent(service.port, { at, user: "v", kind: "click" });
      await service.kill("SIGTERM");
      renameSync(path, `${path}-kept`);
      copyFileSync(`${path}-backup`, path);
      const { exitCode, errors } = await runCommand({ DATA_DIR: service.dataDir, PORT: String(await freePort()) });
      expect(exitCode).toBe(2);
      expect(errors).toContain("journal.sqlite and cold.sqlite in DATA_DIR are not of the same time");
      expect(errors).toContain(`${older} is older`);
      expect(readFileSync(path)).toEqual(readFileSync(`${path}-backup`));
      renameSync(`${path}-kept`, path);
      await service.start();
      expect(await readHour(service.port, at)).toMatchObject({ clicks: 2 });
    } finally {
      await service.stop();
    }
  });
}
