/**
 * The load generator of the bench and the chaos suites: driver.c in its own thread. In C, since a driver in JavaScript
 * was the bottleneck: at 10,000 requests/s to a server that does nothing it showed a 99th percentile of 10 ms, where
 * one in C showed 0.3 to 1.2.
 *
 * Invariant: the memory that the driver works on is held here until it has ended.
 */
import { type Pointer, ptr } from "bun:ffi";
import { getSystemErrorMessage } from "node:util";

/** Sent in turn, from the first again after the last. */
export interface Requests {
  readonly bytes: Uint8Array;
  /** Where each begins in `bytes`; one more than there are requests. */
  readonly starts: Uint32Array;
  /** Where in `bytes` ten digits are replaced by the request's number; 0: nowhere. */
  readonly numberAt?: Uint32Array;
  /** Where thirteen digits are replaced by `firstTime` and as many ms as the request's number, within an hour. */
  readonly timeAt?: Uint32Array;
  readonly firstTime?: number;
}

export interface LoadOptions {
  /** On 127.0.0.1; connections are spread over them. */
  readonly ports: readonly number[];
  readonly connections: number;
  readonly requests: Requests;
  /** Undefined: each connection sends its next request as soon as it has the answer to the last. */
  readonly ratePerS: number | undefined;
  readonly seconds: number;
  /** How long answers are awaited after that. */
  readonly graceS: number;
  /** Reopen lost connections, and skip a request that is due while no connection is free. */
  readonly isOverload?: boolean;
  /** Where the driver's thread stays. */
  readonly core?: number | undefined;
}

export interface LoadResult {
  readonly sent: number;
  /** Answered with 2xx. */
  readonly acknowledged: number;
  /** Answered with anything else. */
  readonly refused: number;
  /** Sent, and not answered. */
  readonly unknown: number;
  /** Due while every connection was busy; only under overload. */
  readonly skipped: number;
  /** While a request was open. */
  readonly lostConnections: number;
  readonly seconds: number;
  /** Counts by "status code", such as "503 overloaded". */
  readonly refusals: Readonly<Record<string, number>>;
  /** Indexed by request number; the values are those of outcomes.ts. */
  readonly outcomes: Uint8Array;
  /** Indexed by request number. At a constant rate, due requests without an answer count until the end. */
  readonly latenciesMs: Float32Array;
}

/** Pointers to what driver.c calls job, latency_ms, outcomes, found, reasons and stop. */
export type DriverJob = [Pointer, Pointer, Pointer, Pointer, Pointer, Pointer];

/** More than any server takes here, for a run without a rate. */
const REQUESTS_PER_S_MAX = 300_000;
const REASONS = 32;
const REASON_BYTES = 52;

export interface RunningLoad {
  readonly result: Promise<LoadResult>;
  /** Until now. 0 while the driver is compiled and connects, which takes 0.1 s, and longer on a busy machine. */
  acknowledged(): number;
  /** Ends the run early, with the result so far. */
  stop(): void;
}

export function startLoad(options: LoadOptions): RunningLoad {
  const { ratePerS, seconds } = options;
  const capacity = Math.max(1, Math.round((ratePerS ?? REQUESTS_PER_S_MAX) * seconds));
  const memory = {
    ...packed(options, capacity),
    latenciesMs: new Float32Array(capacity),
    outcomes: new Uint8Array(capacity),
    found: new Float64Array(7),
    reasons: new Uint8Array(REASONS * REASON_BYTES),
    stop: new Int32Array(1),
  };
  const { job, latenciesMs, outcomes, found, reasons, stop } = memory;
  const pointers: DriverJob = [
    ...([ptr(job), ptr(latenciesMs), ptr(outcomes)] as const),
    ...([ptr(found), ptr(reasons), ptr(stop)] as const),
  ];
  const result = runThread(pointers).then((error) => {
    if (error !== 0) throw new Error(`the load driver failed: ${failureText(error, options)}`);
    // `memory` is used here, so nothing that the thread works on is collected before.
    return resultOf(memory);
  });
  result.catch(() => {});
  return { result, acknowledged: () => found[1]!, stop: () => void Atomics.store(stop, 0, 1) };
}

export async function sendLoad(options: LoadOptions): Promise<LoadResult> {
  return await startLoad(options).result;
}

/** Lays out `struct job` of driver.c, whose members have eight bytes each. */
function packed(options: LoadOptions, capacity: number): Pick<Memory, "job" | "inputs"> {
  const { ports, connections, requests, ratePerS = 0, seconds, graceS, isOverload = false, core = -1 } = options;
  const count = requests.starts.length - 1;
  const none = new Uint32Array(count);
  const { bytes, starts, numberAt = none, timeAt = none, firstTime = 0 } = requests;
  const portNumbers = Uint16Array.from(ports);
  const job = new ArrayBuffer(15 * 8);
  const [integers, doubles] = [new BigInt64Array(job), new Float64Array(job)];
  const pointers = [bytes, starts, numberAt, timeAt].map((view) => ptr(view));
  integers.set([...pointers, count, ptr(portNumbers), ports.length, connections, capacity].map(BigInt));
  doubles.set([ratePerS, seconds, graceS, firstTime], 9);
  integers.set([BigInt(isOverload), BigInt(core)], 13);
  return { job: new Uint8Array(job), inputs: [bytes, starts, numberAt, timeAt, portNumbers] };
}

function runThread(pointers: DriverJob): Promise<number> {
  const thread = new Worker(new URL("driver-thread.ts", import.meta.url));
  const ended = new Promise<number>((resolve, reject) => {
    thread.onmessage = ({ data }) => resolve(data);
    thread.onerror = ({ message }) => reject(new Error(`driver.c can't be compiled here: ${message}`));
  });
  thread.postMessage(pointers);
  return ended.finally(() => thread.terminate());
}

function failureText(error: number, { ports }: LoadOptions): string {
  return `${getSystemErrorMessage(-error)} (${error}), port ${ports.join(" or ")}`;
}

interface Memory {
  readonly job: Uint8Array;
  /** The memory that `job` points to. */
  readonly inputs: readonly ArrayBufferView[];
  readonly latenciesMs: Float32Array;
  readonly outcomes: Uint8Array;
  readonly found: Float64Array;
  readonly reasons: Uint8Array;
}

function resultOf({ latenciesMs, outcomes, found, reasons }: Memory): LoadResult {
  const [sent, acknowledged, refused, unknown, skipped, lostConnections, seconds] = found;
  return {
    sent: sent!,
    acknowledged: acknowledged!,
    refused: refused!,
    unknown: unknown!,
    skipped: skipped!,
    lostConnections: lostConnections!,
    seconds: seconds!,
    refusals: refusalsIn(reasons),
    outcomes,
    latenciesMs,
  };
}

function refusalsIn(reasons: Uint8Array): Record<string, number> {
  const view = new DataView(reasons.buffer);
  const entries = Array.from({ length: REASONS }, (_, n) => {
    const text = Buffer.from(reasons.buffer, n * REASON_BYTES + 4, REASON_BYTES - 4).toString("latin1");
    return [text.replace(/\0.*$/s, ""), view.getUint32(n * REASON_BYTES, true)] as const;
  });
  return Object.fromEntries(entries.filter(([, count]) => count > 0));
}
