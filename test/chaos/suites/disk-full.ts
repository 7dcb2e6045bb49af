/**
 * A full disk in embedded mode: events are refused with 503, nothing acknowledged is lost, the process survives, and
 * events are accepted again once there is room.
 */
import { HOUR_MS, hourOf } from "../../../src/domain/event.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { Tmpfs } from "../../harness/servers/tmpfs.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { Clients } from "../load/clients.ts";
import { type ChaosSite, openSite, portsOf } from "../site/chaos-site.ts";
import { type Report, type Say, tallyText } from "../verdict/report.ts";
import { judge } from "../verdict/verdict.ts";
import { Watcher } from "../verdict/watcher.ts";

export interface DiskFullOptions {
  /** How often it is filled. */
  readonly fills: number;
  readonly seed: number;
  readonly ratePerS?: number;
  readonly say: Say;
}

/** Room for a whole run, at about 300 bytes per event with its id. */
const DISK_MB = 96;
const SETTINGS = { FLUSH_INTERVAL_MS: "40", FLUSH_MAX_EVENTS: "300", RING_CAPACITY: "1000", HOT_HOURS: "1" };
const STREAMS = ["default", "site-2"];
const HOURS_BACK = [0, 0, 0, -1, 1, 50];
const LANES = 16;
const DEFAULT_RATE_PER_S = 300;
const PATIENCE_MS = 5_000;
const WATCH_PAUSE_MS = 20;
const ROOM_MAX_MS = 1_500;
const FULL_MAX_MS = 2_500;
/** How long a refusal may take once the disk is full, and an acknowledgement once there is room. */
const REACTION_TIMEOUT_MS = 60_000;
const FINISH_TIMEOUT_MS = 120_000;
const DRAIN_STALL_MS = 30_000;

export async function runDiskFull(options: DiskFullOptions): Promise<Report> {
  const disk = Tmpfs.mount(DISK_MB);
  if (typeof disk === "string") {
    return { name: "disk-full", seed: options.seed, figures: {}, problems: [], skipped: disk };
  }
  try {
    const site = await openSite({ mode: "embedded", settings: { ...SETTINGS, DATA_DIR: disk.path } });
    try {
      return await fillAgainAndAgain(site, disk, options);
    } finally {
      await site.close();
    }
  } finally {
    await disk.close();
  }
}

async function fillAgainAndAgain(site: ChaosSite, disk: Tmpfs, options: DiskFullOptions): Promise<Report> {
  const { fills, seed, ratePerS = DEFAULT_RATE_PER_S, say } = options;
  const { service } = site.instances[0]!;
  const { pid } = service;
  const hours = HOURS_BACK.map((back) => hourOf(Date.now()) - back * HOUR_MS);
  const shared = { ports: portsOf(site), streams: STREAMS, seed };
  const pickHour = (random: Random) => random.pick(hours);
  const clients = new Clients({ ...shared, lanes: LANES, ratePerS, pickHour, patienceMs: PATIENCE_MS });
  const watcher = new Watcher({ ...shared, clients, hours, pauseMs: WATCH_PAUSE_MS, mustAnswer: false });
  const times = { fullMs: 0, recoveryMs: 0 };
  const problems: string[] = [];
  try {
    for (let fill = 1; fill <= fills; fill++) await fillOnce(disk, clients, new Random(seed + fill), times);
  } catch (error) {
    problems.push(String(error));
  }
  disk.free();
  say(`filled ${fills} times, ${clients.acknowledged} events`);
  if (!(await clients.finish(FINISH_TIMEOUT_MS))) problems.push("not every event was acknowledged in time");
  await watcher.stop();
  const verdict = await judge({ site, events: clients.events, drainStallMs: DRAIN_STALL_MS });
  if (service.pid !== pid || service.exitCode !== null) problems.push("the service has ended");
  problems.push(...unexpected(clients), ...clients.surprises, ...watcher.problems, ...verdict.problems);
  return {
    name: "disk-full",
    seed,
    figures: {
      "times filled": fills,
      "events acknowledged": clients.acknowledged,
      rows: verdict.rows,
      lost: verdict.lost,
      doubled: verdict.doubled,
      sendings: tallyText(clients.outcomes),
      reads: tallyText(watcher.outcomes),
      "seconds full": Math.round(times.fullMs / 100) / 10,
      "longest from room to the next 204": `${Math.round(times.recoveryMs)} ms`,
      "seconds to drain": verdict.drainS,
    },
    problems,
    evidence: verdict.evidence,
  };
}

/** Held until somebody was refused, and some time more; then until somebody is acknowledged again. */
async function fillOnce(
  disk: Tmpfs,
  clients: Clients,
  random: Random,
  times: { fullMs: number; recoveryMs: number },
): Promise<void> {
  const wait = { timeoutMs: REACTION_TIMEOUT_MS, intervalMs: 5 };
  await Bun.sleep(random.fraction() * ROOM_MAX_MS);
  const refused = refusals(clients);
  const fullFromMs = performance.now();
  disk.fill();
  const isRefused = () => {
    // What the service frees meanwhile, by trimming its journal, is taken too.
    disk.fill();
    return refusals(clients) > refused;
  };
  await waitFor("a refusal on a full disk", isRefused, wait);
  await Bun.sleep(random.fraction() * FULL_MAX_MS);
  const acknowledged = clients.acknowledged;
  const roomFromMs = performance.now();
  disk.free();
  await waitFor("an acknowledgement once there is room", () => clients.acknowledged > acknowledged, wait);
  times.fullMs += roomFromMs - fullFromMs;
  times.recoveryMs = Math.max(times.recoveryMs, performance.now() - roomFromMs);
}

function refusals({ outcomes }: Clients): number {
  return outcomes.entries().reduce((sum, [what, count]) => sum + (what.startsWith("503 ") ? count : 0), 0);
}

/** The process has to go on, and to answer. */
function unexpected({ outcomes }: Clients): string[] {
  const other = [...outcomes].filter(([what]) => what !== "204" && !what.startsWith("503 "));
  return other.map(([what, count]) => `${count} sendings ended with: ${what}`);
}
