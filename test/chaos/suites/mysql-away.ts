/**
 * MySQL is down for hours, including the turn of an hour: no POST fails, every read of current hours is right, memory
 * stays bounded, and the whole backlog is stored once MySQL is back.
 *
 * The turn needs no waiting: from the middle on, events carry times of the next hour.
 */
import { HOUR_MS, hourOf } from "../../../src/domain/event.ts";
import { errorText } from "../../../src/runtime/error-text.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { Clients } from "../load/clients.ts";
import { type ChaosSite, openSite, portsOf } from "../site/chaos-site.ts";
import type { Slope } from "../verdict/process-stats.ts";
import { type Report, type Say, secondsSince, tallyText } from "../verdict/report.ts";
import { Sampler, slopeText } from "../verdict/sampler.ts";
import { judge } from "../verdict/verdict.ts";
import { Watcher } from "../verdict/watcher.ts";

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
/** As a share of the outage: load with MySQL up beforehand, since a process grows in any case after its start. */
const WARM_UP_SHARE = 1 / 9;
const WATCH_PAUSE_MS = 20;
const SAMPLE_MS = 1_000;
const FINISH_TIMEOUT_MS = 120_000;
const DRAIN_STALL_MS = 40_000;
/** Per instance, through outage and drain: the ring, and the transactions' worths read back. */
const RSS_GROWTH_MAX_MB = 150;
/** As a share of the outage: memory must be level over the rest of it, however long. */
const SLOPE_SHARE = 0.5;
const RSS_SLOPE_MAX_MB_A_MINUTE = 1;
/** In a shorter outage ring and heap are still filling: the slope is shown but not judged. */
const SLOPE_JUDGED_FROM_S = 300;

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
  const warmUpEvents = ratePerS * seconds * WARM_UP_SHARE;
  await waitFor("a first load", () => clients.acknowledged >= warmUpEvents, { timeoutMs: 600_000 });
  const hours = [firstHour, firstHour + HOUR_MS];
  const watcher = new Watcher({ ...shared, clients, hours, pauseMs: WATCH_PAUSE_MS, mustAnswer: true });
  const startSamplers = () => site.instances.map(({ service }) => new Sampler(service.pid, SAMPLE_MS));
  const [samplers, awaySamplers] = [startSamplers(), startSamplers()];
  const before = clients.acknowledged;
  await mariaDb.kill();
  say(`MariaDB is away for ${seconds} s`);
  await Bun.sleep((1_000 * seconds) / 2);
  hour += HOUR_MS;
  say(`${clients.acknowledged} events; the hour turns`);
  await Bun.sleep((1_000 * seconds) / 2);
  for (const sampler of awaySamplers) sampler.stop();
  const slopes = awaySamplers.map((sampler) => sampler.slope("rssMb", SLOPE_SHARE));
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
  if (seconds >= SLOPE_JUDGED_FROM_S) problems.push(...slopes.flatMap(slopeProblems));
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
      [`RSS, last ${100 * SLOPE_SHARE} % of the time away`]: slopes.map((slope) => slopeText(slope, "MB")).join("; "),
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
  return growthMb <= RSS_GROWTH_MAX_MB ? [] : [`the memory of an instance grew by ${Math.round(growthMb)} MB`];
}

function slopeProblems(slope: Slope): string[] {
  if (slope.perMinute <= RSS_SLOPE_MAX_MB_A_MINUTE) return [];
  return [
    `memory grows while MySQL is away: ${slopeText(slope, "MB")}, where ${RSS_SLOPE_MAX_MB_A_MINUTE} is the bound`,
  ];
}
