/**
 * MySQL may be away for hours, over the turn of an hour too: no POST fails, every read of the hours that go on
 * is right, memory stays bounded, and all of the backlog is stored once it is back.
 *
 * The turn needs no waiting: from the middle on, events carry times of the next hour.
 */
import { errorText } from "../src/count/deadline.ts";
import { HOUR_MS, hourOf } from "../src/count/event.ts";
import { waitFor } from "../test/support/wait-for.ts";
import { type ChaosSite, openSite, portsOf } from "./support/chaos-site.ts";
import { Clients } from "./support/clients.ts";
import { type Report, type Say, secondsSince, tallyText } from "./support/report.ts";
import { Sampler } from "./support/sampler.ts";
import { judge } from "./support/verdict.ts";
import { Watcher } from "./support/watcher.ts";

export interface MysqlAwayOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly ratePerS?: number;
  readonly say: Say;
}

/** So small that most of the backlog is in the journal alone, and is read back from there. */
const RING_CAPACITY = 20_000;
const STREAMS = ["default", "site-2"];
const LANES = 32;
const DEFAULT_RATE_PER_S = 500;
const PATIENCE_MS = 10_000;
const WARM_UP_EVENTS = 500;
const WATCH_PAUSE_MS = 20;
const SAMPLE_MS = 1_000;
const FINISH_TIMEOUT_MS = 30_000;
const DRAIN_STALL_MS = 40_000;
/** Of each instance: the ring, the heap that finds its size, and nothing that goes on growing. */
const RSS_GROWTH_MAX_MB = 150;

export async function runMysqlAway(options: MysqlAwayOptions): Promise<Report> {
  const site = await openSite({ mode: "redis", settings: { RING_CAPACITY: String(RING_CAPACITY) } });
  try {
    return await takeMysqlAway(site, options);
  } finally {
    await site.close();
  }
}

async function takeMysqlAway(site: ChaosSite, options: MysqlAwayOptions): Promise<Report> {
  const { seconds, seed, ratePerS = DEFAULT_RATE_PER_S, say } = options;
  const { mariaDb } = site.servers!;
  const firstHour = hourOf(Date.now());
  let hour = firstHour;
  const shared = { ports: portsOf(site), streams: STREAMS, seed };
  const rate = { lanes: LANES, ratePerS, patienceMs: PATIENCE_MS };
  const clients = new Clients({ ...shared, ...rate, pickHour: () => hour });
  await waitFor("a first load", () => clients.acknowledged >= WARM_UP_EVENTS, { timeoutMs: 60_000 });
  const hours = [firstHour, firstHour + HOUR_MS];
  const watcher = new Watcher({ ...shared, clients, hours, pauseMs: WATCH_PAUSE_MS, mustAnswer: true });
  const samplers = site.instances.map(({ service }) => new Sampler(service.pid, SAMPLE_MS));
  const before = clients.acknowledged;
  await mariaDb.kill();
  say(`MariaDB is away for ${seconds} s`);
  await Bun.sleep((1_000 * seconds) / 2);
  hour += HOUR_MS;
  say(`${clients.acknowledged} events; the hour turns`);
  await Bun.sleep((1_000 * seconds) / 2);
  const backlog = clients.acknowledged - before;
  say(`MariaDB comes back, ${backlog} events are to be drained`);
  const backMs = performance.now();
  const problems: string[] = await mariaDb.start().then(
    () => [],
    (error) => [`MariaDB did not come back: ${errorText(error)}`],
  );
  if (!(await clients.finish(FINISH_TIMEOUT_MS))) problems.push("not every event was acknowledged in time");
  const verdict = await judge({ site, events: clients.events, drainStallMs: DRAIN_STALL_MS });
  const drainS = secondsSince(backMs);
  await watcher.stop();
  for (const sampler of samplers) sampler.stop();
  problems.push(...failedPosts(clients), ...clients.surprises, ...watcher.problems, ...verdict.problems);
  problems.push(...samplers.flatMap(growthProblems));
  return {
    name: "mysql-away",
    seed,
    figures: {
      "seconds away": seconds,
      rate: `${Math.round(backlog / seconds)} events/s`,
      "events acknowledged": clients.acknowledged,
      "acknowledged meanwhile": backlog,
      rows: verdict.rows,
      lost: verdict.lost,
      doubled: verdict.doubled,
      sendings: tallyText(clients.outcomes),
      "latency of the acknowledged": clients.latencies.text,
      reads: tallyText(watcher.outcomes),
      RSS: `${samplers.map(({ rssText }) => rssText).join("; ")} (bound +${RSS_GROWTH_MAX_MB} MB)`,
      "seconds from its start to the last row": drainS,
    },
    problems,
    evidence: verdict.evidence,
  };
}

function failedPosts({ outcomes }: Clients): string[] {
  const failed = new Map([...outcomes].filter(([outcome]) => outcome !== "204"));
  return failed.size === 0 ? [] : [`POSTs failed: ${tallyText(failed)}`];
}

function growthProblems(sampler: Sampler): string[] {
  const growthMb = sampler.peak("rssMb") - sampler.first("rssMb");
  return growthMb <= RSS_GROWTH_MAX_MB
    ? []
    : [`the memory of an instance grew by ${Math.round(growthMb)} MB`];
}
