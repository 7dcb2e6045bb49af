/** Real Redis and MariaDB servers for tests and benchmarks, each with its own port and folder. */
import { describe, test } from "bun:test";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { type Connection, createConnection } from "mysql2/promise";
import { createClient } from "redis";
import { withDeadline } from "../../../src/runtime/clock.ts";
import { presetInMysql } from "../pipeline/test-users.ts";
import { areInstallable, isCi, redisCommand, type ServerKind, standIns, whyServersCannotRun } from "./binaries.ts";
import { type ServerPlace, ServerProcess, type ServerProgram, startProgram } from "./server-process.ts";
import { copyFreshDataFolder, replicationStatements, sqlServerCommand } from "./sql-program.ts";

export interface ServerOptions {
  /** Arguments for the server, after ours: the last one of a name holds. */
  readonly args?: readonly string[];
}

const ANSWER_TIMEOUT_MS = 20_000;

export class RedisServer extends ServerProcess {
  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get socketUrl(): string {
    return `unix://${join(dirname(this.dataDir), SOCKET)}`;
  }

  /** It still runs, without its data. */
  async forgetAll(): Promise<void> {
    const client = createClient({ url: this.url });
    await client.connect();
    await client.flushAll();
    client.destroy();
  }
}

export function startRedis(options: ServerOptions = {}): Promise<RedisServer> {
  const program = redisProgram(options.args ?? []);
  return startProgram((port) => new RedisServer(program, port));
}

/** Beside the data, which tests copy. */
const SOCKET = "redis.sock";

function redisProgram(args: readonly string[]): ServerProgram {
  return {
    name: "redis",
    startTimeoutMs: 90_000,
    prepare: async () => {},
    command: ({ port, folder, dataDir }) => [
      ...[...redisCommand(), "--port", String(port), "--bind", "127.0.0.1", "--dir", dataDir],
      ...["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""],
      ...["--unixsocket", join(folder, SOCKET)],
      ...["--maxmemory-policy", "noeviction", ...args],
    ],
    isReady: async ({ port }, pid) => {
      const answer = await answerOfRedis(port);
      return answer.startsWith("+PONG") && answer.includes(`process_id:${pid}\r\n`);
    },
  };
}

/** The answer to a ping and what the server says of itself: "+PONG" comes only once its data is loaded. */
function answerOfRedis(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1");
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy(new Error("no answer")));
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      answer += chunk;
    });
    socket.on("close", () => resolve(answer));
    socket.write("PING\r\nINFO server\r\nQUIT\r\n");
  });
}

export class MariaDbServer extends ServerProcess {
  #databases = 0;

  get url(): string {
    return this.#urlOf("hourglass");
  }

  #urlOf(database: string): string {
    return `mysql://root@127.0.0.1:${this.port}/${database}`;
  }

  /** The same database on this server. */
  urlLike(url: string): string {
    return this.#urlOf(new URL(url).pathname.slice(1));
  }

  async query<Row>(sql: string): Promise<Row[]> {
    const [rows] = await withMariaDb(this.port, (connection) => connection.query(sql));
    return rows as Row[];
  }

  /** Creates an empty database, and answers its URL. */
  async createDatabase(name = `test_${++this.#databases}`): Promise<string> {
    await this.query(`CREATE DATABASE \`${name}\``);
    for (const statement of presetInMysql(name)) await this.query(statement);
    return this.#urlOf(name);
  }
}

/** For a server with replicas. */
export const FOLLOWED: ServerOptions = { args: ["--server-id=1", "--log-bin=log", "--binlog-format=ROW"] };

/** An empty server that follows another, from that one's first change on. */
export async function startReplica(followed: MariaDbServer): Promise<MariaDbServer> {
  const program = mariaDbProgram(["--server-id=2", "--read-only=1"]);
  const replica = await startProgram((port) => new MariaDbServer(program, port));
  for (const statement of replicationStatements(followed.port)) await replica.query(statement);
  return replica;
}

export async function startMariaDb(options: ServerOptions = {}): Promise<MariaDbServer> {
  const program = mariaDbProgram(options.args ?? []);
  const server = await startProgram((port) => new MariaDbServer(program, port));
  await server.createDatabase("hourglass");
  return server;
}

function mariaDbProgram(args: readonly string[]): ServerProgram {
  return {
    name: "mariadb",
    startTimeoutMs: 90_000,
    prepare: ({ dataDir }) => copyFreshDataFolder(dataDir),
    command: (place) => mariaDbCommand(place, args),
    isReady: async ({ port, dataDir }) => {
      const [rows] = await withMariaDb(port, (connection) => connection.query("SELECT @@datadir AS datadir"));
      return JSON.stringify(rows).includes(`"${dataDir}/"`);
    },
  };
}

function mariaDbCommand({ port, dataDir, folder }: ServerPlace, args: readonly string[]): string[] {
  return [
    ...sqlServerCommand(),
    `--datadir=${dataDir}`,
    `--port=${port}`,
    "--bind-address=127.0.0.1",
    `--socket=${join(folder, "socket")}`,
    `--pid-file=${join(folder, "mariadb.pid")}`,
    "--skip-name-resolve",
    "--skip-log-bin",
    "--innodb-buffer-pool-size=256M",
    "--innodb-flush-log-at-trx-commit=1",
    ...args,
  ];
}

async function withMariaDb<T>(port: number, use: (connection: Connection) => Promise<T>): Promise<T> {
  const connecting = createConnection({
    host: "127.0.0.1",
    port,
    user: "root",
    connectTimeout: ANSWER_TIMEOUT_MS,
  });
  const connection = await connecting;
  try {
    return await withDeadline(use(connection), ANSWER_TIMEOUT_MS, () => new Error("no answer"));
  } finally {
    connection.destroy();
  }
}

/**
 * A group of tests that need these servers. Where one is not installed: fails under CI, since a suite that
 * is not run there is not a suite, unless this machine cannot have it (containers take root and Debian's packages);
 * elsewhere the group is skipped, loudly.
 */
export function describeWithServers(name: string, needs: readonly ServerKind[], body: () => void): void {
  const reason = whyServersCannotRun(needs);
  if (reason === undefined) return void describe([name, ...standIns(needs)].join(", on "), body);
  if (!isCi() || !areInstallable(needs)) {
    console.warn(`\nTESTS SKIPPED: '${name.toUpperCase()}': ${reason}\n`);
    return void describe.skip(name, body);
  }
  describe(name, () => {
    test(`needs ${needs.join(" and ")}`, () => {
      throw new Error(reason);
    });
  });
}
