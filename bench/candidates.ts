/**
 * The candidates: a server that stores nothing, the four earlier approaches, and Hourglass. Each is a separate process,
 * started the same way and reached over loopback.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createConnection, type RowDataPacket } from "mysql2/promise";
import { STARTUP_ENVIRONMENT } from "../src/cli/serve/startup-environment.ts";
import { errorText } from "../src/runtime/error-text.ts";
import { type ServerKind, whyServersCannotRun } from "../test/harness/servers/binaries.ts";
import { type ServerPlace, ServerProcess, startProgram } from "../test/harness/servers/server-process.ts";
import { startService } from "../test/harness/service/service.ts";
import { type Needs, type Stores, withSqlEngine } from "./measure/stores.ts";

/** Measurements besides the maximum. */
export type Phase = "rates" | "reads" | "growth" | "batches" | "kill";

export interface Candidate extends Needs {
  /** The name in `--only` and in the results. */
  readonly name: string;
  readonly title: string;
  readonly phases: readonly Phase[];
  /** True if the gate is about it. */
  readonly isInGate: boolean;
  /** True: `storedRows` are there before it is measured. */
  readonly hasStoredRows?: boolean;
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

export const BARE = "bare";
export const APPROACH_1 = "approach-1";
export const APPROACH_4 = "approach-4";
export const EMBEDDED = "hourglass-embedded";
export const CLUSTERED = "hourglass";
export const ALWAYS = "hourglass-always";
export const MANY_ROWS = "hourglass-rows";
export const TWO_WORKERS = "hourglass-2-workers";
export const MYSQL_ENGINE = "mysql-9";

export const CANDIDATES: readonly Candidate[] = [
  {
    ...{
      name: BARE,
      title: "Bun.serve that stores nothing",
      needs: [],
      phases: ["rates", "reads"],
      isInGate: true,
    },
    start: async () => running(await startSmallServer("bare.ts", {})),
  },
  approach(APPROACH_1, "approach-1-rows.ts", "1: a MySQL row per request", ["mariadb"]),
  approach("approach-2", "approach-2-aggregates.ts", "2: aggregates in MySQL", ["mariadb"]),
  approach("approach-3", "approach-3-redis-sets.ts", "3: 2 hours in Redis, sets", ["redis", "mariadb"]),
  approach(APPROACH_4, "approach-4-redis-sketches.ts", "4: 24 hours in Redis, sketches", ["redis"]),
  {
    ...{ name: EMBEDDED, title: "Hourglass, embedded", needs: [], isInGate: true },
    phases: ["rates", "reads", "batches", "kill"],
    start: startEmbedded,
  },
  clustered(CLUSTERED, "", {
    phases: ["rates", "reads", "growth", "batches", "kill"],
    isInGate: true,
  }),
  clustered(ALWAYS, ", appendfsync always", {
    phases: ["rates"],
    redisArgs: ["--appendfsync", "always"],
  }),
  clustered("hourglass-mysql", ", MySQL 9", { phases: ["rates", "kill"], sqlEngine: MYSQL_ENGINE }),
  clustered(MANY_ROWS, ", many rows stored before", {
    phases: ["rates"],
    hasStoredRows: true,
  }),
  clustered(TWO_WORKERS, ", 2 workers", { phases: [] }, { WORKERS: "2" }),
];

/** Undefined if it can be. */
export function whyNotMeasurable({ needs, sqlEngine }: Candidate): string | undefined {
  return withSqlEngine(sqlEngine, () => whyServersCannotRun(needs));
}

/** Starts it and ends it, with all its workers. An error of `use` gets the server's state and last output added. */
export async function withCandidate<T>(
  which: Candidate,
  stores: Stores,
  options: StartOptions,
  use: (running: Running) => Promise<T>,
): Promise<T> {
  const running = await which.start(stores, options);
  try {
    return await use(running);
  } catch (error) {
    throw new Error(`${errorText(error)}\n${running.process.describe()}`, { cause: error });
  } finally {
    await running.rows?.close();
    // Told to stop before it is killed: its workers end with it.
    await running.process.kill("SIGTERM").catch(() => {});
    await running.process.stop();
  }
}

export function candidate(name: string): Candidate {
  const found = CANDIDATES.find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no candidate '${name}'`);
  return found;
}

function approach(name: string, file: string, title: string, needs: readonly ServerKind[]): Candidate {
  return {
    ...{ name, title: `approach ${title}`, needs, phases: ["rates", "kill"], isInGate: name === APPROACH_4 },
    start: async (stores) => running(await startSmallServer(file, urlsOf(stores))),
  };
}

function clustered(
  name: string,
  title: string,
  what: Pick<Candidate, "phases"> & Partial<Candidate>,
  settings: Readonly<Record<string, string>> = {},
): Candidate {
  return {
    ...{ name, title: `Hourglass, Redis + MySQL${title}`, needs: ["redis", "mariadb"], isInGate: false },
    start: (stores, options) => startClustered(stores, options, settings),
    ...what,
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
  // As the service sets them for itself: what is compared is not the settings of the runtime.
  const shared = { ...STARTUP_ENVIRONMENT, ...urls, ...PRODUCTION };
  const settings = ({ port }: ServerPlace) => ({ ...shared, PORT: String(port) });
  const program = {
    name: "bench",
    startTimeoutMs: 60_000,
    prepare: async () => {},
    command: (place: ServerPlace) => [
      ...["env", "-i", ...Object.entries(settings(place)).map(([name, value]) => `${name}=${value}`)],
      ...[process.execPath, script],
    ],
    // What it wrote: another process may have been faster to take the port. Started again, it has written it before.
    isReady: async ({ port, folder }: ServerPlace) => {
      const hasStarted = readFileSync(join(folder, "log"), "utf8").includes(`:${port}\n`);
      return hasStarted && (await fetch(`http://127.0.0.1:${port}/`)).status > 0;
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
