/**
 * Runs MariaDB, or the MySQL that replaces it, on a fresh data folder. Making one takes seconds, so it is made once per
 * server version and user, stored in the system's temporary folder, and copied.
 */
import { lstatSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { newerServer } from "../debian/newer-servers.ts";
import { run } from "../debian/run.ts";
import { binary } from "./binaries.ts";

/** Whose `cp` has more options. */
const isLinux = process.platform === "linux";

/** The server's program and what it needs to run at all; its other arguments follow. */
export function sqlServerCommand(): readonly string[] {
  const newer = newerServer("mariadb");
  if (newer === undefined) return [binary("mariadbd"), "--no-defaults", ...userArgument()];
  // It looks for its files where Debian would have installed them.
  const places = [`--basedir=${newer.root}/usr`, `--lc-messages-dir=${newer.root}/usr/share/mysql`];
  const off = ["--mysqlx=OFF", "--secure-file-priv="];
  return [...newer.command, "--no-defaults", ...userArgument(), ...places, ...off];
}

/** Copies a fresh data folder to `dataDir`, which is empty. */
export async function copyFreshDataFolder(dataDir: string): Promise<void> {
  const command = sqlServerCommand();
  const program = command.join(" ");
  const template = TEMPLATES.get(program) ?? freshDataFolder(command);
  TEMPLATES.set(program, template);
  await run(["cp", "-a", ...(isLinux ? ["--reflink=auto"] : []), `${await template}/.`, dataDir]);
}

/** By program, found once: to ask a server for its version takes as long as a tenth of its start. */
const TEMPLATES = new Map<string, Promise<string>>();

/** They make the server follow the one at `port`. */
export function replicationStatements(port: number): string[] {
  if (newerServer("mariadb") === undefined) {
    const source = `MASTER_HOST = '127.0.0.1', MASTER_PORT = ${port}, MASTER_USER = 'root'`;
    return [`CHANGE MASTER TO ${source}, MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1`, "START SLAVE"];
  }
  const source = `SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${port}, SOURCE_USER = 'root'`;
  return [
    `CHANGE REPLICATION SOURCE TO ${source}, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1`,
    "START REPLICA",
  ];
}

/** Both servers refuse to run as root unless this option is set. */
function userArgument(): string[] {
  return userInfo().uid === 0 ? ["--user=root"] : [];
}

async function freshDataFolder(command: readonly string[]): Promise<string> {
  const { uid } = userInfo();
  const key = Bun.hash(`${command.join(" ")} ${await run([...command, "--version"])}`).toString(36);
  const template = join(tmpdir(), `hourglass-sql-template-${uid}-${key}`);
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

/**
 * Built aside and renamed: another process sees the whole folder or none, and the first one stays. With holes for the
 * nearly 100 MB of zeros in it, so that these are neither copied nor held in memory.
 */
async function buildTemplate(template: string): Promise<void> {
  const aside = mkdtempSync(`${template}-building-`);
  const [data, withHoles] = [join(aside, "data"), join(aside, "with-holes")];
  try {
    await run(newerServer("mariadb") === undefined ? installCommand(data) : initializeCommand(data, aside));
    // The server's own identity: two with the same one refuse to follow each other.
    rmSync(join(data, "auto.cnf"), { force: true });
    await run(["cp", "-a", ...(isLinux ? ["--sparse=always"] : []), data, withHoles]);
    renameSync(withHoles, template);
  } catch (error) {
    if (!isOwnFolder(template, userInfo().uid)) throw error;
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
}

function installCommand(data: string): string[] {
  return [
    binary("mariadb-install-db"),
    "--no-defaults",
    `--datadir=${data}`,
    "--auth-root-authentication-method=normal",
    "--skip-test-db",
    "--skip-name-resolve",
    ...userArgument(),
  ];
}

/** MySQL's root may only come from "localhost", which no address is without the resolution of names. */
function initializeCommand(data: string, aside: string): string[] {
  const initFile = join(aside, "init.sql");
  const create = "CREATE USER root@'127.0.0.1'";
  writeFileSync(initFile, `${create};\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n`);
  return [
    ...sqlServerCommand(),
    `--datadir=${data}`,
    "--initialize-insecure",
    `--init-file=${initFile}`,
    "--innodb-redo-log-capacity=16M",
  ];
}
