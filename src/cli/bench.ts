/**
 * `hourglass bench`: measures throughput and latency of a running service. Its events are real, and count in a separate
 * stream. `npm run bench` compares with other services.
 *
 * Each connection waits for its answer before it sends the next request (a closed loop), so a service that pauses gets
 * fewer requests: the percentiles do not describe clients with a fixed rate.
 */
import { type Command, InvalidArgumentError } from "commander";
import { errorText } from "../runtime/error-text.ts";
import { Latencies } from "../runtime/latencies.ts";
import type { Config } from "../settings/settings.ts";
import { exitWith, streamArgument, URL_HELP, urlArgument } from "./arguments.ts";
import { amount, grouped } from "./shared/amounts.ts";
import { print } from "./shared/output.ts";
import { ServiceClient } from "./shared/service-client.ts";

interface BenchOptions {
  readonly url: string | undefined;
  readonly seconds: number;
  readonly connections: number;
  /** Events per request: 1 goes to /analytics, more to /events. */
  readonly batch: number;
  readonly stream: string;
  readonly json: boolean;
}

export function addBench(program: Command): void {
  program
    .command("bench")
    .description("send generated events to a running service and measure it; exits with 2 if it accepts none")
    .option("--url <url>", URL_HELP, urlArgument)
    .option("--seconds <n>", "duration", countArgument, 10)
    .option("--connections <n>", "concurrent connections", countArgument, 64)
    .option("--batch <n>", "events per request", countArgument, 1)
    .option("--stream <name>", "stream for the events", streamArgument, "bench")
    .option("--json", "print the figures as a JSON object", false)
    .action(exitWith(bench));
}

function countArgument(text: string): number {
  if (!/^[1-9]\d{0,3}$|^10000$/.test(text)) throw new InvalidArgumentError("Expected a number from 1 to 10000.");
  return Number(text);
}

interface Tally {
  accepted: number;
  readonly latencies: Latencies;
  readonly failures: Map<string, number>;
}

interface Sending {
  readonly path: string;
  readonly request: RequestInit;
}

const USERS = 1_000_000;
const CLICK_SHARE = 0.1;
const ANSWER_TIMEOUT_MS = 10_000;
/** After a failure, so that a service that refuses requests is not flooded. */
const PAUSE_MS = 100;

/** Returns the exit code: 0, 1 if some requests failed, 2 if no event was accepted. */
async function bench(config: Config, options: BenchOptions): Promise<number> {
  const { connections, seconds } = options;
  const service = new ServiceClient(config, options.url);
  try {
    await service.ask("/livez", { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
  } catch (error) {
    console.error(`hourglass bench: no answer from ${service.url}, so nothing was sent: ${errorText(error)}`);
    return 2;
  }
  const tally: Tally = { accepted: 0, latencies: new Latencies(), failures: new Map() };
  const startMs = performance.now();
  const untilMs = startMs + seconds * 1_000;
  const sendOn = async () => {
    while (performance.now() < untilMs) await send(service, options, tally);
  };
  await Promise.all(Array.from({ length: connections }, sendOn));
  const tookS = (performance.now() - startMs) / 1_000;
  const summary = summaryOf(tally, tookS, options);
  print(options.json ? JSON.stringify(summary) : textOf(summary, service.url));
  if (tally.accepted === 0) return 2;
  return tally.failures.size > 0 ? 1 : 0;
}

function sendingOf({ batch, stream }: BenchOptions): Sending {
  const timestamp = Date.now();
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  if (batch === 1) {
    const query = `timestamp=${timestamp}&user=${anyUser()}&${anyKind()}&stream=${stream}`;
    return { path: `/analytics?${query}`, request: { method: "POST", signal } };
  }
  const line = () => JSON.stringify({ timestamp, user: anyUser(), event: anyKind(), stream });
  const body = Array.from({ length: batch }, line).join("\n");
  const headers = { "content-type": "application/x-ndjson" };
  return { path: "/events", request: { method: "POST", headers, body, signal } };
}

function anyUser(): string {
  return `user-${Math.floor(Math.random() * USERS)}`;
}

function anyKind(): "click" | "impression" {
  return Math.random() < CLICK_SHARE ? "click" : "impression";
}

async function send(service: ServiceClient, options: BenchOptions, tally: Tally): Promise<void> {
  const { path, request } = sendingOf(options);
  const startMs = performance.now();
  try {
    const response = await service.ask(path, request);
    const text = await response.text();
    if (response.ok) {
      tally.latencies.add(performance.now() - startMs);
      tally.accepted += options.batch === 1 ? 1 : Number(JSON.parse(text).accepted);
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

function summaryOf({ accepted, latencies, failures }: Tally, seconds: number, options: BenchOptions) {
  const percentile = (percent: number) => rounded(latencies.percentileMs(percent));
  return {
    accepted,
    perS: Math.round(accepted / seconds),
    seconds: rounded(seconds),
    connections: options.connections,
    batch: options.batch,
    stream: options.stream,
    latencyMs: { p50: percentile(50), p99: percentile(99), max: percentile(100) },
    failures: Object.fromEntries(failures),
  };
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

function textOf(summary: ReturnType<typeof summaryOf>, url: string): string {
  const { accepted, perS, seconds, connections, stream, latencyMs, failures } = summary;
  return [
    `${grouped(perS)} events/s: ${grouped(accepted)} in ${seconds} s`,
    `sent over ${amount(connections, "connection")} to ${url}`,
    ...(accepted === 0 ? [] : [`answers: p50 ${latencyMs.p50} ms, p99 ${latencyMs.p99} ms, max ${latencyMs.max} ms`]),
    `the events count in the stream '${stream}'`,
    ...Object.entries(failures).map(([why, count]) => `FAILED: ${amount(count, "time")} ${why}`),
  ].join("\n");
}
