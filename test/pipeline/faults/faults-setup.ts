/** Faults of a network, a Redis and a MySQL around the pipeline, set up for tests. */
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "bun:test";
import type { Event } from "../../../src/domain/event.ts";
import {
  ClusterServers,
  type ClusterSite,
  click,
  endKilled,
  hourAt,
  type Instance,
  NOON,
  onMethod,
  STREAM,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { startProxy, type TcpProxy } from "../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../harness/service/wait-for.ts";

/** A refusal is to be out within a second; this machine may be busy. An outcome that is unknown takes 10 s. */
export const PATIENCE_MS = 8_000;
/** Long enough that a busy machine renews it in time. */
export const SHORT_LEASE_MS = 1_000;
/** A user whose commit is found on the wire by this name. */
export const MARK = "the-marked-user";

export const flushesFail = onMethod("cold.flush", async () => {
  throw unavailable("cold");
});

export function named(id: string, user = `user of ${id}`, at = NOON): Event {
  return click(user, at, STREAM, id);
}

export function namedClicks(name: string, count: number): Event[] {
  return Array.from({ length: count }, (_, i) => named(`${name}-${i}`));
}

export async function msOf(work: Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work;
  return performance.now() - startMs;
}

/** Clients that send each event under an id until it is taken, and go on until they are stopped. */
export class Load {
  readonly taken: Event[] = [];
  readonly #clients: Promise<void>[];
  #isOver = false;

  constructor(name: string, ...instances: readonly Instance[]) {
    this.#clients = instances.flatMap((instance, n) =>
      [0, 1, 2].map((client) => this.#run(instance, `${name}-${n}-${client}`)),
    );
  }

  async #run(instance: Instance, name: string): Promise<void> {
    for (let i = 0; !this.#isOver; i++) {
      const event = named(`${name}-${i}`);
      await instance.takeInTheEnd(event);
      this.taken.push(event);
    }
  }

  /** Answers once this many more events have been taken. */
  async more(count: number): Promise<void> {
    const goal = this.taken.length + count;
    await waitFor(`${count} more events to be taken`, () => this.taken.length >= goal);
  }

  async end(): Promise<Event[]> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    return this.taken;
  }
}

/** Reads an hour again and again; an answer that lacks an event, and does not say so, is kept. */
export class Watch {
  readonly wrong: string[] = [];
  degraded = 0;
  complete = 0;
  #isOver = false;
  readonly #reading: Promise<void>;

  constructor(instance: Instance, load: Load) {
    this.#reading = this.#run(instance, load);
  }

  async #run(instance: Instance, load: Load): Promise<void> {
    while (!this.#isOver) {
      const least = load.taken.length;
      const answer = await instance.read(hourAt(NOON)).catch(() => undefined);
      if (answer === undefined || answer.isDegraded) this.degraded += 1;
      else this.complete += 1;
      if (answer?.isDegraded === false && answer.clicks < least) this.wrong.push(`${answer.clicks} of ${least}`);
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#reading;
  }
}

/** Redis and MariaDB of one file of tests, and faults on the way to them. */
export class FaultyCluster {
  readonly servers = new ClusterServers();
  readonly proxies: TcpProxy[] = [];
  site!: ClusterSite;

  async proxyTo(port: number): Promise<TcpProxy> {
    const proxy = await startProxy(port);
    this.proxies.push(proxy);
    return proxy;
  }

  async behindRedisProxy(): Promise<TcpProxy> {
    const proxy = await this.proxyTo(this.servers.redis.port);
    this.site.reach({ redisPort: proxy.port });
    return proxy;
  }

  async behindMysqlProxy(): Promise<TcpProxy> {
    const proxy = await this.proxyTo(this.servers.mariaDb.port);
    this.site.reach({ mysqlPort: proxy.port });
    return proxy;
  }

  async takesEvents(a: Instance): Promise<void> {
    await waitFor("events to be taken again", () => a.pipeline.refusal === undefined);
  }

  /** Each of these is known: sent again, it is answered as stored and counts no second time. */
  async expectKnown(a: Instance, events: readonly Event[]): Promise<void> {
    const before = a.pipeline.ledger.duplicates;
    await a.take(...events);
    expect(a.pipeline.ledger.duplicates - before).toBe(events.length);
  }
}

export function describeFaults(body: (cluster: FaultyCluster) => void): void {
  describeWithServers("pipeline: faults", ["redis", "mariadb"], () => {
    const cluster = new FaultyCluster();
    const { servers, proxies } = cluster;

    beforeAll(() => servers.start());
    afterAll(async () => {
      await endKilled();
      await servers.stop();
    });

    beforeEach(async () => {
      cluster.site = await servers.openSite();
    });

    afterEach(async () => {
      await servers.heal();
      for (const proxy of proxies.splice(0)) await proxy.close();
      await cluster.site.close();
    });

    body(cluster);
  });
}
