/**
 * MySQL 9, Redis 8 and Valkey 9, unpacked from Debian's unstable, since no stable release has them. They run with the
 * dynamic loader from the same packages, so they need neither root nor a chroot.
 *
 * TEST_SQL_ENGINE=mysql-9 replaces MariaDB with MySQL in all tests; TEST_REDIS_ENGINE=redis-8 or valkey-9 replaces the
 * installed Redis. `npm run test:long` repeats some tests with them (scripts/test/engines.ts).
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { folderOf, type PackageSet } from "./packages.ts";

const SERVERS = ["mysql-server-core", "mysql-client-core", "redis-server", "valkey-server"];

/** The rest is what containers need beside a server. */
export const NEWER_SERVERS: PackageSet = {
  name: "newer-servers",
  suite: "sid",
  packages: [...SERVERS, "haproxy", "base-files", "dash", "coreutils", "grep"],
};

/** The engines that may stand in for each installed server. */
const ENGINES = {
  mariadb: { setting: "TEST_SQL_ENGINE", programs: { "mysql-9": "usr/sbin/mysqld" } },
  redis: {
    setting: "TEST_REDIS_ENGINE",
    programs: { "redis-8": "usr/bin/redis-server", "valkey-9": "usr/bin/valkey-server" },
  },
} as const;

const LOADERS: Partial<Record<NodeJS.Architecture, { folder: string; loader: string }>> = {
  x64: { folder: "x86_64-linux-gnu", loader: "ld-linux-x86-64.so.2" },
  arm64: { folder: "aarch64-linux-gnu", loader: "ld-linux-aarch64.so.1" },
};

export interface NewerServer {
  /** The value of TEST_…_ENGINE. */
  readonly engine: string;
  /** The program's own version text, such as "MySQL 9.7.4". */
  readonly version: string;
  /** The command without its arguments. */
  readonly command: readonly string[];
  /** The folder of everything unpacked with it. */
  readonly root: string;
}

/** The server that stands in for one of this kind; undefined if that is the installed one. */
export function newerServer(kind: string): NewerServer | undefined {
  const engine = chosenEngine(kind);
  if (engine === undefined) return undefined;
  const root = folderOf(NEWER_SERVERS);
  const reason = whyNewerServerCannotRun(kind);
  if (reason !== undefined) throw new Error(reason);
  const command = commandIn(root, engine.program);
  return { engine: engine.name, version: versionOf(command), command, root };
}

/** Says why the one that was chosen can't run here; undefined if none was chosen. */
export function whyNewerServerCannotRun(kind: string): string | undefined {
  if (chosenEngine(kind) === undefined) return undefined;
  if (LOADERS[process.arch] === undefined) return `no newer servers for ${process.arch}`;
  if (existsSync(folderOf(NEWER_SERVERS))) return undefined;
  return `${folderOf(NEWER_SERVERS)} does not exist: 'npm run test:long' makes it`;
}

function chosenEngine(kind: string): { name: string; program: string } | undefined {
  const place = kind === "mariadb" || kind === "redis" ? ENGINES[kind] : undefined;
  const name = place === undefined ? undefined : process.env[place.setting] || undefined;
  if (place === undefined || name === undefined) return undefined;
  const program = Object.entries(place.programs).find(([known]) => known === name)?.[1];
  if (program === undefined) {
    throw new Error(`${place.setting} is '${name}': expected ${Object.keys(place.programs).join(" or ")}`);
  }
  return { name, program };
}

export function commandIn(root: string, program: string): readonly string[] {
  const { folder, loader } = LOADERS[process.arch]!;
  const libraries = join(root, "usr/lib", folder);
  return [join(libraries, loader), "--library-path", libraries, join(root, program)];
}

/** The versions of all unpacked servers, such as "MySQL 9.7.4". */
export function versionsOfNewerServers(): string[] {
  const programs = Object.values(ENGINES).flatMap((place) => Object.values(place.programs));
  return programs.map((program) => versionOf(commandIn(folderOf(NEWER_SERVERS), program)));
}

const versions = new Map<string, string>();

function versionOf(command: readonly string[]): string {
  const program = command.at(-1)!;
  const known = versions.get(program);
  if (known !== undefined) return known;
  const said = Bun.spawnSync([...command, "--version"], { stdout: "pipe" }).stdout.toString();
  const [, name, number] = /(mysqld|Redis|Valkey).*?(?:Ver |v=)([\d.]+)/.exec(said) ?? [];
  if (number === undefined) throw new Error(`${program} --version said: ${said}`);
  const version = `${name === "mysqld" ? "MySQL" : name} ${number}`;
  versions.set(program, version);
  return version;
}
