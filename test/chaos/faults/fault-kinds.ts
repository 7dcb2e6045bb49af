/**
 * The faults that can strike the parts of a site. Each ends by itself and leaves its target as it found it: running,
 * connected, and at full speed.
 */
import { waitFor } from "../../harness/service/wait-for.ts";
import type { ChaosSite, Instance, Link } from "../site/chaos-site.ts";

/** A part that suffers one fault at a time. */
export interface Target {
  readonly name: string;
  readonly kinds: readonly FaultKind[];
}

export interface FaultKind {
  readonly name: string;
  /** How often it is chosen, beside the others. */
  readonly weight: number;
  /** Longest that it is held, if it is not one of the few long ones. */
  readonly holdMs: number;
  /** Longest that one of the few long ones is held. */
  readonly longHoldMs: number;
  inflict(holdMs: number): Promise<void>;
}

/** The part of ServerProcess in use: services and servers alike. */
interface Stoppable {
  kill(signal?: NodeJS.Signals): Promise<void>;
  start(): Promise<void>;
  pause(): void;
  resume(): void;
}

const DELAY_MS = 500;
const ARM_POLL_MS = 5;

export function targetsOf({ instances, servers }: ChaosSite): Target[] {
  const targets = instances.flatMap(({ name, service, links }: Instance) => [
    { name, kinds: processFaults("service", service, 2) },
    ...links.map((link) => ({ name: link.name, kinds: linkFaults(link) })),
  ]);
  if (servers === undefined) return targets;
  const { redis, mariaDb } = servers;
  return [
    ...targets,
    { name: "redis", kinds: processFaults("Redis", redis, 3) },
    { name: "mariadb", kinds: processFaults("MariaDB", mariaDb, 2) },
  ];
}

function processFaults(what: string, process: Stoppable, weight: number): FaultKind[] {
  const downFor = (signal: NodeJS.Signals) => async (holdMs: number) => {
    await process.kill(signal);
    await Bun.sleep(holdMs);
    await process.start();
  };
  return [
    { name: `kill -9 ${what}`, weight, holdMs: 400, longHoldMs: 3_000, inflict: downFor("SIGKILL") },
    { name: `stop ${what}`, weight: weight / 2, holdMs: 200, longHoldMs: 2_000, inflict: downFor("SIGTERM") },
    {
      name: `freeze ${what}`,
      weight,
      holdMs: 1_500,
      longHoldMs: 5_000,
      inflict: async (holdMs) => {
        process.pause();
        await Bun.sleep(holdMs);
        process.resume();
      },
    },
  ];
}

function linkFaults({ to, proxy }: Link): FaultKind[] {
  const common = { weight: 1, holdMs: 500, longHoldMs: 2_500 };
  const kinds: FaultKind[] = [
    { ...common, name: `cut all connections to ${to}`, inflict: async () => proxy.cutAll() },
    {
      ...common,
      name: `cut a connection to ${to} at a request`,
      inflict: (ms) => cutAtChunk("onUpstream", ms),
    },
    {
      ...common,
      name: `cut a connection to ${to} at an answer`,
      inflict: (ms) => cutAtChunk("onDownstream", ms),
    },
    { ...common, name: `drop the answers of ${to}`, inflict: dropAnswers },
    { ...common, name: `delay ${to} by ${DELAY_MS} ms`, inflict: delay },
    { ...common, name: `refuse connections to ${to}`, inflict: refuse },
  ];
  if (to !== "mariadb") return kinds;
  const commit = { ...common, weight: 2 };
  return [
    ...kinds,
    { ...commit, name: "cut before COMMIT", inflict: (ms) => cutAtCommit("before", ms) },
    { ...commit, name: "cut at COMMIT", inflict: (ms) => cutAtCommit("during", ms) },
    { ...commit, name: "cut after COMMIT, before its answer", inflict: (ms) => cutAtCommit("after", ms) },
  ];

  /** The next one in that direction is lost, and its connection with it. */
  async function cutAtChunk(direction: "onUpstream" | "onDownstream", holdMs: number): Promise<void> {
    await armed(holdMs, (done) => {
      proxy[direction] = (_, connection) => {
        proxy[direction] = undefined;
        connection.cut();
        done();
        return false;
      };
    });
    proxy[direction] = undefined;
  }

  async function cutAtCommit(when: "before" | "during" | "after", holdMs: number): Promise<void> {
    await armed(holdMs, (done) => {
      proxy.onUpstream = (chunk, connection) => {
        if (!chunk.includes("COMMIT")) return true;
        proxy.onUpstream = undefined;
        if (when === "after") {
          proxy.onDownstream = (_, answered) => {
            if (answered !== connection) return true;
            proxy.onDownstream = undefined;
            connection.cut();
            done();
            return false;
          };
          return true;
        }
        // "During": whether it still gets there is left to chance.
        if (when === "during") setImmediate(() => connection.cut());
        else connection.cut();
        done();
        return when === "during";
      };
    });
    proxy.onUpstream = undefined;
    proxy.onDownstream = undefined;
  }

  /** Silenced connections stay silent afterwards: the service must give them up by itself. */
  async function dropAnswers(holdMs: number): Promise<void> {
    proxy.dropAnswers();
    await Bun.sleep(holdMs);
    proxy.onDownstream = undefined;
  }

  async function delay(holdMs: number): Promise<void> {
    proxy.delayMs = DELAY_MS;
    await Bun.sleep(DELAY_MS + holdMs);
    proxy.delayMs = 0;
  }

  async function refuse(holdMs: number): Promise<void> {
    proxy.refuse();
    proxy.cutAll();
    await Bun.sleep(holdMs);
    await proxy.accept();
  }
}

/** Until what was armed has struck: a link may be silent, so not for ever. */
async function armed(holdMs: number, arm: (done: () => void) => void): Promise<void> {
  let isDone = false;
  arm(() => {
    isDone = true;
  });
  await waitFor("the fault to strike", () => isDone, {
    timeoutMs: holdMs + 100,
    intervalMs: ARM_POLL_MS,
  }).catch(() => {});
}
