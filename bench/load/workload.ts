/**
 * The requests that are sent: which hour, which user, which kind, post or read.
 *
 * Invariant: all candidates of a round get the same requests in the same phase, since they are drawn from a
 * seed; only the time in them is that of the phase.
 */
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Random } from "../../test/harness/pipeline/random.ts";

export interface Mix {
  /** Of the requests; the rest are reads. */
  readonly postShare: number;
  /** Of the requests: those to one of the hours before the current one. */
  readonly olderShare: number;
}

/** 95 % of all requests are about the current hour. */
const OLDER_SHARE = 0.05;

export const MIXES = {
  "100:0": { postShare: 1, olderShare: OLDER_SHARE },
  "95:5": { postShare: 0.95, olderShare: OLDER_SHARE },
  "50:50": { postShare: 0.5, olderShare: OLDER_SHARE },
  "GET current": { postShare: 0, olderShare: 0 },
} as const satisfies Record<string, Mix>;

export type MixName = keyof typeof MIXES;

export interface Population {
  readonly users: number;
  readonly streams: number;
}

/** By which latencies are split. A request's class is written before its target in a requests file. */
export const REQUEST_CLASSES = ["POST current", "POST older", "GET current", "GET older"] as const;
export type RequestClass = (typeof REQUEST_CLASSES)[number];

const CLICK_SHARE = 0.1;
/** With the current one these are the 24 hours that the service holds in its hot store. */
const OLDER_HOURS = 23;
/** A phase that would see the turn of the hour begins so long after it. */
const AFTER_TURN_MS = 500;

export interface WorkloadOptions {
  readonly mix: Mix;
  readonly population: Population;
  readonly requests: number;
  readonly seed: number;
  readonly now: number;
}

/** A line per request: the class's number, then the target. */
export function requestLines(options: WorkloadOptions): string {
  const random = new Random(options.seed);
  const lines: string[] = [];
  for (let n = 0; n < options.requests; n++) lines.push(requestLine(random, options));
  return `${lines.join("\n")}\n`;
}

function requestLine(random: Random, { mix, population, now }: WorkloadOptions): string {
  const isPost = random.chance(mix.postShare);
  const isOlder = random.chance(mix.olderShare);
  const at = isOlder ? olderTime(random, now) : now;
  const stream = population.streams === 1 ? "" : `&stream=stream-${zipf(random, population.streams)}`;
  const requestClass = (isPost ? 0 : 2) + (isOlder ? 1 : 0);
  if (!isPost) return `${requestClass}/analytics?timestamp=${at}${stream}`;
  const user = `user-${zipf(random, population.users)}`;
  const kind = random.chance(CLICK_SHARE) ? "click" : "impression";
  return `${requestClass}/analytics?timestamp=${at}&user=${user}&${kind}${stream}`;
}

export interface BatchesOptions extends Omit<WorkloadOptions, "requests"> {
  readonly batches: number;
  readonly batchEvents: number;
}

/** Behind each body but the last; none has a blank line in it. */
export const BATCH_SEPARATOR = "\n\n";

/** Bodies for POST /events, as NDJSON: of events alone, none of which has an id. */
export function batchBodies({ batches, batchEvents, ...options }: BatchesOptions): string {
  const random = new Random(options.seed);
  const body = () => Array.from({ length: batchEvents }, () => eventLine(random, options)).join("\n");
  return Array.from({ length: batches }, body).join(BATCH_SEPARATOR);
}

function eventLine(random: Random, { mix, population, now }: Omit<WorkloadOptions, "requests">): string {
  const timestamp = random.chance(mix.olderShare) ? olderTime(random, now) : now;
  const stream = population.streams === 1 ? undefined : `stream-${zipf(random, population.streams)}`;
  const user = `user-${zipf(random, population.users)}`;
  const event = random.chance(CLICK_SHARE) ? "click" : "impression";
  return JSON.stringify({ timestamp, user, event, stream });
}

function olderTime(random: Random, now: number): number {
  return now - HOUR_MS * (1 + random.below(OLDER_HOURS));
}

/** 1 to `count`, each about as often as one over itself: Zipf's law, by the inverse of its distribution. */
function zipf(random: Random, count: number): number {
  return Math.floor(count ** random.fraction());
}

/** Now, or just after the turn of the hour if that comes within `neededMs`: "current" must stay it. */
export async function timeWithRoom(neededMs: number): Promise<number> {
  const leftMs = hourOf(Date.now()) + HOUR_MS - Date.now();
  if (leftMs < neededMs) await Bun.sleep(leftMs + AFTER_TURN_MS);
  return Date.now();
}
