/**
 * Nothing acknowledged is lost or counted twice: random faults under a steady load, and at the end rows = counts =
 * acknowledged ids, each exactly once.
 */
import { HOUR_MS, hourOf } from "../../../src/domain/event.ts";
import { errorText } from "../../../src/runtime/error-text.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { targetsOf } from "../faults/fault-kinds.ts";
import { FaultRun, planFaults } from "../faults/fault-plan.ts";
import { Clients } from "../load/clients.ts";
import { type ChaosSite, openSite, portsOf, type SiteMode } from "../site/chaos-site.ts";
import { type Report, type Say, secondsSince, tallyText } from "../verdict/report.ts";
import { judge, type Verdict } from "../verdict/verdict.ts";
import { Watcher } from "../verdict/watcher.ts";

export interface FaultsOptions {
  readonly mode: SiteMode;
  readonly faults: number;
  readonly seed: number;
  readonly ratePerS?: number;
  /** The number of Redis shards. */
  readonly shards?: number;
  /** The drain is given up once nothing has moved for so long. */
  readonly drainStallMs?: number;
  readonly say: Say;
}

/**
 * Leases so short that a frozen instance loses its own; flushes so many that faults fall before, into and
 * after them; a ring so small that batches are read back from the journal; hours retired with each chance.
 */
const SETTINGS = {
  LEASE_MS: "2000",
  FLUSH_INTERVAL_MS: "40",
  FLUSH_MAX_EVENTS: "300",
  RING_CAPACITY: "1000",
  HOT_HOURS: "1",
};
const STREAMS = ["default", "site-2"];
/** Events wait on the hour's turn, and of old hours that have to be fetched from the cold store. */
const HOURS_BACK = [0, 0, 0, 0, 0, 0, -1, 1, 50];
const LANES = 32;
const DEFAULT_RATE_PER_S = 500;
const PATIENCE_MS = 2_500;
const WATCH_PAUSE_MS = 20;
/** A lane's last event may have to wait for stores that come back slowly. */
const FINISH_TIMEOUT_MS = 120_000;
/** Above a flush that waits for an answer which never comes, and its next try. */
const DEFAULT_DRAIN_STALL_MS = 40_000;

export async function runFaults(options: FaultsOptions): Promise<Report> {
  const { mode, shards = 1 } = options;
  const settings = { ...SETTINGS, REDIS_SHARDS: String(shards) };
  const site = await openSite({ mode, settings, hasProxies: true });
  try {
    return await shake(site, options);
  } finally {
    await site.close();
  }
}

async function shake(site: ChaosSite, options: FaultsOptions): Promise<Report> {
  const {
    mode,
    shards = 1,
    faults,
    seed,
    ratePerS = DEFAULT_RATE_PER_S,
    drainStallMs = DEFAULT_DRAIN_STALL_MS,
    say,
  } = options;
  const startMs = performance.now();
  const hours = HOURS_BACK.map((back) => hourOf(Date.now()) - back * HOUR_MS);
  const shared = { ports: portsOf(site), streams: STREAMS, seed };
  const clients = new Clients({
    ...shared,
    lanes: LANES,
    ratePerS,
    pickHour: (random) => random.pick(hours),
    patienceMs: PATIENCE_MS,
  });
  const watcher = new Watcher({ ...shared, clients, hours, pauseMs: WATCH_PAUSE_MS, mustAnswer: false });
  const run = new FaultRun(startMs, say);
  const progress = setInterval(() => {
    say(`${run.inflicted.length} of ${faults} faults, ${clients.acknowledged} events, ${secondsSince(startMs)} s`);
  }, 15_000);
  const problems: string[] = [];
  try {
    await run.inflict(planFaults(targetsOf(site), faults, new Random(seed)));
  } catch (error) {
    problems.push(`a part did not come back: ${errorText(error)}`);
  }
  clearInterval(progress);
  if (!(await clients.finish(FINISH_TIMEOUT_MS))) problems.push("not every event was acknowledged in time");
  const faultsS = secondsSince(startMs);
  await watcher.stop();
  const verdict = await judge({ site, events: clients.events, drainStallMs });
  problems.push(...clients.surprises, ...watcher.problems, ...verdict.problems);
  return {
    name: `faults, ${mode}${shards > 1 ? `, ${shards} shards` : ""}`,
    seed,
    figures: figuresOf({ clients, watcher, run, verdict, faultsS }),
    problems,
    evidence: [...verdict.evidence, ...run.log()],
  };
}

interface Outcome {
  readonly clients: Clients;
  readonly watcher: Watcher;
  readonly run: FaultRun;
  readonly verdict: Verdict;
  readonly faultsS: number;
}

function figuresOf({ clients, watcher, run, verdict, faultsS }: Outcome): Report["figures"] {
  return {
    "events acknowledged": clients.acknowledged,
    rows: verdict.rows,
    lost: verdict.lost,
    doubled: verdict.doubled,
    faults: run.inflicted.length,
    "faults by kind": tallyText(run.byName()),
    sendings: tallyText(clients.outcomes),
    reads: tallyText(watcher.outcomes),
    "seconds of faults": faultsS,
    "seconds to drain": verdict.drainS,
  };
}
