/**
 * The service as users run it: a separate process, from source or from the built binary, which a test may kill, stop
 * and start again on the same port and data. It always ends with the test run.
 */
import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { presetInFolder } from "../pipeline/test-users.ts";
import type { ServerKind } from "../servers/binaries.ts";
import { freePort } from "../servers/ports.ts";
import { type ServerPlace, ServerProcess, type ServerProgram } from "../servers/server-process.ts";
import { type MariaDbServer, type RedisServer, startMariaDb, startRedis } from "../servers/servers.ts";
import { testedProgram } from "./program.ts";
import { type ColdView, mariaDbView, sqliteView } from "./stored.ts";

export interface ServiceOptions {
  /** Settings by their names in the environment. Without REDIS_URL and MYSQL_URL it is embedded. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Path of the program; if it is left out, the one that is compiled for tests. */
  readonly binary?: string | undefined;
  /** It is taken for started once this path is answered with 200. */
  readonly readyPath?: string;
  /** The authority that signed its certificate, if it has one. */
  readonly caFile?: string;
}

const START_TIMEOUT_MS = 90_000;
const ANSWER_TIMEOUT_MS = 5_000;
const PORT_ATTEMPTS = 5;
const PORT_TAKEN = "EADDRINUSE";

// $1: the log, which both outputs are appended to. The rest: the program, which takes the shell's place.
const WITH_LOG = 'log=$1; shift; exec "$@" >>"$log" 2>&1';

/** Waits until it is ready. Stop it when the test is over: that deletes its folder. */
export async function startService(options: ServiceOptions = {}): Promise<Service> {
  for (let attempt = 1; ; attempt++) {
    const service = new Service(await freePort(), options);
    try {
      await service.start();
      return service;
    } catch (error) {
      const isPortTaken = service.log().includes(PORT_TAKEN);
      await service.stop();
      if (!isPortTaken || attempt === PORT_ATTEMPTS) throw error;
    }
  }
}

export class Service extends ServerProcess {
  constructor(port: number, options: ServiceOptions) {
    super(serviceProgram(options), port);
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** All that it wrote, since its first start. */
  log(): string {
    return readLog(dirname(this.dataDir), 0);
  }

  async restart(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.kill(signal);
    await this.start();
  }
}

function serviceProgram({ settings = {}, binary, readyPath = "/readyz", caFile }: ServiceOptions): ServerProgram {
  const program = binary ?? testedProgram();
  let logStart = 0;
  return {
    name: "service",
    mayEndByItself: true,
    startTimeoutMs: START_TIMEOUT_MS,
    prepare: async ({ dataDir }) => presetInFolder(dataDir),
    command: (place) => {
      logStart = logSize(place.folder);
      const log = logPath(place.folder);
      return ["sh", "-c", WITH_LOG, "sh", log, "env", "-i", ...environment(place, settings), program];
    },
    isReady: async ({ port, folder }) => {
      // Only this process' own word: another one may have been faster to take the port.
      if (!readLog(folder, logStart).includes(`:${port}\n`)) return false;
      const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
      if (caFile === undefined) return (await fetch(`http://127.0.0.1:${port}${readyPath}`, { signal })).ok;
      const tls = { ca: readFileSync(caFile, "utf8") };
      return (await fetch(`https://127.0.0.1:${port}${readyPath}`, { signal, tls })).ok;
    },
  };
}

/** Nothing of this process': a setting in the tester's shell must not change what is tested. */
function environment(place: ServerPlace, settings: Readonly<Record<string, string>>): string[] {
  const all = {
    PATH: process.env["PATH"] ?? "",
    PORT: String(place.port),
    DATA_DIR: place.dataDir,
    ...settings,
  };
  return Object.entries(all).map(([name, value]) => `${name}=${value}`);
}

/** The one of ServerProcess, whose errors show its end. */
function logPath(folder: string): string {
  return join(folder, "log");
}

function logSize(folder: string): number {
  return statSync(logPath(folder), { throwIfNoEntry: false })?.size ?? 0;
}

function readLog(folder: string, start: number): string {
  try {
    return readFileSync(logPath(folder)).subarray(start).toString();
  } catch {
    return "";
  }
}

/** Stores, the instances of the service that share them, and a look into the cold one from outside. */
export interface Site {
  /** An instance more; embedded there can be only one. */
  start(settings?: Readonly<Record<string, string>>): Promise<Service>;
  readonly cold: ColdView;
  /** Settings for commands that run beside a service. */
  commandSettings(service: Service): Readonly<Record<string, string>>;
  /** Undefined if it is embedded. */
  readonly servers: { readonly redis: RedisServer; readonly mariaDb: MariaDbServer } | undefined;
  /** Ends all that runs, and deletes all data. */
  close(): Promise<void>;
}

export interface Mode {
  readonly name: "embedded" | "redis+mysql";
  readonly needs: readonly ServerKind[];
  /** `binary`: path of the built program, which instances are of; if it is left out, the source is run. */
  open(binary?: string): Promise<Site>;
}

export const MODES: readonly Mode[] = [{ name: "embedded", needs: [], open: openEmbedded }, shardedMode(1)];

/** Redis and MySQL, with the data divided into so many shards. */
export function shardedMode(shards: number): Mode {
  return {
    name: "redis+mysql",
    needs: ["redis", "mariadb"],
    open: (binary) => openClustered(shards, binary),
  };
}

async function openEmbedded(binary?: string): Promise<Site> {
  let service: Service | undefined;
  return {
    start: async (settings = {}) => {
      if (service !== undefined) throw new Error("the folder has its instance already");
      service = await startService({ settings, binary });
      return service;
    },
    cold: sqliteView(() => join(service!.dataDir, "cold.sqlite")),
    commandSettings: ({ dataDir }) => ({ DATA_DIR: dataDir }),
    servers: undefined,
    close: async () => service?.stop(),
  };
}

async function openClustered(shards: number, binary?: string): Promise<Site> {
  const [redis, mariaDb] = await Promise.all([startRedis(), startMariaDb()]);
  const places = { REDIS_URL: redis.url, MYSQL_URL: mariaDb.url, REDIS_SHARDS: String(shards) };
  const services: Service[] = [];
  return {
    start: async (settings = {}) => {
      const service = await startService({ settings: { ...places, ...settings }, binary });
      services.push(service);
      return service;
    },
    cold: mariaDbView(mariaDb.url),
    commandSettings: () => places,
    servers: { redis, mariaDb },
    close: async () => {
      await Promise.all(services.map((service) => service.stop()));
      await Promise.all([redis.stop(), mariaDb.stop()]);
    },
  };
}
