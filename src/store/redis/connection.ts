/**
 * A connection to the one server that holds a data set now: the given server, the cluster's master for the data set's
 * slot, or the master that the Sentinels name.
 *
 * Invariant: it stays with that server and never repeats a command. node-redis' own cluster and Sentinel clients resend
 * commands to a server that has taken over. That server may lack acknowledged data, so RedisLink must compare it before
 * anything is read. Therefore the cluster client is used only to discover the cluster, and Sentinels are asked
 * directly. When the server is gone or says that it is no longer the right one, the owner opens another connection.
 */
import { createClient, createCluster, ErrorReply } from "redis";
import { withDeadline } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import { hostText } from "../../settings/host-list.ts";
import {
  clusterOf,
  describeRedisPlace,
  type RedisClusterPlace,
  type RedisLogin,
  type RedisNode,
  type RedisPlace,
  type RedisSentinelPlace,
  type RedisServerPlace,
} from "../../settings/redis-url.ts";

export type RedisClient = ReturnType<typeof clientTo>;

interface RedisConnectionOptions {
  readonly place: RedisPlace;
  /** Certificates (PEM) of the authority that signed the server's; undefined: those that the runtime trusts. */
  readonly ca?: string | undefined;
  /** A key, or the common prefix of all keys. In a cluster all of them are in the slot of this key. */
  readonly slotKey: string;
  readonly timeoutMs: number;
  /** Called, possibly more than once, when an open connection is lost. */
  readonly onLost: (error: unknown) => void;
}

export interface ReplicaAnswer<T> {
  readonly node: string;
  readonly answer: T;
}

// RESP3 would add push messages and maintenance notifications that nothing here needs. The client's own deadline would
// cost a timer and a listener per command: RedisLink has one for all of them.
const COMMANDS = { disableOfflineQueue: true, commandOptions: { timeout: 0 } };
const COMMON = { RESP: 2, ...COMMANDS } as const;
const REPLICA = /^slave\d+:ip=([^,]+),port=(\d+),state=online/gm;

export class RedisConnection {
  readonly #options: RedisConnectionOptions;
  readonly #parts: { destroy(): unknown }[] = [];
  /** Undefined before it is open and after it is destroyed. */
  client: RedisClient | undefined;
  #clusterNodes: readonly RedisNode[] = [];
  #isDestroyed = false;

  constructor(options: RedisConnectionOptions) {
    this.#options = options;
  }

  /** The nodes of the cluster it found; empty if there is no cluster. */
  get clusterNodes(): readonly RedisNode[] {
    return this.#clusterNodes;
  }

  /** `moreNodes` are nodes of the cluster that the place does not name. */
  async open(moreNodes: readonly RedisNode[]): Promise<void> {
    const { place, onLost } = this.#options;
    const client = await this.#opened(place, moreNodes);
    client.on("error", onLost);
    client.on("end", () => onLost(undefined));
    if (!this.#isDestroyed) this.client = client;
  }

  #opened(place: RedisPlace, moreNodes: readonly RedisNode[]): Promise<RedisClient> {
    if (place.kind === "server") return this.#openServer(place, moreNodes);
    return place.kind === "cluster" ? this.#openMaster(place, moreNodes) : this.#openMonitored(place);
  }

  async #openServer(place: RedisServerPlace, moreNodes: readonly RedisNode[]): Promise<RedisClient> {
    const cluster = clusterOf(place);
    // It was a cluster node the last time. It may be gone while the others are still there.
    if (moreNodes.length > 0 && cluster !== undefined) return await this.#openMaster(cluster, moreNodes);
    // TLS is decided by the URL's protocol, or by having certificates.
    const socket = this.#socketTo(undefined, this.#options.ca !== undefined);
    const client = this.#keep(createClient({ url: place.url, ...COMMON, socket }));
    await this.#inTime(client.connect());
    if (!(await this.#inTime(isClusterNode(client)))) return client;
    client.destroy();
    if (cluster !== undefined) return await this.#openMaster(cluster, moreNodes);
    const example = "redis://host:7000,host:7001";
    throw new Error(
      `${describeRedisPlace(place)} is a node of a cluster: set REDIS_URL to its nodes, such as ${example}`,
    );
  }

  async #openMaster(place: RedisClusterPlace, moreNodes: readonly RedisNode[]): Promise<RedisClient> {
    const { slotKey, timeoutMs } = this.#options;
    const nodes = withoutRepeats([...place.nodes, ...moreNodes]);
    const errors = new Set<string>();
    const cluster = this.#keep(this.#clusterAt(place, nodes));
    cluster.on("error", (error) => errors.add(errorText(error)));
    try {
      await this.#inTime(cluster.connect(), timeoutMs * (nodes.length + 1));
    } catch (error) {
      throw new Error(`no node describes the cluster: ${[...errors, errorText(error)].join(", ")}`);
    }
    this.#clusterNodes = [...cluster.masters, ...cluster.replicas].map(({ host, port }) => ({ host, port }));
    const client: RedisClient = await this.#inTime(cluster.getNodeClientForKey(slotKey));
    await this.#inTime(servesSlot(client, slotKey));
    return client;
  }

  /** Connects only to the node it asks about the cluster, and to the node that a client is requested for. */
  #clusterAt({ login, isTls }: RedisClusterPlace, nodes: readonly RedisNode[]) {
    const { timeoutMs } = this.#options;
    return createCluster({
      RESP: 2,
      // Otherwise a node that accepts connections and does not answer would be waited for without end.
      rootNodes: nodes.map(({ host, port }) => ({ socket: { host, port, socketTimeout: timeoutMs } })),
      defaults: { ...login, ...COMMANDS, socket: this.#socketTo(undefined, isTls) },
      minimizeConnections: true,
      useReplicas: true,
      maxCommandRedirections: 0,
    });
  }

  async #openMonitored(place: RedisSentinelPlace): Promise<RedisClient> {
    const { login, isTls } = place;
    const master = await this.#masterOf(place);
    const client = this.#keep(clientTo(login, this.#socketTo(master, isTls)));
    await this.#inTime(client.connect());
    const [role] = await this.#inTime(client.sendCommand<unknown[]>(["ROLE"]));
    if (role === "master") return client;
    throw new Error(`${hostText(master)}, which Sentinels name as the master, is a ${role}`);
  }

  /** Asks the Sentinels in turn, until one knows the master. */
  async #masterOf({ nodes, name, sentinelLogin, isTls }: RedisSentinelPlace): Promise<RedisNode> {
    const problems: string[] = [];
    for (const node of nodes) {
      const sentinel = this.#keep(clientTo(sentinelLogin, this.#socketTo(node, isTls)));
      try {
        await this.#inTime(sentinel.connect());
        const asked = sentinel.sendCommand<unknown>(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]);
        const answer = await this.#inTime(asked);
        if (Array.isArray(answer)) return { host: String(answer[0]), port: Number(answer[1]) };
        problems.push(`${hostText(node)} knows no master '${name}'`);
      } catch (error) {
        problems.push(`${hostText(node)}: ${errorText(error)}`);
      } finally {
        sentinel.destroy();
      }
    }
    throw new Error(`no Sentinel names a master: ${problems.join(", ")}`);
  }

  /** Asks the replicas that may take its place, as far as they can be reached. */
  async askReplicas<T>(ask: (client: RedisClient) => Promise<T>): Promise<readonly ReplicaAnswer<T>[]> {
    const { place } = this.#options;
    const replication = await this.#inTime(this.client!.info("replication"));
    const { login, isTls } = place.kind === "server" ? (clusterOf(place) ?? NO_LOGIN) : place;
    const answers = Array.from(replication.matchAll(REPLICA), async ([, host, port]) => {
      const node = { host: host!, port: Number(port) };
      const client = this.#keep(clientTo(login, this.#socketTo(node, isTls)));
      try {
        await this.#inTime(client.connect());
        return [{ node: hostText(node), answer: await this.#inTime(ask(client)) }];
      } catch {
        return [];
      } finally {
        client.destroy();
      }
    });
    return (await Promise.all(answers)).flat();
  }

  #socketTo(node: RedisNode | undefined, isTls = false) {
    const { ca, timeoutMs } = this.#options;
    const common = {
      ...{ reconnectStrategy: false as const, connectTimeout: timeoutMs, noDelay: true },
      ...(node !== undefined && { host: node.host, port: node.port }),
    };
    return isTls ? { ...common, tls: true as const, ...(ca !== undefined && { ca }) } : common;
  }

  #inTime<T>(step: Promise<T>, timeoutMs = this.#options.timeoutMs): Promise<T> {
    // It continues after the deadline, and may then fail with no one listening.
    step.catch(() => {});
    const late = () => new Error(`no answer to the handshake within ${timeoutMs} ms`);
    return withDeadline(step, timeoutMs, late);
  }

  /** Destroys the part together with this connection, however far it has got. */
  #keep<P extends { destroy(): unknown; on(event: "error", listener: (error: unknown) => void): unknown }>(part: P): P {
    // A failed step rejects by itself, and an error event without a listener would be thrown.
    part.on("error", () => {});
    if (this.#isDestroyed) throw new Error("closed while it connected");
    this.#parts.push(part);
    return part;
  }

  destroy(): void {
    this.#isDestroyed = true;
    this.client = undefined;
    for (const part of this.#parts.splice(0)) {
      // It throws if the client is closed already, which is fine.
      try {
        part.destroy();
      } catch {}
    }
  }
}

const NO_LOGIN = { login: {}, isTls: false };

type Socket = NonNullable<Parameters<typeof createClient>[0]>["socket"];

function clientTo(login: RedisLogin, socket: NonNullable<Socket>) {
  return createClient({ ...login, ...COMMON, socket });
}

async function isClusterNode(client: RedisClient): Promise<boolean> {
  try {
    return (await client.info("cluster")).includes("cluster_enabled:1");
  } catch (error) {
    // A user without the right to ask gets a clear error where it matters.
    if (error instanceof ErrorReply) return false;
    throw error;
  }
}

/** Throws the node's own error if the slot is not its own or the cluster is down. */
async function servesSlot(client: RedisClient, key: string): Promise<void> {
  try {
    await client.exists(key);
  } catch (error) {
    // ASK: the slot is being moved, and this key is not here. The node still serves the keys that it has.
    if (!(error instanceof ErrorReply && error.message.startsWith("ASK "))) throw error;
  }
}

function withoutRepeats(nodes: readonly RedisNode[]): RedisNode[] {
  return [...new Map(nodes.map((node) => [hostText(node), node])).values()];
}
