/** Redis servers that replace each other: a test's operations on them, whoever decides which is the master. */
import { createClient } from "redis";
import { withDeadline } from "../../../../src/runtime/clock.ts";
import { waitFor } from "../../service/wait-for.ts";
import type { RedisServer } from "../servers.ts";

export interface RedisGroup {
  /** The value for REDIS_URL. */
  readonly url: string;
  readonly servers: readonly RedisServer[];
  /** The server that holds the key now. */
  masterOf(key: string): Promise<RedisServer>;
  replicasOf(master: RedisServer): Promise<readonly RedisServer[]>;
  /** Another server takes the master's place; nobody dies. Answers the one that is the master now. */
  failOver(key: string): Promise<RedisServer>;
  /** Starts a server that was killed, after another one has taken its place. */
  restart(server: RedisServer): Promise<void>;
  /** Waits until all run, agree on who is who, and each replica has what its master had by then. */
  settle(): Promise<void>;
  stop(): Promise<void>;
}

export const SETTLE_TIMEOUT_MS = 60_000;
const ANSWER_TIMEOUT_MS = 5_000;

export type Ask = (...command: string[]) => Promise<unknown>;

/** Several commands over one connection. */
export async function withRedis<T>(port: number, use: (ask: Ask) => Promise<T>): Promise<T> {
  const socket = { reconnectStrategy: false as const, connectTimeout: ANSWER_TIMEOUT_MS };
  const client = createClient({ url: `redis://127.0.0.1:${port}`, RESP: 2, socket });
  client.on("error", () => {});
  const late = () => new Error(`Redis on port ${port} does not answer`);
  const inTime = <A>(step: Promise<A>) => {
    step.catch(() => {});
    return withDeadline(step, ANSWER_TIMEOUT_MS, late);
  };
  try {
    await inTime(client.connect());
    return await use((...command) => inTime(client.sendCommand<unknown>(command)));
  } finally {
    client.destroy();
  }
}

export function askRedis({ port }: { readonly port: number }, ...command: string[]): Promise<unknown> {
  return withRedis(port, (ask) => ask(...command));
}

/** A field of what INFO, or CLUSTER INFO, answers; "" if it is not there. */
export function fieldOf(info: unknown, field: string): string {
  return new RegExp(`^${field}:(.*?)\r?$`, "m").exec(String(info))?.[1] ?? "";
}

export async function infoOf(server: { readonly port: number }, section: string, field: string): Promise<string> {
  return fieldOf(await askRedis(server, "INFO", section), field);
}

export async function isMaster(server: RedisServer): Promise<boolean> {
  return (await infoOf(server, "replication", "role")) === "master";
}

/** The port of its master, if it is a replica. */
export async function masterPortOf(server: RedisServer): Promise<number> {
  return Number((await infoOf(server, "replication", "master_port")) || 0);
}

export async function replicasAmong(
  servers: readonly RedisServer[],
  master: RedisServer,
): Promise<readonly RedisServer[]> {
  const ports = await Promise.all(servers.map((server) => masterPortOf(server).catch(() => 0)));
  return servers.filter((_, i) => ports[i] === master.port);
}

/** Waits until each of them has what its master has by now. */
export async function untilInSync(replicas: readonly RedisServer[]): Promise<void> {
  for (const replica of replicas) {
    const master = { port: await masterPortOf(replica) };
    const goal = Number(await infoOf(master, "replication", "master_repl_offset"));
    await waitFor(
      `the replica on port ${replica.port} to have all that its master has`,
      async () => {
        const isLinked = (await infoOf(replica, "replication", "master_link_status")) === "up";
        return isLinked && Number(await infoOf(replica, "replication", "slave_repl_offset")) >= goal;
      },
      { timeoutMs: SETTLE_TIMEOUT_MS },
    );
  }
}
