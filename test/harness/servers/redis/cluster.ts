/** A Redis Cluster of masters with a replica each, which ends with the test run. */
import { waitFor } from "../../service/wait-for.ts";
import { freePort } from "../ports.ts";
import { type RedisServer, startRedis } from "../servers.ts";
import {
  askRedis,
  fieldOf,
  infoOf,
  isMaster,
  type RedisGroup,
  replicasAmong,
  SETTLE_TIMEOUT_MS,
  untilInSync,
  withRedis,
} from "./group.ts";

export interface RedisClusterOptions {
  readonly masters?: number;
  readonly replicasPerMaster?: number;
  /** Without an answer for so long, a node is taken for dead. */
  readonly nodeTimeoutMs?: number;
  readonly args?: readonly string[];
}

export interface SlotMove {
  readonly onStep?: (moved: number) => Promise<void>;
  /** The order in which some of its keys are moved. */
  readonly order?: (keys: readonly string[]) => readonly string[];
}

const SLOTS = 16_384;
const DEFAULT_NODE_TIMEOUT_MS = 1_500;
/** A failover that nobody dies for is given up by Redis after 5 s. */
const FAILOVER_TIMEOUT_MS = 6_000;
const FAILOVER_ATTEMPTS = 4;
const MIGRATE_TIMEOUT_MS = 5_000;
const AT_ONCE = 100;

interface Node {
  readonly server: RedisServer;
  readonly busPort: number;
}

export async function startRedisCluster(options: RedisClusterOptions = {}): Promise<RedisCluster> {
  const { masters = 3, replicasPerMaster = 1, nodeTimeoutMs = DEFAULT_NODE_TIMEOUT_MS, args = [] } = options;
  const count = masters * (1 + replicasPerMaster);
  const starting = Array.from({ length: count }, () => startNode(nodeTimeoutMs, args));
  const started = await Promise.allSettled(starting);
  const nodes = started.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
  const cluster = new RedisCluster(nodes.map(({ server }) => server));
  try {
    await Promise.all(starting);
    await form(nodes, masters);
    await cluster.settle();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}

async function startNode(nodeTimeoutMs: number, args: readonly string[]): Promise<Node> {
  const busPort = await freePort();
  const cluster = ["--cluster-enabled", "yes", "--cluster-port", String(busPort)];
  const timeout = ["--cluster-node-timeout", String(nodeTimeoutMs), "--cluster-replica-validity-factor", "0"];
  const replicas = ["--cluster-allow-replica-migration", "no", "--repl-diskless-sync-delay", "0"];
  return { server: await startRedis({ args: [...cluster, ...timeout, ...replicas, ...args] }), busPort };
}

async function form(nodes: readonly Node[], masters: number): Promise<void> {
  const [first, ...others] = nodes as [Node, ...Node[]];
  for (const [i, { server }] of nodes.entries()) {
    await askRedis(server, "CLUSTER", "SET-CONFIG-EPOCH", String(i + 1));
    if (i >= masters) continue;
    const [from, end] = [i, i + 1].map((n) => Math.floor((n * SLOTS) / masters));
    await askRedis(server, "CLUSTER", "ADDSLOTSRANGE", String(from), String(end! - 1));
  }
  for (const { server, busPort } of others) {
    const address = ["127.0.0.1", String(server.port), String(busPort)];
    await askRedis(first.server, "CLUSTER", "MEET", ...address);
  }
  for (const [i, { server }] of nodes.entries()) {
    await waitFor("all nodes to have met", async () => (await knownNodes(server)) === nodes.length, {
      timeoutMs: SETTLE_TIMEOUT_MS,
    });
    if (i < masters) continue;
    await askRedis(server, "CLUSTER", "REPLICATE", await idOf(nodes[i % masters]!.server));
  }
}

async function clusterField(server: RedisServer, field: string): Promise<string> {
  return fieldOf(await askRedis(server, "CLUSTER", "INFO"), field);
}

async function knownNodes(server: RedisServer): Promise<number> {
  return Number(await clusterField(server, "cluster_known_nodes"));
}

async function idOf(server: RedisServer): Promise<string> {
  return String(await askRedis(server, "CLUSTER", "MYID"));
}

export class RedisCluster implements RedisGroup {
  readonly servers: readonly RedisServer[];

  constructor(servers: readonly RedisServer[]) {
    this.servers = servers;
  }

  get url(): string {
    return `redis://${this.servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  }

  async masterOf(key: string): Promise<RedisServer> {
    return await waitFor(`a master of ${key}`, async () => {
      for (const server of this.servers) if (await this.#owns(server, key).catch(() => false)) return server;
      return undefined;
    });
  }

  /** Asks the server itself. */
  async #owns(server: RedisServer, key: string): Promise<boolean> {
    const slot = Number(await askRedis(server, "CLUSTER", "KEYSLOT", key));
    const ranges = (await askRedis(server, "CLUSTER", "SLOTS")) as [number, number, [string, number]][];
    return ranges.some(([from, to, [, port]]) => from <= slot && slot <= to && port === server.port);
  }

  replicasOf(master: RedisServer): Promise<readonly RedisServer[]> {
    return replicasAmong(this.servers, master);
  }

  async failOver(key: string): Promise<RedisServer> {
    const [replica] = await this.replicasOf(await this.masterOf(key));
    if (replica === undefined) throw new Error("the master has no replica");
    for (let attempt = 1; ; attempt++) {
      try {
        await askRedis(replica, "CLUSTER", "FAILOVER");
        await waitFor("the replica to be the master", () => this.#owns(replica, key), {
          timeoutMs: FAILOVER_TIMEOUT_MS,
        });
        return replica;
      } catch (error) {
        if (attempt === FAILOVER_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Moves the slot of a key to another master, key by key, and answers how many keys there were. `onStep` is called
   * before each key, and once all have moved and the slot has not.
   */
  async moveSlot(key: string, { onStep, order }: SlotMove = {}): Promise<number> {
    const from = await this.masterOf(key);
    const masters = await this.#masters();
    const to = masters.find((server) => server !== from)!;
    const slot = String(await askRedis(from, "CLUSTER", "KEYSLOT", key));
    const toId = await idOf(to);
    await askRedis(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", await idOf(from));
    const moved = await withRedis(from.port, async (ask) => {
      await ask("CLUSTER", "SETSLOT", slot, "MIGRATING", toId);
      for (let count = 0; ; ) {
        const keys = (await ask("CLUSTER", "GETKEYSINSLOT", slot, String(AT_ONCE))) as string[];
        for (const each of order?.(keys) ?? keys) {
          await onStep?.(count);
          const target = ["127.0.0.1", String(to.port), "", "0", String(MIGRATE_TIMEOUT_MS)];
          await ask("MIGRATE", ...target, "KEYS", each);
          count += 1;
        }
        if (keys.length === 0) return count;
      }
    });
    await onStep?.(moved);
    for (const server of [to, from, ...masters]) await askRedis(server, "CLUSTER", "SETSLOT", slot, "NODE", toId);
    return moved;
  }

  async #masters(): Promise<RedisServer[]> {
    const areMasters = await Promise.all(this.servers.map((server) => isMaster(server).catch(() => false)));
    return this.servers.filter((_, i) => areMasters[i]);
  }

  async restart(server: RedisServer): Promise<void> {
    await server.start();
  }

  async settle(): Promise<void> {
    for (const server of this.servers) {
      await waitFor(`the node on port ${server.port} to see all others`, () => this.#isAtPeace(server), {
        timeoutMs: SETTLE_TIMEOUT_MS,
      });
    }
    const replicas: RedisServer[] = [];
    for (const server of this.servers) {
      if ((await infoOf(server, "replication", "role")) === "slave") replicas.push(server);
    }
    await untilInSync(replicas);
  }

  async #isAtPeace(server: RedisServer): Promise<boolean> {
    if ((await clusterField(server, "cluster_state")) !== "ok") return false;
    const nodes = String(await askRedis(server, "CLUSTER", "NODES"))
      .trim()
      .split("\n");
    const isFaulty = (line: string) => /fail|handshake|noaddr/.test(line.split(" ")[2] ?? "");
    return nodes.length === this.servers.length && !nodes.some(isFaulty);
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.stop()));
  }
}
