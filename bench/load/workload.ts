/**
 * The requests to send: hour, user, kind, post or read.
 *
 * Invariant: all candidates of a round get the same requests in the same phase, drawn from a seed; only their time is
 * that of the phase.
 */
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import type { Requests } from "../../test/harness/load/http-load.ts";
import { Random } from "../../test/harness/pipeline/random.ts";

export interface Mix {
  /** The share of requests that are posts; the rest are reads. */
  readonly postShare: number;
  /** The share of requests for one of the hours before the current one. */
  readonly olderShare: number;
}

/** 95 % of all requests are about the current hour. */
const OLDER_SHARE = 0.05;

export const POSTS: Mix = { postShare: 1, olderShare: OLDER_SHARE };
export const POSTS_AND_READS: Mix = { postShare: 0.5, olderShare: OLDER_SHARE };
export const READS_OF_CURRENT_HOUR: Mix = { postShare: 0, olderShare: 0 };

export interface Population {
  readonly users: number;
  readonly streams: number;
}

/** The classes that latencies are split by. */
export const REQUEST_CLASSES = ["POST current", "POST older", "GET current", "GET older"] as const;
export type RequestClass = (typeof REQUEST_CLASSES)[number];

const CLICK_SHARE = 0.1;
/** Together with the current hour, these are the 24 hours that the hot store holds. */
const OLDER_HOURS = 23;
/** A phase that would see the turn of the hour begins so long after it. */
const AFTER_TURN_MS = 500;
/** Time to build the requests and to await the last answers. */
const PREPARATION_MS = 5_000;

export interface WorkloadOptions {
  readonly mix: Mix;
  readonly population: Population;
  readonly requests: number;
  readonly seed: number;
  readonly now: number;
}

export interface Workload extends Requests {
  /** Each request's index in REQUEST_CLASSES. */
  readonly classes: Uint8Array;
}

export function workload(options: WorkloadOptions): Workload {
  const random = new Random(options.seed);
  const classes = new Uint8Array(options.requests);
  const texts = Array.from(classes, (_, n) => {
    const { requestClass, target } = requestOf(random, options);
    classes[n] = REQUEST_CLASSES.indexOf(requestClass);
    return httpRequest(requestClass.startsWith("POST") ? "POST" : "GET", target, []);
  });
  return { ...joined(texts), classes };
}

function requestOf(random: Random, { mix, population, now }: WorkloadOptions) {
  const isPost = random.chance(mix.postShare);
  const isOlder = random.chance(mix.olderShare);
  const at = isOlder ? olderTime(random, now) : now;
  const stream = population.streams === 1 ? "" : `&stream=stream-${zipf(random, population.streams)}`;
  const requestClass: RequestClass = `${isPost ? "POST" : "GET"} ${isOlder ? "older" : "current"}`;
  if (!isPost) return { requestClass, target: `/analytics?timestamp=${at}${stream}` };
  const user = `user-${zipf(random, population.users)}`;
  const kind = random.chance(CLICK_SHARE) ? "click" : "impression";
  return { requestClass, target: `/analytics?timestamp=${at}&user=${user}&${kind}${stream}` };
}

export interface BatchesOptions extends Omit<WorkloadOptions, "requests"> {
  readonly batches: number;
  readonly batchEvents: number;
}

/** POST /events with NDJSON: of events alone, none of which has an id. */
export function batchRequests({ batches, batchEvents, ...options }: BatchesOptions): Requests {
  const random = new Random(options.seed);
  const texts = Array.from({ length: batches }, () => {
    const body = Array.from({ length: batchEvents }, () => eventLine(random, options)).join("\n");
    return httpRequest("POST", "/events", ["Content-Type: application/x-ndjson"], body);
  });
  return joined(texts);
}

function httpRequest(method: string, target: string, headers: readonly string[], body = ""): string {
  // What a client sends with a POST, also with one that has no body.
  const lines = method === "POST" ? [...headers, `Content-Length: ${body.length}`] : headers;
  return [`${method} ${target} HTTP/1.1`, "Host: 127.0.0.1", ...lines, "", body].join("\r\n");
}

/** Nothing in a request is beyond ASCII. */
function joined(texts: readonly string[]): Requests {
  const starts = new Uint32Array(texts.length + 1);
  for (const [n, text] of texts.entries()) starts[n + 1] = starts[n]! + text.length;
  return { bytes: Buffer.from(texts.join(""), "latin1"), starts };
}

export type EventOptions = Pick<WorkloadOptions, "mix" | "population" | "now">;

export function eventLine(random: Random, { mix, population, now }: EventOptions, id?: string): string {
  const timestamp = random.chance(mix.olderShare) ? olderTime(random, now) : now;
  const stream = population.streams === 1 ? undefined : `stream-${zipf(random, population.streams)}`;
  const user = `user-${zipf(random, population.users)}`;
  const event = random.chance(CLICK_SHARE) ? "click" : "impression";
  return JSON.stringify({ timestamp, user, event, stream, id });
}

function olderTime(random: Random, now: number): number {
  return now - HOUR_MS * (1 + random.below(OLDER_HOURS));
}

/** 1 to `count`, each about as often as one over itself: Zipf's law, by the inverse of its distribution. */
function zipf(random: Random, count: number): number {
  return Math.floor(count ** random.fraction());
}

/** Now, or just after the turn of the hour if a run of `durationMs` would see it: "current" must stay it. */
export async function timeWithRoom(durationMs: number): Promise<number> {
  const leftMs = hourOf(Date.now()) + HOUR_MS - Date.now();
  if (leftMs < durationMs + PREPARATION_MS) await Bun.sleep(leftMs + AFTER_TURN_MS);
  return Date.now();
}
