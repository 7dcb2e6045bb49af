/** A master with replicas, watched by Sentinels, all of which end with the test run. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../../service/wait-for.ts";
import { redisCommand } from "../binaries.ts";
import { ServerProcess, type ServerProgram, startProgram } from "../server-process.ts";
import { type RedisServer, startRedis } from "../servers.ts";
import { askRedis, isMaster, type RedisGroup, replicasAmong, SETTLE_TIMEOUT_MS, untilInSync } from "./group.ts";

const NAME = "hourglass";
const REPLICAS = 2;
const SENTINELS = 3;
const QUORUM = 2;
const DOWN_AFTER_MS = 1_000;
/** Sentinels wait twice as long before they try the same master again. */
const FAILOVER_TIMEOUT_MS = 3_000;
const HELP_AFTER_MS = 20_000;

export async function startRedisSentinels(args: readonly string[] = []): Promise<RedisSentinels> {
  const parts: ServerProcess[] = [];
  try {
    const all = ["--repl-diskless-sync-delay", "0", ...args];
    const servers = await Promise.all(
      Array.from({ length: 1 + REPLICAS }, async () => {
        const server = await startRedis({ args: all });
        parts.push(server);
        return server;
      }),
    );
    const [master, ...replicas] = servers as [RedisServer, ...RedisServer[]];
    for (const replica of replicas) await askRedis(replica, "REPLICAOF", "127.0.0.1", String(master.port));
    await untilInSync(replicas);
    const sentinels: ServerProcess[] = [];
    for (let i = 0; i < SENTINELS; i++) {
      const sentinel = await startProgram((port) => new ServerProcess(sentinelProgram(master.port), port));
      parts.push(sentinel);
      sentinels.push(sentinel);
    }
    const group = new RedisSentinels(servers, sentinels);
    await group.settle();
    return group;
  } catch (error) {
    await Promise.all(parts.map((part) => part.stop()));
    throw error;
  }
}

function sentinelProgram(masterPort: number): ServerProgram {
  return {
    name: "sentinel",
    startTimeoutMs: 30_000,
    prepare: async () => {},
    command: ({ port, folder, dataDir }) => {
      const path = join(folder, "sentinel.conf");
      const lines = [
        ...[`port ${port}`, "bind 127.0.0.1", `dir ${dataDir}`],
        `sentinel monitor ${NAME} 127.0.0.1 ${masterPort} ${QUORUM}`,
        `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
        `sentinel failover-timeout ${NAME} ${FAILOVER_TIMEOUT_MS}`,
        `sentinel parallel-syncs ${NAME} ${REPLICAS}`,
      ];
      // It writes into this file what it finds out.
      writeFileSync(path, `${lines.join("\n")}\n`);
      return [...redisCommand(), path, "--sentinel"];
    },
    isReady: async (place, pid) => String(await askRedis(place, "INFO", "server")).includes(`process_id:${pid}\r\n`),
  };
}

export class RedisSentinels implements RedisGroup {
  readonly servers: readonly RedisServer[];
  readonly sentinels: readonly ServerProcess[];

  constructor(servers: readonly RedisServer[], sentinels: readonly ServerProcess[]) {
    this.servers = servers;
    this.sentinels = sentinels;
  }

  get url(): string {
    return `redis+sentinel://${this.sentinels.map(({ port }) => `127.0.0.1:${port}`).join(",")}/${NAME}`;
  }

  /** According to most Sentinels and to itself. */
  async masterOf(_key: string): Promise<RedisServer> {
    return await waitFor("Sentinels to agree on a master", () => this.#agreedMaster(), {
      timeoutMs: SETTLE_TIMEOUT_MS,
    });
  }

  async #agreedMaster(): Promise<RedisServer | undefined> {
    const ports = await Promise.all(this.sentinels.map(namedPort));
    const master = this.servers.find(({ port }) => ports.filter((named) => named === port).length >= QUORUM);
    return master !== undefined && (await isMaster(master)) ? master : undefined;
  }

  replicasOf(master: RedisServer): Promise<readonly RedisServer[]> {
    return replicasAmong(this.servers, master);
  }

  async failOver(key: string): Promise<RedisServer> {
    const before = await this.masterOf(key);
    // It is refused while another one is under way, or no replica is good enough yet.
    const begin = () => {
      const asked = () => askRedis(this.sentinels[0]!, "SENTINEL", "FAILOVER", NAME);
      return waitFor("a failover to begin", asked, { timeoutMs: SETTLE_TIMEOUT_MS });
    };
    await begin();
    // One that takes too long is given up by the Sentinel, and as the master is up nobody begins another one.
    const isReplaced = async () => ![undefined, before].includes(await this.#agreedMaster());
    await settled("another master", isReplaced, begin);
    return await this.masterOf(key);
  }

  /** Its command line makes it start as a master: no one asks it, and it is reconfigured at once. */
  async restart(server: RedisServer): Promise<void> {
    await server.start();
    const master = await this.masterOf("");
    if (master !== server) await follow(server, master);
  }

  /** On a busy machine Sentinels may begin a failover meanwhile: then it is the new master that counts. */
  async settle(): Promise<void> {
    while (!(await this.#settleOn(await this.masterOf(""))));
  }

  /** False if there is another master by now. */
  async #settleOn(master: RedisServer): Promise<boolean> {
    const isReplaced = async () => ![undefined, master].includes(await this.#agreedMaster());
    const untilSettled = (what: string, probe: () => Promise<boolean>, help: () => Promise<unknown>) =>
      settled(what, async () => (await isReplaced()) || (await probe()), help);
    const others = this.servers.filter((server) => server !== master);
    const doAllFollow = async () => (await this.replicasOf(master)).length === others.length;
    const tellAll = () => Promise.all(others.map((server) => follow(server, master)));
    await untilSettled("all replicas to follow the master", doAllFollow, tellAll);
    if (await isReplaced()) return false;
    await untilInSync(others);
    for (const sentinel of this.sentinels) {
      const reset = () => askRedis(sentinel, "SENTINEL", "RESET", NAME);
      await untilSettled("a Sentinel to see all others", () => seesAll(sentinel, master), reset);
    }
    return !(await isReplaced());
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, ...this.servers].map((part) => part.stop()));
  }
}

/** On a busy machine Sentinels can stay with what they saw wrongly; then they are helped, as an operator would do. */
async function settled(what: string, probe: () => Promise<boolean>, help: () => Promise<unknown>): Promise<void> {
  try {
    await waitFor(what, probe, { timeoutMs: HELP_AFTER_MS });
  } catch {
    await help();
    await waitFor(what, probe, { timeoutMs: SETTLE_TIMEOUT_MS });
  }
}

async function follow(server: RedisServer, { port }: RedisServer): Promise<void> {
  await askRedis(server, "REPLICAOF", "127.0.0.1", String(port));
}

async function namedPort(sentinel: ServerProcess): Promise<number> {
  const asked = askRedis(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME);
  const [, port] = ((await asked.catch(() => null)) ?? []) as string[];
  return Number(port ?? 0);
}

async function seesAll(sentinel: ServerProcess, master: RedisServer): Promise<boolean> {
  const named = await namedPort(sentinel);
  if (named !== master.port) throw new Error(`it names ${named}, not ${master.port}`);
  const rows = (await askRedis(sentinel, "SENTINEL", "REPLICAS", NAME)) as string[][];
  const replicas = rows.map(fieldsOf);
  const [masterRow] = ((await askRedis(sentinel, "SENTINEL", "MASTERS")) as string[][]).map(fieldsOf);
  const flags = replicas.map((row) => row.get("flags"));
  const others = masterRow?.get("num-other-sentinels");
  const areAllSeen =
    masterRow?.get("flags") === "master" &&
    others === String(SENTINELS - 1) &&
    flags.length === REPLICAS &&
    flags.every((flag) => flag === "slave");
  if (areAllSeen) return true;
  throw new Error(`master ${masterRow?.get("flags")}, ${others} other Sentinels, replicas ${flags.join(" and ")}`);
}

function fieldsOf(row: readonly string[]): Map<string, string> {
  return new Map(Array.from({ length: row.length / 2 }, (_, i) => [row[2 * i]!, row[2 * i + 1]!]));
}
