/**
 * What is compared: ceilings that store nothing, the four approaches that came before, and Hourglass. Each is
 * a process of its own, started in the same way and reached over loopback.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import { MEMORY_SETTINGS } from "../src/cli/serve/allocator.ts";
import { PROJECT_ROOT } from "../test/harness/project/project-files.ts";
import type { ServerKind } from "../test/harness/servers/binaries.ts";
import { type ServerPlace, ServerProcess, startProgram } from "../test/harness/servers/server-process.ts";
import { startService } from "../test/harness/service/service.ts";
import type { Stores } from "./measure/stores.ts";

export interface Candidate {
  /** In `--only`, and in the results. */
  readonly name: string;
  readonly title: string;
  readonly needs: readonly ServerKind[];
  /** False for the ceilings: then there is nothing to lose. */
  readonly storesEvents: boolean;
  /** Latencies are compared with this one's, at the same rate. */
  readonly latencyReference?: string;
  start(stores: Stores, options: StartOptions): Promise<Running>;
}

export interface StartOptions {
  readonly leaseMs: number;
}

export interface Running {
  readonly process: ServerProcess;
  /** Undefined where no event becomes a row after its answer. */
  readonly rows: StoredRows | undefined;
  /** A folder with all its data, if it has one. */
  readonly dataDir: string | undefined;
}

/** The rows that Hourglass writes after the answer. */
export interface StoredRows {
  /** Cheap, however many there are: what the writers' watermarks say. */
  persisted(): Promise<number>;
  /** A scan. */
  counted(): Promise<number>;
  close(): Promise<void>;
}

export const CEILING = "ceiling-async";
export const HOURGLASS = "hourglass";
export const HOURGLASS_EMBEDDED = "hourglass-embedded";
export const HOURGLASS_TWO_WORKERS = "hourglass-2-workers";

export const CANDIDATES: readonly Candidate[] = [
  ceiling(CEILING, "ceiling: Bun.serve, async"),
  ceiling("bare-elysia", "ceiling: Elysia, async"),
  approach("approach-1", "approach-1-rows.ts", "1: a row per request", ["mariadb"]),
  approach("approach-2", "approach-2-aggregates.ts", "2: aggregates in MySQL", ["mariadb"]),
  approach("approach-3", "approach-3-redis-sets.ts", "3: 2 hours in Redis, sets", ["redis", "mariadb"]),
  approach("approach-4", "approach-4-redis-sketches.ts", "4: 24 hours in Redis, sketches", ["redis"]),
  {
    name: HOURGLASS_EMBEDDED,
    title: "Hourglass, embedded",
    needs: [],
    storesEvents: true,
    latencyReference: CEILING,
    start: startEmbedded,
  },
  {
    name: HOURGLASS,
    title: "Hourglass, Redis + MySQL",
    needs: ["redis", "mariadb"],
    storesEvents: true,
    latencyReference: CEILING,
    start: (stores, options) => startClustered(stores, options, {}),
  },
  {
    name: HOURGLASS_TWO_WORKERS,
    title: "Hourglass, Redis + MySQL, 2 workers",
    needs: ["redis", "mariadb"],
    storesEvents: true,
    start: async (stores, options) => {
      checkThatServiceKnows("WORKERS");
      return await startClustered(stores, options, { WORKERS: "2" });
    },
  },
];

export function candidate(name: string): Candidate {
  const found = CANDIDATES.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no candidate '${name}'`);
  return found;
}

function ceiling(name: string, title: string): Candidate {
  const start = async () => running(await startSmallServer(`${name}.ts`, {}));
  return { name, title, needs: [], storesEvents: false, start };
}

function approach(name: string, file: string, title: string, needs: readonly ServerKind[]): Candidate {
  return {
    name,
    title: `approach ${title}`,
    needs,
    storesEvents: true,
    start: async (stores) => running(await startSmallServer(file, urlsOf(stores))),
  };
}

function running(process: ServerProcess): Running {
  return { process, rows: undefined, dataDir: undefined };
}

function urlsOf({ redis, mariaDb }: Stores): Record<string, string> {
  return {
    ...(redis === undefined ? {} : { REDIS_URL: redis.url }),
    ...(mariaDb === undefined ? {} : { MYSQL_URL: mariaDb.url }),
  };
}

function startSmallServer(file: string, urls: Readonly<Record<string, string>>): Promise<ServerProcess> {
  const script = join(import.meta.dir, "approaches", file);
  // What the service sets for itself: what is compared is not how the runtime keeps memory.
  const shared = { ...MEMORY_SETTINGS, ...urls, ...PRODUCTION };
  const settings = ({ port }: ServerPlace) => ({ ...shared, PORT: String(port) });
  const program = {
    name: "bench",
    startTimeoutMs: 60_000,
    prepare: async () => {},
    command: (place: ServerPlace) => [
      ...["env", "-i", ...Object.entries(settings(place)).map(([name, value]) => `${name}=${value}`)],
      ...[process.execPath, script],
    ],
    // What it wrote: another process may have been faster to take the port.
    isReady: async ({ port, folder }: ServerPlace) => {
      return readFileSync(join(folder, "log"), "utf8").includes(`:${port}\n`);
    },
  };
  return startProgram((port) => new ServerProcess(program, port));
}

const PRODUCTION = { NODE_ENV: "production", LOG_LEVEL: "warn" } as const;

async function startEmbedded(_: Stores, { leaseMs }: StartOptions): Promise<Running> {
  const service = await startService({ settings: { ...PRODUCTION, LEASE_MS: String(leaseMs) } });
  const { dataDir } = service;
  return { process: service, rows: sqliteRows(join(dataDir, "cold.sqlite")), dataDir };
}

async function startClustered(
  stores: Stores,
  { leaseMs }: StartOptions,
  settings: Readonly<Record<string, string>>,
): Promise<Running> {
  const all = { ...PRODUCTION, ...urlsOf(stores), LEASE_MS: String(leaseMs), ...settings };
  const service = await startService({ settings: all });
  return { process: service, rows: await mysqlRows(stores.mariaDb!.url), dataDir: undefined };
}

/** It takes no notice of what it does not know, and would run with one worker under the name of two. */
function checkThatServiceKnows(setting: string): void {
  const main = join(PROJECT_ROOT, "src", "main.ts");
  const help = Bun.spawnSync([process.execPath, main, "--help"], { stdin: "ignore" }).stdout.toString();
  if (new RegExp(`^ +${setting} `, "m").test(help)) return;
  throw new Error(`the service has no setting ${setting}: see '${dirname(main)}/main.ts --help'`);
}

const PERSISTED = "SELECT COALESCE(SUM(events), 0) AS n FROM writers";
const COUNTED = "SELECT COUNT(*) AS n FROM events";

async function mysqlRows(url: string): Promise<StoredRows> {
  const connection = await createConnection({ uri: url });
  const number = async (sql: string) => Number((await connection.query<RowDataPacket[]>(sql))[0][0]!["n"]);
  return {
    persisted: () => number(PERSISTED),
    counted: () => number(COUNTED),
    close: () => connection.end(),
  };
}

function sqliteRows(path: string): StoredRows {
  const number = async (sql: string) => {
    const database = new Database(path, { readonly: true, strict: true });
    try {
      return (database.query(sql).get() as { n: number }).n;
    } finally {
      database.close();
    }
  };
  return { persisted: () => number(PERSISTED), counted: () => number(COUNTED), close: async () => {} };
}
