#!/usr/bin/env bun
/**
 * Sends generated requests over many connections, one at a time on each, and writes down what came of them.
 * A program of its own: see child-program.ts.
 *
 * Invariant: a connection is used again only if what went over it is over: not after bytes of which nobody can
 * say where the request in them ends.
 */
import type { Socket } from "bun";
import { ACKNOWLEDGED, Outcomes, REFUSED, UNKNOWN } from "../../harness/load/outcomes.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { runAsChild } from "./child-program.ts";
import { type FuzzClass, type FuzzRequest, FuzzRequests } from "./fuzz-requests.ts";
import { wholeAnswer } from "./raw-answer.ts";

export interface FuzzerOptions {
  readonly port: number;
  readonly requests: number;
  readonly connections: number;
  readonly seed: number;
  readonly hour: number;
  readonly outcomesPath: string;
}

export interface FuzzerResult {
  readonly requests: number;
  readonly seconds: number;
  /** "<class> <status>", or "<class> no answer". */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Acknowledged requests that are not valid, numbered events. */
  readonly otherAcknowledged: number;
  /** POSTs among the raw ones that nothing was heard of: each may count, or not. */
  readonly otherUnknown: number;
  /** A few of the requests whose outcome is none that should be, as text. */
  readonly surprises: readonly string[];
}

interface Lane {
  socket: Socket | undefined;
  request: FuzzRequest | undefined;
  received: Buffer | undefined;
  silence: Timer | undefined;
}

/**
 * Sends generated requests over many connections, one at a time on each, and records the results. A separate program:
 * see child-program.ts.
 *
 * Invariant: a connection is reused only if the previous request on it is over: not after bytes in which nobody can
 * tell where the request ends.
 */
const RAW_PATIENCE_MS = 40;
const PATIENCE_MS = 20_000;
const RESEND_SHARE = 0.2;
const SURPRISES_MAX = 20;
const QUOTED_MAX = 300;
const RECONNECT_MS = 20;

class Fuzzer {
  readonly #options: FuzzerOptions;
  readonly #random: Random;
  readonly #requests: FuzzRequests;
  readonly #numbered = new Outcomes();
  readonly #outcomes: Record<string, number> = {};
  readonly #surprises: string[] = [];
  readonly #done = Promise.withResolvers<void>();
  #sent = 0;
  #settled = 0;
  #otherAcknowledged = 0;
  #otherUnknown = 0;

  constructor(options: FuzzerOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#requests = new FuzzRequests(this.#random, options.hour);
  }

  async run(): Promise<FuzzerResult> {
    const startMs = performance.now();
    for (let i = 0; i < this.#options.connections; i++) void this.#connect(newLane());
    await this.#done.promise;
    const seconds = (performance.now() - startMs) / 1_000;
    await Bun.write(this.#options.outcomesPath, this.#numbered.bytes);
    return {
      requests: this.#settled,
      seconds,
      outcomes: this.#outcomes,
      otherAcknowledged: this.#otherAcknowledged,
      otherUnknown: this.#otherUnknown,
      surprises: this.#surprises,
    };
  }

  async #connect(lane: Lane): Promise<void> {
    while (this.#sent < this.#options.requests) {
      try {
        await Bun.connect<Lane>({
          hostname: "127.0.0.1",
          port: this.#options.port,
          data: lane,
          socket: this.#handlers,
        });
        return;
      } catch {
        await Bun.sleep(RECONNECT_MS);
      }
    }
  }

  readonly #handlers = {
    open: (socket: Socket<Lane>) => {
      socket.data.socket = socket as unknown as Socket;
      this.#next(socket.data);
    },
    data: (socket: Socket<Lane>, chunk: Buffer) => {
      const lane = socket.data;
      // Of a connection that was given up, or behind an answer that was taken.
      if (lane.socket !== (socket as unknown as Socket) || lane.request === undefined) return;
      this.#take(lane, lane.request, chunk);
    },
    close: (socket: Socket<Lane>) => {
      const lane = socket.data;
      if (lane.socket !== (socket as unknown as Socket)) return;
      if (lane.request !== undefined) this.#unanswered(lane, lane.request, "closed");
      else this.#renew(lane);
    },
    error: () => {},
    connectError: () => {},
  };

  #next(lane: Lane, request?: FuzzRequest): void {
    if (this.#sent >= this.#options.requests) {
      lane.socket?.end();
      lane.socket = undefined;
      return;
    }
    this.#sent += 1;
    lane.request = request ?? this.#requests.next();
    lane.received = undefined;
    const { kind, number, bytes } = lane.request;
    if (number !== undefined && request === undefined) this.#numbered.set(number, UNKNOWN);
    const patienceMs = kind === "raw" ? RAW_PATIENCE_MS : PATIENCE_MS;
    const sent = lane.request;
    lane.silence = setTimeout(() => this.#unanswered(lane, sent, "no answer"), patienceMs);
    lane.socket!.write(bytes);
  }

  #take(lane: Lane, request: FuzzRequest, chunk: Buffer): void {
    const received = lane.received === undefined ? chunk : Buffer.concat([lane.received, chunk]);
    let status: number;
    let isLast: boolean;
    try {
      const answer = wholeAnswer(received, request.isHead);
      lane.received = Buffer.from(received);
      if (answer === undefined) return;
      ({ status, isLast } = answer);
    } catch (error) {
      this.#surprise(request, String(error));
      [status, isLast] = [0, true];
    }
    this.#note(request, status);
    this.#settle(lane, request, String(status));
    const isOver = isLast || request.kind === "raw";
    if (isOver) {
      this.#renew(lane);
      return;
    }
    const isAgain = request.hasId && status === 204 && this.#random.chance(RESEND_SHARE);
    this.#next(lane, isAgain ? request : undefined);
  }

  #note(request: FuzzRequest, status: number): void {
    const { number, kind, isPost } = request;
    if (!isExpected(kind, status)) this.#surprise(request, `was answered with ${status}`);
    if (number === undefined) {
      if (status === 204 && isPost) this.#otherAcknowledged += 1;
      // A 100 is an answer before the answer, which is not waited for.
      if (status < 200 && isPost) this.#otherUnknown += 1;
    } else if (this.#numbered.get(number) !== ACKNOWLEDGED) {
      this.#numbered.set(number, status === 204 ? ACKNOWLEDGED : REFUSED);
    }
  }

  #unanswered(lane: Lane, request: FuzzRequest, how: string): void {
    if (request.kind !== "raw") this.#surprise(request, how);
    else if (request.isPost) this.#otherUnknown += 1;
    this.#settle(lane, request, how);
    this.#renew(lane);
  }

  #settle(lane: Lane, { kind }: FuzzRequest, outcome: string): void {
    clearTimeout(lane.silence);
    lane.request = undefined;
    const what = `${kind} ${outcome}`;
    this.#outcomes[what] = (this.#outcomes[what] ?? 0) + 1;
    this.#settled += 1;
    if (this.#settled === this.#options.requests) this.#done.resolve();
  }

  #renew(lane: Lane): void {
    const { socket } = lane;
    lane.socket = undefined;
    socket?.terminate();
    void this.#connect(newLane());
  }

  #surprise({ bytes }: FuzzRequest, what: string): void {
    if (this.#surprises.length >= SURPRISES_MAX) return;
    this.#surprises.push(`${JSON.stringify(bytes.toString("latin1").slice(0, QUOTED_MAX))}: ${what}`);
  }
}

function isExpected(kind: FuzzClass, status: number): boolean {
  if (kind === "valid") return [200, 204, 503].includes(status);
  // 505 is the parser's word for a request line that names no version of HTTP: no fault of the service.
  return status < 500 || status === 503 || (status === 505 && kind === "raw");
}

function newLane(): Lane {
  return { socket: undefined, request: undefined, received: undefined, silence: undefined };
}

await runAsChild((options: FuzzerOptions) => new Fuzzer(options).run());
