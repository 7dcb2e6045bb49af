/**
 * Redis servers that replace each other under load, in a cluster or under Sentinels: the master of the data set is
 * killed, hands over to its replica, or moves its slot to another master key by key. Instances are killed and added. At
 * the end each acknowledged event is one row and one count.
 *
 * A fault begins only when the replicas have everything from before the last one, and every instance commits to the
 * current masters. An acknowledgement does not wait for replication (except with REDIS_WAIT_REPLICAS), so an instance
 * that dies before it has seen a new master may lose what it committed to the old one.
 */
import { hourOf } from "../../../src/domain/event.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { RedisCluster } from "../../harness/servers/redis/cluster.ts";
import type { RedisGroup } from "../../harness/servers/redis/group.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { Clients } from "../load/clients.ts";
import type { Settings } from "../site/chaos-site.ts";
import { type GroupKind, type GroupSite, openGroupSite, startGroup } from "../site/group-site.ts";
import { addTo, type Report, type Say, secondsSince, tallyText } from "../verdict/report.ts";
import { judge } from "../verdict/verdict.ts";
import { Watcher } from "../verdict/watcher.ts";

export interface ClusterOptions {
  readonly redis: GroupKind;
  /** Every fault occurs once per round. */
  readonly rounds: number;
  readonly seed: number;
  readonly ratePerS?: number;
  /** Settings of the service besides those of this suite. */
  readonly settings?: Settings;
  readonly say: Say;
}

const INSTANCES = 3;
const SETTINGS = { LEASE_MS: "2000", FLUSH_INTERVAL_MS: "100" };
/** The service's defaults. */
const SHARDS: Readonly<Record<GroupKind, number>> = { cluster: 6, sentinel: 1 };
const STREAMS = ["default", "site-2"];
const LANES = 32;
const DEFAULT_RATE_PER_S = 500;
const PATIENCE_MS = 2_500;
const WATCH_PAUSE_MS = 20;
const LAG_MS = 2_000;
const CALM_EVENTS = 300;
/** Per instance: enough that some fall to each shard. */
const COMPARED_EVENTS = 60;
const BACK_TIMEOUT_MS = 60_000;
const FINISH_TIMEOUT_MS = 120_000;
const DRAIN_STALL_MS = 40_000;

interface Fault {
  readonly name: string;
  /** Answers what is to be said of it. */
  strike(run: Run): Promise<string>;
}

interface Run {
  readonly site: GroupSite;
  readonly clients: Clients;
  readonly random: Random;
  readonly areReplicasNeeded: boolean;
  /** A key of one of the service's data sets. */
  key(): string;
}

export async function runCluster(options: ClusterOptions): Promise<Report> {
  const settings = { ...SETTINGS, REDIS_SHARDS: String(SHARDS[options.redis]), ...options.settings };
  const site = await openGroupSite(await startGroup(options.redis), { instances: INSTANCES, settings });
  try {
    return await shake(site, options);
  } finally {
    await site.close();
  }
}

async function shake(site: GroupSite, options: ClusterOptions): Promise<Report> {
  const { redis, seed, ratePerS = DEFAULT_RATE_PER_S, settings = {} } = options;
  const random = new Random(seed);
  const hour = hourOf(Date.now());
  const shared = { ports: site.ports, streams: STREAMS, seed };
  const clients = new Clients({
    ...shared,
    lanes: LANES,
    ratePerS,
    patienceMs: PATIENCE_MS,
    pickHour: () => hour,
  });
  const areReplicasNeeded = Number(settings["REDIS_WAIT_REPLICAS"] ?? 0) > 0;
  const watching = { pauseMs: WATCH_PAUSE_MS, mustAnswer: false, lagMs: areReplicasNeeded ? 0 : LAG_MS };
  const watcher = new Watcher({ ...shared, clients, hours: [hour], ...watching });
  const shards = Number(settings["REDIS_SHARDS"] ?? SHARDS[redis]);
  const key = () => `hg:{${random.below(shards)}}:meta`;
  const run = { site, clients, random, areReplicasNeeded, key };
  const problems: string[] = [];
  const struck = new Map<string, number>();
  try {
    await strikeAll(run, options, struck);
  } catch (error) {
    problems.push(`a part did not come back: ${Bun.inspect(error)}`);
  }
  if (!(await clients.finish(FINISH_TIMEOUT_MS))) problems.push("not every event was acknowledged in time");
  await watcher.stop();
  const verdict = await judge({ site, events: clients.events, drainStallMs: DRAIN_STALL_MS });
  problems.push(...clients.surprises, ...watcher.problems, ...verdict.problems);
  const figures = {
    "events acknowledged": clients.acknowledged,
    rows: verdict.rows,
    lost: verdict.lost,
    doubled: verdict.doubled,
    faults: tallyText(struck),
    sendings: tallyText(clients.outcomes),
    reads: tallyText(watcher.outcomes),
    "seconds to drain": verdict.drainS,
  };
  return { name: `cluster, ${redis}`, seed, figures, problems, evidence: verdict.evidence };
}

async function strikeAll(run: Run, options: ClusterOptions, struck: Map<string, number>): Promise<void> {
  const { site, clients, random } = run;
  for (let round = 1; round <= options.rounds; round++) {
    for (const fault of random.shuffled(faultsFor(site.group))) {
      await acknowledgedMore(clients, CALM_EVENTS);
      await site.group.settle();
      await acknowledgedByEach(run, COMPARED_EVENTS);
      const found = await fault.strike(run);
      await acknowledgedMore(clients, 1);
      addTo(struck, fault.name);
      options.say(`round ${round}: ${fault.name}: ${found}; ${clients.acknowledged} acknowledged`);
    }
  }
  await site.group.settle();
}

function faultsFor(group: RedisGroup): Fault[] {
  const faults = [KILL_INSTANCE, REPLACE_INSTANCE, KILL_MASTER, FAIL_OVER];
  return group instanceof RedisCluster ? [...faults, moveSlot(group)] : faults;
}

const KILL_INSTANCE: Fault = {
  name: "an instance killed and started again",
  async strike({ site, clients, random }) {
    const { name, service } = random.pick(site.instances);
    await service.kill("SIGKILL");
    await acknowledgedMore(clients, 1);
    await service.start();
    return name;
  },
};

const REPLACE_INSTANCE: Fault = {
  name: "an instance killed, another one added",
  async strike({ site, random }) {
    const instance = random.pick(site.instances);
    await site.remove(instance);
    const { name } = await site.add();
    return `${instance.name}, ${name}`;
  },
};

const KILL_MASTER: Fault = {
  name: "the master killed",
  async strike({ site, clients, key, areReplicasNeeded }) {
    const held = key();
    const master = await site.group.masterOf(held);
    const startMs = performance.now();
    await master.kill("SIGKILL");
    await waitFor("another master", async () => (await site.group.masterOf(held)) !== master, {
      timeoutMs: BACK_TIMEOUT_MS,
    });
    // With REDIS_WAIT_REPLICAS it may have too few replicas for anything to be acknowledged.
    if (areReplicasNeeded) await site.group.restart(master);
    await acknowledgedMore(clients, 1);
    const awayS = secondsSince(startMs);
    if (!areReplicasNeeded) await site.group.restart(master);
    return `acknowledged again after ${awayS} s`;
  },
};

const FAIL_OVER: Fault = {
  name: "the master replaced by its replica",
  async strike({ site, key }) {
    const { port } = await site.group.failOver(key());
    return `now on port ${port}`;
  },
};

function moveSlot(cluster: RedisCluster): Fault {
  return {
    name: "the slot moved, key by key",
    strike: async ({ key }) => {
      const startMs = performance.now();
      const keys = await cluster.moveSlot(key());
      return `${keys} keys in ${secondsSince(startMs)} s`;
    },
  };
}

/** Each instance: one that acknowledged has compared what it knows with the master that it commits to. */
async function acknowledgedByEach({ site, clients }: Run, events: number): Promise<void> {
  const countOf = (port: number) => clients.acknowledgedBy.get(port) ?? 0;
  const goals = site.ports.map((port) => ({ port, count: countOf(port) + events }));
  const isReached = () => goals.every(({ port, count }) => countOf(port) >= count);
  await waitFor("events to be acknowledged by each instance", isReached, { timeoutMs: BACK_TIMEOUT_MS });
}

async function acknowledgedMore(clients: Clients, events: number): Promise<void> {
  const goal = clients.acknowledged + events;
  await waitFor("events to be acknowledged", () => clients.acknowledged >= goal, {
    timeoutMs: BACK_TIMEOUT_MS,
  });
}
