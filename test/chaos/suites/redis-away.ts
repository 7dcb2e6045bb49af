/**
 * Redis is frozen and killed repeatedly: clients get their refusal within a second, reads continue from MySQL and say
 * so, and events are accepted again once it is back.
 *
 * Judged by the promise: the time from each request to its 503, including requests in flight when Redis went away; and
 * at the end each acknowledged event is stored once.
 */
import { hourOf } from "../../../src/domain/event.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { Clients } from "../load/clients.ts";
import { type ChaosSite, openSite, portsOf } from "../site/chaos-site.ts";
import { type Report, type Say, tallyText } from "../verdict/report.ts";
import { judge } from "../verdict/verdict.ts";
import { Watcher } from "../verdict/watcher.ts";

export interface RedisAwayOptions {
  readonly times: number;
  readonly seed: number;
  readonly ratePerS?: number;
  /** Not on a machine that does other things meanwhile. True unless it is set. */
  readonly areLatenciesJudged?: boolean;
  readonly say: Say;
}

const STREAMS = ["default", "site-2"];
const LANES = 32;
const DEFAULT_RATE_PER_S = 500;
const PATIENCE_MS = 10_000;
const WATCH_PAUSE_MS = 20;
/** Shorter and longer than what a command may take, and than a lease; the first time until somebody is refused. */
const [AWAY_MIN_MS, AWAY_MAX_MS] = [200, 4_000];
const CALM_EVENTS = 200;
const BACK_TIMEOUT_MS = 60_000;
const FINISH_TIMEOUT_MS = 120_000;
const DRAIN_STALL_MS = 40_000;
/** The promise is a second; the rest is for a machine that load, stores and service share. */
const REFUSAL_MAX_MS = 1_500;
const REFUSAL_P99_MAX_MS = 1_000;

export async function runRedisAway(options: RedisAwayOptions): Promise<Report> {
  const site = await openSite({ mode: "redis", settings: { LEASE_MS: "2000", FLUSH_INTERVAL_MS: "100" } });
  try {
    return await takeRedisAway(site, options);
  } finally {
    await site.close();
  }
}

async function takeRedisAway(site: ChaosSite, options: RedisAwayOptions): Promise<Report> {
  const { times, seed, ratePerS = DEFAULT_RATE_PER_S, say } = options;
  const random = new Random(seed);
  const hour = hourOf(Date.now());
  const shared = { ports: portsOf(site), streams: STREAMS, seed };
  const clients = new Clients({
    ...shared,
    lanes: LANES,
    ratePerS,
    patienceMs: PATIENCE_MS,
    pickHour: () => hour,
  });
  const watcher = new Watcher({
    ...shared,
    clients,
    hours: [hour],
    pauseMs: WATCH_PAUSE_MS,
    mustAnswer: false,
  });
  const backMs: number[] = [];
  const problems: string[] = [];
  for (let time = 1; time <= times; time++) {
    await acknowledgedMore(clients, CALM_EVENTS);
    const awayMs = AWAY_MIN_MS + random.below(AWAY_MAX_MS - AWAY_MIN_MS);
    await goAway(site, time % 2 === 0 ? "killed" : "frozen", async () => {
      await Bun.sleep(awayMs);
      // Who waits with what was sent sends no more until that is answered, or given up.
      await waitFor("a refusal", () => clients.refusalLatencies.count > 0);
    });
    const startMs = performance.now();
    await acknowledgedMore(clients, 1);
    backMs.push(performance.now() - startMs);
    say(`${time} of ${times}: away for ${awayMs} ms, ${clients.acknowledged} events acknowledged`);
  }
  if (!(await clients.finish(FINISH_TIMEOUT_MS))) problems.push("not every event was acknowledged in time");
  await watcher.stop();
  const verdict = await judge({ site, events: clients.events, drainStallMs: DRAIN_STALL_MS });
  if (options.areLatenciesJudged ?? true) problems.push(...latencyProblems(clients));
  problems.push(...clients.surprises, ...watcher.problems, ...verdict.problems);
  return {
    name: "redis-away",
    seed,
    figures: {
      "times away": `${times}, frozen and killed in turns, for ${AWAY_MIN_MS} to ${AWAY_MAX_MS} ms`,
      "events acknowledged": clients.acknowledged,
      rows: verdict.rows,
      lost: verdict.lost,
      doubled: verdict.doubled,
      sendings: tallyText(clients.outcomes),
      "from a request to its 503": `${clients.refusalLatencies.text} (bound p99 ${REFUSAL_P99_MAX_MS} ms)`,
      "from its return to the next 204": `at most ${Math.round(Math.max(...backMs))} ms`,
      reads: tallyText(watcher.outcomes),
    },
    problems,
    evidence: verdict.evidence,
  };
}

async function goAway({ servers }: ChaosSite, how: "frozen" | "killed", away: () => Promise<void>): Promise<void> {
  const { redis } = servers!;
  if (how === "frozen") redis.pause();
  else await redis.kill();
  await away();
  if (how === "frozen") redis.resume();
  else await redis.start();
}

async function acknowledgedMore(clients: Clients, events: number): Promise<void> {
  const goal = clients.acknowledged + events;
  await waitFor("events to be acknowledged", () => clients.acknowledged >= goal, {
    timeoutMs: BACK_TIMEOUT_MS,
  });
}

function latencyProblems({ refusalLatencies: found }: Clients): string[] {
  const isInTime = found.percentileMs(99) <= REFUSAL_P99_MAX_MS && found.maxMs <= REFUSAL_MAX_MS;
  return isInTime ? [] : [`a 503 took too long: ${found.text}`];
}
