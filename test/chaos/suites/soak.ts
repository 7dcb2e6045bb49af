/**
 * Nothing grows under a sustainable load: 70 % of the highest rate, measured first, for the requested time. Over the
 * last 80 % of it memory, heap and open sockets stay level.
 */
import { hourOf } from "../../../src/domain/event.ts";
import { type LoadRun, LoadRuns } from "../load/load-runs.ts";
import { rowsArrived } from "../load/numbered-rows.ts";
import { type ChaosSite, openSite, type SiteMode } from "../site/chaos-site.ts";
import type { ProcessStats, Slope } from "../verdict/process-stats.ts";
import { type Report, type Say, secondsSince, tallyText } from "../verdict/report.ts";
import { Sampler, slopeText } from "../verdict/sampler.ts";

export interface SoakOptions {
  readonly mode: SiteMode;
  readonly seconds: number;
  readonly seed: number;
  readonly measureSeconds?: number;
  readonly say: Say;
}

const CONNECTIONS = 512;
const MEASURE_SECONDS = 10;
const SHARE_OF_MAX = 0.7;
const SLOPE_SHARE = 0.8;
const SAMPLE_MS = 1_000;
const DRAIN_STALL_MS = 30_000;
/** In a shorter run the heap has not found its size: slopes are shown but not judged. */
const JUDGED_FROM_S = 300;

interface Bound {
  readonly figure: keyof ProcessStats;
  readonly unit: string;
  readonly maxPerMinute: number;
}

/** Growth that would show within a day: 1 MB a minute is 1.4 GB a day. */
const BOUNDS: readonly Bound[] = [
  { figure: "rssMb", unit: "MB", maxPerMinute: 1 },
  { figure: "heapMb", unit: "MB", maxPerMinute: 1 },
  { figure: "sockets", unit: "sockets", maxPerMinute: 0.5 },
  { figure: "openFiles", unit: "files", maxPerMinute: 0.5 },
];

export async function runSoak(options: SoakOptions): Promise<Report> {
  const site = await openSite({ mode: options.mode, instances: 1 });
  try {
    return await soak(site, options);
  } finally {
    await site.close();
  }
}

async function soak(site: ChaosSite, options: SoakOptions): Promise<Report> {
  const { seconds, measureSeconds = MEASURE_SECONDS, say } = options;
  const runs = new LoadRuns(site, hourOf(Date.now()));
  const problems: string[] = [];
  try {
    const max = await sustainableRate(site, runs, measureSeconds);
    const ratePerS = SHARE_OF_MAX * max.perS;
    say(`${Math.round(max.perS)} events/s with their flush; soaking at ${Math.round(ratePerS)}`);
    const sampler = new Sampler(site.instances[0]!.service.pid, SAMPLE_MS);
    const soaked = await runs.run({ connections: CONNECTIONS, seconds, ratePerS });
    sampler.stop();
    const drainFromMs = performance.now();
    const isDrained = await rowsArrived(site, max.acknowledged + soaked.acknowledged, DRAIN_STALL_MS);
    if (!isDrained) problems.push("it does not drain");
    const drainS = secondsSince(drainFromMs);
    const { rows, problems: rowProblems } = await runs.judge();
    problems.push(...answerProblems(soaked), ...rowProblems);
    const slopes = BOUNDS.map((bound) => ({ bound, slope: sampler.slope(bound.figure, SLOPE_SHARE) }));
    if (seconds >= JUDGED_FROM_S) problems.push(...slopes.flatMap(slopeProblems));
    return reportOf(options, { perS: max.perS, soaked, slopes, drainS, rows }, problems);
  } finally {
    await runs.close();
  }
}

interface JudgedSlope {
  readonly bound: Bound;
  readonly slope: Slope;
}

interface Figures {
  readonly perS: number;
  readonly soaked: LoadRun;
  readonly slopes: readonly JudgedSlope[];
  readonly drainS: number;
  readonly rows: number;
}

function reportOf(
  { mode, seconds, seed }: SoakOptions,
  { perS, soaked, slopes, drainS, rows }: Figures,
  problems: readonly string[],
): Report {
  const figures = {
    "highest rate": `${Math.round(perS)} events/s, their flush included`,
    rate: `${Math.round(soaked.acknowledged / soaked.seconds)} events/s for ${seconds} s`,
    acknowledged: soaked.acknowledged,
    "other answers": tallyText(new Map(Object.entries(soaked.refusals))),
    "held back, as no connection was free": soaked.skipped,
    "latency of the acknowledged": soaked.latencies.text,
    ...Object.fromEntries(slopes.map(slopeFigure)),
    slopes: seconds >= JUDGED_FROM_S ? "judged" : `not judged: shorter than ${JUDGED_FROM_S} s`,
    "seconds to drain": drainS,
    rows,
  };
  return { name: `soak, ${mode}`, seed, figures, problems };
}

/** Includes the time of the flush afterwards: a rate that only fills the journal is not sustainable. */
async function sustainableRate(site: ChaosSite, runs: LoadRuns, seconds: number) {
  const startMs = performance.now();
  const { acknowledged } = await runs.run({ connections: CONNECTIONS, seconds });
  await rowsArrived(site, acknowledged, DRAIN_STALL_MS);
  return { acknowledged, perS: acknowledged / ((performance.now() - startMs) / 1_000) };
}

function answerProblems({ refusals, unknown }: LoadRun): string[] {
  const problems = Object.entries(refusals).map(([what, count]) => `${count} events were answered with ${what}`);
  if (unknown > 0) problems.push(`${unknown} events were never answered`);
  return problems;
}

function slopeProblems({ bound, slope }: JudgedSlope): string[] {
  const { figure, unit, maxPerMinute } = bound;
  if (slope.perMinute <= maxPerMinute) return [];
  return [`${figure} grows: ${slopeText(slope, unit)}, where ${maxPerMinute} is the bound`];
}

function slopeFigure({ bound, slope }: JudgedSlope): [string, string] {
  const { figure, unit, maxPerMinute } = bound;
  return [`${figure}, last ${100 * SLOPE_SHARE} %`, `${slopeText(slope, unit)} (bound ${maxPerMinute})`];
}
