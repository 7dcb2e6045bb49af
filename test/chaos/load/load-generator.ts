#!/usr/bin/env bun
/**
 * Sends as many events as it is told to, or as it can, over many connections, one request at a time on each.
 * A program of its own: see child-program.ts.
 *
 * Invariant: an event has a number, which is in its user's name, and is sent once. What it was answered with
 * is in the outcomes file at the end: so each row can be held against what its sender was told.
 */
import type { Socket } from "bun";
import { HOUR_MS } from "../../../src/domain/event.ts";
import { Latencies } from "../../../src/runtime/latencies.ts";
import { ACKNOWLEDGED, Outcomes, REFUSED, UNKNOWN } from "../verdict/outcomes.ts";
import { runAsChild } from "./child-program.ts";
import { wholeAnswer } from "./raw-answer.ts";

export interface LoadGeneratorOptions {
  readonly ports: readonly number[];
  readonly connections: number;
  /** Undefined: each connection sends its next event as soon as it has the answer to the last. */
  readonly ratePerS: number | undefined;
  readonly seconds: number;
  /** The hour that all events fall in. */
  readonly hour: number;
  /** What users' names begin with. */
  readonly prefix: string;
  readonly outcomesPath: string;
}

export interface LoadGeneratorResult {
  readonly sent: number;
  readonly acknowledged: number;
  readonly unknown: number;
  /** Due while every connection waited for an answer. */
  readonly heldBack: number;
  /** Of each answer that is no 204: its status, and the code in it. */
  readonly refusals: Readonly<Record<string, number>>;
  /** Of the acknowledged. */
  readonly latencies: readonly (readonly [ms: number, count: number])[];
  readonly maxMs: number;
  readonly seconds: number;
}

interface Lane {
  readonly port: number;
  socket: Socket | undefined;
  /** Of the event under way, or -1. */
  number: number;
  sentMs: number;
  received: Buffer | undefined;
}

const CONNECTS_AT_ONCE = 200;
const TICK_MS = 1;
const RECONNECT_MS = 50;
/** At the end, for what is under way. */
const LAST_ANSWERS_MS = 30_000;
const CODE = /"code":"([a-z_]+)"/;

class LoadGenerator {
  readonly #options: LoadGeneratorOptions;
  readonly #outcomes = new Outcomes();
  readonly #latencies = new Latencies();
  readonly #refusals: Record<string, number> = {};
  /** The one that waits longest goes first: a connection that nothing goes over is closed by the service. */
  readonly #free = new Set<Lane>();
  readonly #lanes: Lane[];
  #sent = 0;
  #acknowledged = 0;
  #unknown = 0;
  #underWay = 0;
  #heldBack = 0;
  #isSending = false;

  constructor(options: LoadGeneratorOptions) {
    this.#options = options;
    this.#lanes = Array.from({ length: options.connections }, (_, i) => {
      const port = options.ports[i % options.ports.length]!;
      return { port, socket: undefined, number: -1, sentMs: 0, received: undefined };
    });
  }

  async run(): Promise<LoadGeneratorResult> {
    const { seconds, outcomesPath } = this.#options;
    for (let i = 0; i < this.#lanes.length; i += CONNECTS_AT_ONCE) {
      await Promise.all(this.#lanes.slice(i, i + CONNECTS_AT_ONCE).map((lane) => this.#connect(lane)));
    }
    const startMs = performance.now();
    this.#isSending = true;
    await this.#sendUntil(startMs + 1_000 * seconds);
    this.#isSending = false;
    const ranS = (performance.now() - startMs) / 1_000;
    const giveUpMs = performance.now() + LAST_ANSWERS_MS;
    while (this.#underWay > 0 && performance.now() < giveUpMs) await Bun.sleep(TICK_MS);
    await Bun.write(outcomesPath, this.#outcomes.bytes);
    return {
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      unknown: this.#unknown + this.#underWay,
      heldBack: this.#heldBack,
      refusals: this.#refusals,
      latencies: this.#latencies.entries(),
      maxMs: this.#latencies.maxMs,
      seconds: ranS,
    };
  }

  async #sendUntil(endMs: number): Promise<void> {
    const { ratePerS } = this.#options;
    if (ratePerS === undefined) for (const lane of this.#takeFree(this.#lanes.length)) this.#send(lane);
    const startMs = performance.now();
    for (let nowMs = startMs; nowMs < endMs; nowMs = performance.now()) {
      if (ratePerS !== undefined) this.#sendDue(Math.floor(((nowMs - startMs) / 1_000) * ratePerS));
      await Bun.sleep(TICK_MS);
    }
  }

  #sendDue(due: number): void {
    for (const lane of this.#takeFree(due - this.#sent - this.#heldBack)) this.#send(lane);
    this.#heldBack = due - this.#sent;
  }

  #takeFree(count: number): Lane[] {
    const taken = [...this.#free.values().take(Math.max(0, count))];
    for (const lane of taken) this.#free.delete(lane);
    return taken;
  }

  #send(lane: Lane): void {
    const { hour, prefix } = this.#options;
    const number = this.#sent++;
    const kind = number % 3 === 0 ? "click" : "impression";
    lane.number = number;
    lane.sentMs = performance.now();
    this.#underWay += 1;
    this.#outcomes.set(number, UNKNOWN);
    const target = `/analytics?timestamp=${hour + (number % HOUR_MS)}&user=${prefix}${number}&${kind}`;
    lane.socket!.write(`POST ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  }

  /** Goes on trying: a service that is overwhelmed may take a while to take a connection. */
  async #connect(lane: Lane): Promise<void> {
    for (;;) {
      try {
        await Bun.connect<Lane>({
          hostname: "127.0.0.1",
          port: lane.port,
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
      const lane = socket.data;
      lane.socket = socket as unknown as Socket;
      this.#next(lane);
    },
    data: (socket: Socket<Lane>, chunk: Buffer) => this.#take(socket.data, chunk),
    close: (socket: Socket<Lane>) => this.#lost(socket.data),
    error: () => {},
    connectError: () => {},
  };

  #next(lane: Lane): void {
    if (this.#isSending && this.#options.ratePerS === undefined) this.#send(lane);
    else this.#free.add(lane);
  }

  #take(lane: Lane, chunk: Buffer): void {
    const received = lane.received === undefined ? chunk : Buffer.concat([lane.received, chunk]);
    const answer = wholeAnswer(received);
    lane.received = answer === undefined ? Buffer.from(received) : undefined;
    if (answer === undefined || lane.number === -1) return;
    const { status, body = "", isLast } = answer;
    if (status === 204) {
      this.#outcomes.set(lane.number, ACKNOWLEDGED);
      this.#acknowledged += 1;
      this.#latencies.add(performance.now() - lane.sentMs);
    } else {
      this.#outcomes.set(lane.number, REFUSED);
      const what = `${status} ${CODE.exec(body)?.[1] ?? body.slice(0, 80)}`;
      this.#refusals[what] = (this.#refusals[what] ?? 0) + 1;
    }
    this.#underWay -= 1;
    lane.number = -1;
    if (isLast) lane.socket?.end();
    else this.#next(lane);
  }

  #lost(lane: Lane): void {
    if (lane.number !== -1) {
      this.#unknown += 1;
      this.#underWay -= 1;
      lane.number = -1;
    }
    lane.socket = undefined;
    lane.received = undefined;
    this.#free.delete(lane);
    void this.#connect(lane);
  }
}

await runAsChild((options: LoadGeneratorOptions) => new LoadGenerator(options).run());
