/**
 * `hourglass bench`: how many events a running service takes, and how soon it answers, seen from here. The events are
 * real: they count in a stream of their own. `bun run bench` is the one to compare with others.
 *
 * Each connection sends its next request when it has its answer, so that a service that pauses is sent less: the
 * percentiles are of the answers, and are no promise for a rate that others set.
 */

import { errorText } from "../runtime/deadline.ts";
import type { Config } from "../settings/settings.ts";
import { grouped } from "./import/report.ts";
import { keyHeaders } from "./service/key-headers.ts";
import { ownUrl } from "./service/own-url.ts";

export interface BenchOptions {
  /** Of the service; undefined: the one of this machine's settings. */
  readonly url: string | undefined;
  readonly seconds: number;
  readonly connections: number;
  /** In a request: 1 goes to /analytics, more to /events. */
  readonly batch: number;
  readonly stream: string;
  readonly json: boolean;
}

interface Tally {
  accepted: number;
  readonly latenciesMs: number[];
  /** Requests, by what became of them. */
  readonly failures: Map<string, number>;
}

interface Sending {
  readonly target: string;
  readonly request: RequestInit;
}

const USERS = 1_000_000;
const CLICK_SHARE = 0.1;
const ANSWER_TIMEOUT_MS = 10_000;
/** For a service that refuses or is not there: no reason to ask it as fast as it can say so. */
const PAUSE_MS = 100;

/** The exit code: 0, 1 if some requests failed, 2 if no event was taken. */
export async function benchService(config: Config, options: BenchOptions): Promise<number> {
  const { connections, seconds } = options;
  const url = options.url ?? ownUrl(config);
  const headers = keyHeaders(config.apiKey);
  const tally: Tally = { accepted: 0, latenciesMs: [], failures: new Map() };
  const startMs = performance.now();
  const untilMs = startMs + seconds * 1_000;
  const sendOn = async () => {
    while (performance.now() < untilMs) await send(sendingOf(url, options, headers), options.batch, tally);
  };
  await Promise.all(Array.from({ length: connections }, sendOn));
  const tookS = (performance.now() - startMs) / 1_000;
  const summary = summaryOf(tally, tookS, options);
  console.log(options.json ? JSON.stringify(summary) : textOf(summary, url));
  if (tally.accepted === 0) return 2;
  return tally.failures.size > 0 ? 1 : 0;
}

function sendingOf(
  url: string,
  { batch, stream }: BenchOptions,
  headers: Readonly<Record<string, string>>,
): Sending {
  const timestamp = Date.now();
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  if (batch === 1) {
    const query = `timestamp=${timestamp}&user=${anyUser()}&${anyKind()}&stream=${stream}`;
    return { target: `${url}/analytics?${query}`, request: { method: "POST", headers, signal } };
  }
  const line = () => JSON.stringify({ timestamp, user: anyUser(), event: anyKind(), stream });
  const body = Array.from({ length: batch }, line).join("\n");
  const typed = { ...headers, "content-type": "application/x-ndjson" };
  return { target: `${url}/events`, request: { method: "POST", headers: typed, body, signal } };
}

function anyUser(): string {
  return `user-${Math.floor(Math.random() * USERS)}`;
}

function anyKind(): "click" | "impression" {
  return Math.random() < CLICK_SHARE ? "click" : "impression";
}

async function send({ target, request }: Sending, batch: number, tally: Tally): Promise<void> {
  const startMs = performance.now();
  try {
    const response = await fetch(target, request);
    const text = await response.text();
    if (response.ok) {
      tally.latenciesMs.push(performance.now() - startMs);
      tally.accepted += batch === 1 ? 1 : Number(JSON.parse(text).accepted);
      return;
    }
    fail(tally, `${response.status} ${text.slice(0, 200)}`);
  } catch (error) {
    fail(tally, errorText(error));
  }
  await Bun.sleep(PAUSE_MS);
}

function fail({ failures }: Tally, why: string): void {
  failures.set(why, (failures.get(why) ?? 0) + 1);
}

function summaryOf({ accepted, latenciesMs, failures }: Tally, seconds: number, options: BenchOptions) {
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  const percentile = (share: number) => rounded(sorted[Math.ceil(share * sorted.length) - 1] ?? 0);
  return {
    accepted,
    perS: Math.round(accepted / seconds),
    seconds: rounded(seconds),
    connections: options.connections,
    batch: options.batch,
    stream: options.stream,
    latencyMs: { p50: percentile(0.5), p99: percentile(0.99), max: percentile(1) },
    failures: Object.fromEntries(failures),
  };
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

function textOf(summary: ReturnType<typeof summaryOf>, url: string): string {
  const { accepted, perS, seconds, connections, stream, latencyMs, failures } = summary;
  return [
    `${grouped(perS)} events/s: ${grouped(accepted)} in ${seconds} s over ${connections} connections to ${url}`,
    `answers: p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, max ${latencyMs.max} ms`,
    `they count in the stream '${stream}'`,
    ...Object.entries(failures).map(([why, count]) => `FAILED: ${grouped(count)} times ${why}`),
  ].join("\n");
}
