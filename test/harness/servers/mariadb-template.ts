/**
 * Making a new data folder takes MariaDB about a second on a slow disk: it is made once per server version
 * and user, kept in the system's temporary folder, and copied.
 */
import { lstatSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { binary } from "./binaries.ts";

const COMMAND_TIMEOUT_MS = 120_000;

/** Copies a fresh data folder to `dataDir`, which is empty. */
export async function copyFreshDataFolder(dataDir: string): Promise<void> {
  const template = await mariaDbTemplate();
  await run(["cp", "-a", ...reflink(), `${template}/.`, dataDir]);
}

/** MariaDB refuses to run as root unless it is told to. */
export function userArgument(): string[] {
  return userInfo().uid === 0 ? ["--user=root"] : [];
}

async function mariaDbTemplate(): Promise<string> {
  const { uid } = userInfo();
  const version = await run([binary("mariadbd"), "--version"]);
  const key = Bun.hash(`${binary("mariadbd")} ${version}`).toString(36);
  const template = join(tmpdir(), `hourglass-mariadb-template-${uid}-${key}`);
  if (!isOwnFolder(template, uid)) await buildTemplate(template);
  return template;
}

/** Anyone may create that name in a shared temporary folder: only one's own folder is trusted. */
function isOwnFolder(path: string, uid: number): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (found.isDirectory() && found.uid === uid) return true;
  throw new Error(`${path} is not a folder of this user: delete it, or set TMPDIR to a private folder`);
}

/** Built aside and renamed: another process sees the whole folder or none, and the first one stays. */
async function buildTemplate(template: string): Promise<void> {
  const aside = mkdtempSync(`${template}-building-`);
  try {
    await run([
      binary("mariadb-install-db"),
      "--no-defaults",
      `--datadir=${join(aside, "data")}`,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      "--skip-name-resolve",
      ...userArgument(),
    ]);
    renameSync(join(aside, "data"), template);
  } catch (error) {
    if (!isOwnFolder(template, userInfo().uid)) throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function reflink(): string[] {
  return process.platform === "linux" ? ["--reflink=auto"] : [];
}

async function run(command: string[]): Promise<string> {
  const child = Bun.spawn(command, {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: COMMAND_TIMEOUT_MS,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`'${command.join(" ")}' failed (${code}):\n${stdout}${stderr}`);
  return stdout;
}
