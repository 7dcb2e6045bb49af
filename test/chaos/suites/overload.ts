/**
 * More load than the machine can handle: no crash, each answer is 204 or 503, accepted events are answered in bounded
 * time, and everything acknowledged is stored once.
 *
 * The load is open: events are due at twice the rate measured just before, regardless of answers, over enough
 * connections that thousands of requests are in flight at any time.
 */
import { hourOf } from "../../../src/domain/event.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { type LoadRun, LoadRuns } from "../load/load-runs.ts";
import { rowsArrived } from "../load/numbered-rows.ts";
import { type ChaosSite, openSite, type SiteMode } from "../site/chaos-site.ts";
import { openFilesMax, raiseOpenFiles } from "../verdict/open-files.ts";
import { type Report, type Say, secondsSince, tallyText } from "../verdict/report.ts";
import { Sampler } from "../verdict/sampler.ts";

export interface OverloadOptions {
  readonly mode: SiteMode;
  readonly seconds: number;
  readonly seed: number;
  readonly measureSeconds?: number;
  readonly connections?: number;
  readonly say: Say;
}

/** Each has one event under way. More than some 14,000 to one address take the ports of this machine too long. */
const CONNECTIONS = 12_000;
const MEASURE_CONNECTIONS = 256;
const MEASURE_SECONDS = 5;
const OVERLOAD = 2;
/** So low that a cold store which cannot follow is met within a run: then events are refused, not piled up. */
const JOURNAL_MAX_EVENTS = 200_000;
/** Nobody who was taken may have waited longer: he has all other connections ahead of him, at most. */
const LATENCY_MAX_MS = 5_000;
/** As a share of the rate measured before: a service that refuses nearly everything has broken down. */
const GOODPUT_MIN_SHARE = 0.1;
const SAMPLE_MS = 500;
const DRAIN_STALL_MS = 30_000;

export async function runOverload(options: OverloadOptions): Promise<Report> {
  const site = await openSite({
    mode: options.mode,
    instances: 1,
    settings: { JOURNAL_MAX_EVENTS: String(JOURNAL_MAX_EVENTS) },
  });
  try {
    return await overload(site, options);
  } finally {
    await site.close();
  }
}

async function overload(site: ChaosSite, options: OverloadOptions): Promise<Report> {
  const { seconds, measureSeconds = MEASURE_SECONDS, say } = options;
  const { service } = site.instances[0]!;
  const { pid } = service;
  const connections = affordable(options.connections ?? CONNECTIONS, pid, say);
  const hour = hourOf(Date.now());
  const runs = new LoadRuns(site, hour);
  try {
    const measureConnections = Math.min(MEASURE_CONNECTIONS, connections);
    const measured = await runs.run({ connections: measureConnections, seconds: measureSeconds });
    const maxPerS = measured.acknowledged / measured.seconds;
    say(`${Math.round(maxPerS)} events/s at most; now ${OVERLOAD} times that are due`);
    const sampler = new Sampler(pid, SAMPLE_MS);
    const loaded = await runs.run({ connections, seconds, ratePerS: OVERLOAD * maxPerS });
    sampler.stop();
    const problems = problemsOf(loaded, measured, service.pid === pid && service.exitCode === null);
    const drainFromMs = performance.now();
    const isDrained = await rowsArrived(site, measured.acknowledged + loaded.acknowledged, DRAIN_STALL_MS);
    const drainS = secondsSince(drainFromMs);
    if (!isDrained) problems.push("it does not drain");
    const { problems: rowProblems, rows } = await runs.judge();
    problems.push(...rowProblems, ...(await readProblems(service.port, hour, rows)));
    const figures = { maxPerS, measureConnections, connections, loaded, sampler, drainS, rows };
    return reportOf(options, figures, problems);
  } finally {
    await runs.close();
  }
}

interface Figures {
  readonly maxPerS: number;
  readonly measureConnections: number;
  readonly connections: number;
  readonly loaded: LoadRun;
  readonly sampler: Sampler;
  readonly drainS: number;
  readonly rows: number;
}

function reportOf(
  { mode, seconds, seed }: OverloadOptions,
  { maxPerS, measureConnections, connections, loaded, sampler, drainS, rows }: Figures,
  problems: readonly string[],
): Report {
  const figures = {
    "measured before": `${Math.round(maxPerS)} events/s over ${measureConnections} connections`,
    due: `${Math.round(OVERLOAD * maxPerS)} events/s for ${seconds} s`,
    connections,
    sent: loaded.sent,
    "held back, as no connection was free": loaded.skipped,
    acknowledged: `${loaded.acknowledged} (${Math.round(loaded.acknowledged / loaded.seconds)}/s)`,
    "other answers": tallyText(new Map(Object.entries(loaded.refusals))),
    "no answer": loaded.unknown,
    "latency of the acknowledged": `${loaded.latencies.text} (bound ${LATENCY_MAX_MS} ms)`,
    "RSS of the service": sampler.rssText,
    "seconds to drain": drainS,
    rows,
  };
  return { name: `overload, ${mode}`, seed, figures, problems };
}

async function readProblems(port: number, hour: number, rows: number): Promise<string[]> {
  const counts = await readHour(port, hour);
  if (counts.clicks + counts.impressions === rows) return [];
  return [`the hour is read as ${JSON.stringify(counts)}, and has ${rows} rows`];
}

/** The most connections that both processes may hold open, with some room for their files. */
function affordable(wanted: number, pid: number, say: Say): number {
  const spare = 500;
  for (const each of [process.pid, pid]) raiseOpenFiles(each, wanted + spare);
  const possible = Math.min(openFilesMax(process.pid), openFilesMax(pid)) - spare;
  if (possible < wanted) say(`only ${possible} connections, as a process may have no more files open`);
  return Math.min(wanted, possible);
}

function problemsOf(loaded: LoadRun, measured: LoadRun, isAlive: boolean): string[] {
  const problems: string[] = [];
  if (!isAlive) problems.push("the service has ended");
  for (const { refusals, unknown } of [measured, loaded]) {
    const bad = Object.entries(refusals).filter(([what]) => !what.startsWith("503 "));
    for (const [what, count] of bad) problems.push(`${count} answers were neither 204 nor 503 but ${what}`);
    if (unknown > 0) problems.push(`${unknown} events were never answered`);
  }
  const share = loaded.acknowledged / loaded.seconds / (measured.acknowledged / measured.seconds);
  if (share < GOODPUT_MIN_SHARE) {
    const percent = (100 * share).toFixed(1);
    problems.push(`only ${percent} % of the rate measured before was acknowledged under overload`);
  }
  const { maxMs } = loaded.latencies;
  if (maxMs > LATENCY_MAX_MS) problems.push(`an acknowledgement took ${Math.round(maxMs)} ms`);
  return problems;
}
