/**
 * Sends requests at a constant rate, and times each from the moment it was due.
 *
 * Invariants:
 * - The schedule never waits for the server: a request that is due while every connection is busy goes out
 *   late, and the wait counts. (A driver that sends the next request only after an answer skips, in its
 *   figures, all the requests that should have gone out during a pause: "coordinated omission".)
 * - Each request that was due has a sample, except in the first moments, when all connections are new. One that is
 *   still open at the end has the time it has waited.
 * - One request is in flight per connection.
 */
import { Latencies } from "../../src/runtime/latencies.ts";
import { type Distribution, distributionOf } from "./percentiles.ts";
import { isPost, loadRequests, type Requests } from "./requests.ts";
import { ResponseReader } from "./response-reader.ts";
import { REQUEST_CLASSES, type RequestClass } from "./workload.ts";

export interface ConstantRateJob {
  readonly port: number;
  readonly requestsPath: string;
  readonly connections: number;
  readonly ratePerS: number;
  readonly durationMs: number;
  /** The server is killed meanwhile: the run ends with its connections, and that is no failure. */
  readonly isServerKilled?: boolean;
}

export interface ConstantRateResult {
  readonly sent: number;
  /** Answered with success. */
  readonly answered: number;
  readonly acknowledgedEvents: number;
  /** Answered with anything else. */
  readonly refused: number;
  /** Due, but not answered when the run was over. */
  readonly open: number;
  /** Of those, posts that had been sent: nobody knows whether they were stored. */
  readonly eventsInDoubt: number;
  readonly latencies: Readonly<Partial<Record<RequestClass, Distribution>>>;
}

/** Below what a latency is to be told by, and enough to leave most of a core to the servers. */
const PAUSE_MS = 0.1;
/**
 * Requests that were due before have no sample; of a short run an eighth. With a server that does nothing, at
 * 20,000 requests/s, the 99th percentile of the first tenth of a second was 4 to 23 ms, and then mostly 1 to 6.
 */
const RAMP_MS = 500;
/** How long answers are awaited after the last request was due. */
const GRACE_MS = 2_000;

interface Connection {
  readonly reader: ResponseReader;
  /** The number of the request on its way; undefined if there is none. */
  request: number | undefined;
}

type Socket = Bun.Socket<Connection>;

/** `onStart`: called once all connections are there and the first request is due. */
export async function runConstantRate(job: ConstantRateJob, onStart: () => void): Promise<ConstantRateResult> {
  const run = new ConstantRateRun(job, loadRequests(job.requestsPath, job.port));
  return await run.result(onStart);
}

class ConstantRateRun {
  readonly #job: ConstantRateJob;
  readonly #requests: Requests;
  readonly #total: number;
  /** By request: its latency, or NaN while it is open. */
  readonly #latencies: Float64Array;
  /** First in, first out, so that every connection is used, and none is closed for being idle. */
  readonly #idle: Socket[] = [];
  readonly #done = Promise.withResolvers<void>();
  readonly #sleeper = new Int32Array(new SharedArrayBuffer(4));
  #sockets: Socket[] = [];
  #startMs = 0;
  #next = 0;
  #answered = 0;
  #refused = 0;
  #acknowledgedEvents = 0;
  #closed = 0;
  #isOver = false;

  constructor(job: ConstantRateJob, requests: Requests) {
    this.#job = job;
    this.#requests = requests;
    this.#total = Math.max(1, Math.round((job.ratePerS * job.durationMs) / 1_000));
    this.#latencies = new Float64Array(this.#total).fill(Number.NaN);
  }

  async result(onStart: () => void): Promise<ConstantRateResult> {
    this.#sockets = await Promise.all(Array.from({ length: this.#job.connections }, () => this.#connect()));
    this.#idle.push(...this.#sockets);
    onStart();
    this.#startMs = performance.now();
    this.#tick();
    try {
      await this.#done.promise;
    } finally {
      this.#isOver = true;
      for (const socket of this.#sockets) socket.terminate();
    }
    return this.#summary(performance.now());
  }

  #connect(): Promise<Socket> {
    return Bun.connect<Connection>({
      hostname: "127.0.0.1",
      port: this.#job.port,
      data: { reader: new ResponseReader(), request: undefined },
      socket: {
        open: (socket) => void socket.setNoDelay(true),
        data: (socket, chunk) => this.#received(socket, chunk),
        close: () => this.#lost(),
        error: () => {},
      },
    });
  }

  #dueMs(request: number): number {
    return this.#startMs + (request * 1_000) / this.#job.ratePerS;
  }

  #tick(): void {
    if (this.#isOver) return;
    try {
      this.#sendDue();
      const nowMs = performance.now();
      if (this.#isFinished(nowMs)) this.#done.resolve();
      else this.#pause(nowMs);
    } catch (error) {
      this.#done.reject(error);
    }
  }

  /** Timers are too coarse: they would send a millisecond's worth of requests at once. */
  #pause(nowMs: number): void {
    const untilDueMs = this.#next < this.#total ? this.#dueMs(this.#next) - nowMs : PAUSE_MS;
    if (untilDueMs > 0) Atomics.wait(this.#sleeper, 0, 0, Math.min(untilDueMs, PAUSE_MS));
    setImmediate(() => this.#tick());
  }

  #isFinished(nowMs: number): boolean {
    if (this.#closed === this.#sockets.length) return true;
    if (this.#answered + this.#refused === this.#total) return true;
    return nowMs > this.#startMs + this.#job.durationMs + GRACE_MS;
  }

  #sendDue(): void {
    const nowMs = performance.now();
    while (this.#next < this.#total && this.#dueMs(this.#next) <= nowMs) {
      const socket = this.#idle.shift();
      if (socket === undefined) return;
      this.#send(socket);
    }
  }

  #send(socket: Socket): void {
    const { bytes, starts, count } = this.#requests;
    const which = this.#next % count;
    const [start, end] = [starts[which]!, starts[which + 1]!];
    socket.data.request = this.#next++;
    const written = socket.write(bytes, start, end - start);
    if (written !== end - start && !this.#job.isServerKilled) {
      throw new Error(`the server took ${written} of ${end - start} bytes of a request`);
    }
  }

  #received(socket: Socket, chunk: Buffer): void {
    try {
      const status = socket.data.reader.push(chunk);
      if (status === undefined) return;
      this.#finish(socket.data, status);
      this.#idle.push(socket);
      this.#sendDue();
    } catch (error) {
      this.#done.reject(error);
    }
  }

  #finish(connection: Connection, status: number): void {
    const request = connection.request!;
    connection.request = undefined;
    this.#latencies[request] = performance.now() - this.#dueMs(request);
    if (status < 200 || status > 299) {
      this.#refused += 1;
      return;
    }
    this.#answered += 1;
    if (this.#isPost(request)) this.#acknowledgedEvents += 1;
  }

  #isPost(request: number): boolean {
    return isPost(this.#requests.classes[request % this.#requests.count]!);
  }

  #lost(): void {
    if (this.#isOver) return;
    this.#closed += 1;
    if (this.#job.isServerKilled) return;
    const { port, ratePerS } = this.#job;
    this.#done.reject(new Error(`the server on port ${port} closed a connection, at ${ratePerS} requests/s`));
  }

  #summary(endMs: number): ConstantRateResult {
    const sentPosts = this.#sockets.filter(({ data: { request } }) => {
      return request !== undefined && this.#isPost(request);
    });
    return {
      sent: this.#next,
      answered: this.#answered,
      acknowledgedEvents: this.#acknowledgedEvents,
      refused: this.#refused,
      open: this.#total - this.#answered - this.#refused,
      eventsInDoubt: sentPosts.length,
      latencies: this.#job.isServerKilled ? {} : this.#latenciesByClass(endMs),
    };
  }

  #latenciesByClass(endMs: number): ConstantRateResult["latencies"] {
    const samples = REQUEST_CLASSES.map(() => new Latencies());
    const { durationMs, ratePerS } = this.#job;
    const first = Math.floor((Math.min(RAMP_MS, durationMs / 8) * ratePerS) / 1_000);
    this.#latencies.forEach((latencyMs, request) => {
      if (request < first) return;
      const requestClass = this.#requests.classes[request % this.#requests.count]!;
      samples[requestClass]!.add(Number.isNaN(latencyMs) ? endMs - this.#dueMs(request) : latencyMs);
    });
    return Object.fromEntries(
      REQUEST_CLASSES.map((name, n) => [name, distributionOf(samples[n]!)] as const).filter(
        ([, distribution]) => distribution !== undefined,
      ),
    );
  }
}
