/**
 * A broker as a source of events: one session at a time, and a new one whenever it ends. A driver for a protocol is a
 * function that creates a session.
 *
 * Invariants: a message is acknowledged or returned only once each of its events is stored (now or earlier) or set
 * aside with a reason. There is never more than one session or attempt to open one; if any part of a session fails, all
 * of it ends. Between two attempts there is a jittered backoff, which is reset only after a session that lasted.
 */
import { backoffMs, waitAtMost, withDeadline } from "../runtime/clock.ts";
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import type { Deliveries, SourceCounts } from "./deliveries.ts";
import type { MessageIntake } from "./message-intake.ts";

/** How often the broker is asked for its backlog. */
export const LAG_REFRESH_MS = 2_000;

export interface SessionOptions {
  /** The name of the queue, or of Kafka's topic. */
  readonly queue: string;
  /** Kafka's consumer group. */
  readonly group: string;
  /** Messages that may be in flight. */
  readonly prefetch: number;
  /** Certificates (PEM) to trust instead of the public ones. */
  readonly ca: string | undefined;
  readonly intake: MessageIntake;
  readonly counts: SourceCounts;
  readonly log: Log;
}

export interface Session {
  readonly deliveries: Deliveries;
  /** A working broker has answered within this time. */
  readonly openTimeoutMs: number;
  /** Undefined if the broker does not report it. */
  readonly lags?: readonly Lag[];
  /** Called once, before everything else. Rejects with the error of the broker or of the connection. */
  open(): Promise<void>;
  /** Accepts no more messages, and settles those in flight. It may reject or take too long. */
  drain(): Promise<void>;
  /** Called after the deliveries have ended: leaves unsettled messages to the broker. Never rejects. */
  close(): Promise<void>;
}

export type Driver = (options: SessionOptions) => Session;

export const SOURCE_STATUSES = [
  /** Not connected yet or no longer; it retries by itself. */
  "connecting",
  "consuming",
  /** Some or all of its messages are held, because their events cannot be stored now. That bounds what it consumes. */
  "paused",
  "stopped",
] as const;

/** What a source reports of itself, to probes, metrics and the dashboard. */
export interface SourceState {
  readonly status: (typeof SOURCE_STATUSES)[number];
  /** Why it does not consume; undefined while it does. */
  readonly reason: string | undefined;
  /** Messages that have arrived and are not settled. */
  readonly inFlight: number;
  readonly counts: SourceCounts;
  /** Undefined if the broker does not report it. */
  readonly lags?: readonly Lag[];
}

/** The backlog of a partition that this process consumes, or of the queue that all consume. */
export interface Lag {
  readonly partition?: number;
  /** Messages waiting in the broker. In a partition: those above the committed offset. */
  readonly lag: number;
}

interface BrokerSourceOptions {
  readonly name: string;
  readonly description: string;
  readonly intake: MessageIntake;
  readonly log: Log;
  readonly newSession: (counts: SourceCounts) => Promise<Session>;
}

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 10_000;
const LASTING_MS = 5_000;
const DRAIN_GRACE_MS = 5_000;

export class BrokerSource {
  /** The name in metrics and log lines. */
  readonly name: string;
  /** Where events come from, for the lines printed at start: never with a password. */
  readonly description: string;
  readonly #options: BrokerSourceOptions;
  readonly #counts: SourceCounts = { received: 0, redelivered: 0, acknowledged: 0, rejected: 0, failures: 0 };
  readonly #stopping = Promise.withResolvers<void>();
  #session: Session | undefined;
  #failure: string | undefined = "not connected yet";
  #isFailing = false;
  #isStopping = false;

  constructor(options: BrokerSourceOptions) {
    this.#options = options;
    this.name = options.name;
    this.description = options.description;
  }

  get state(): SourceState {
    const session = this.#session;
    const lags = session?.lags;
    const common = {
      inFlight: session?.deliveries.inFlight ?? 0,
      counts: this.#counts,
      ...(lags !== undefined && { lags }),
    };
    if (this.#isStopping) return { status: "stopped", reason: "shutting_down", ...common };
    if (session === undefined) return { status: "connecting", reason: this.#failure, ...common };
    const reason = session.deliveries.hold.reason ?? this.#options.intake.heldBy;
    return { status: reason === undefined ? "consuming" : "paused", reason, ...common };
  }

  /** Retries by itself whatever happens: the service runs on if a source fails. */
  start(): void {
    void this.#run();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    for (let attempt = 0; !this.#isStopping; attempt++) {
      const startMs = performance.now();
      this.#noteFailure(await this.#consume().catch((error: unknown) => error));
      if (performance.now() - startMs > LASTING_MS) attempt = 0;
      const pauseMs = backoffMs(attempt, RETRY_FIRST_MS, RETRY_MAX_MS, Math.random);
      await waitAtMost(pauseMs, this.#stopping.promise);
    }
  }

  /** Consumes until the session ends; returns why it ended. */
  async #consume(): Promise<unknown> {
    const { name, log, newSession } = this.#options;
    const session = await newSession(this.#counts);
    try {
      await open(session);
      if (this.#isStopping) return undefined;
      this.#session = session;
      this.#isFailing = false;
      log.info({ source: name, from: this.description }, "consuming");
      return await session.deliveries.ended;
    } finally {
      // stop() itself closes the session that it found, after draining it.
      if (!this.#isStopping || this.#session === undefined) await close(session);
      if (!this.#isStopping) this.#session = undefined;
    }
  }

  #noteFailure(why: unknown): void {
    if (this.#isStopping) return;
    this.#counts.failures += 1;
    this.#failure = reasonOf(why);
    const fields = { source: this.name, from: this.description, error: this.#failure };
    if (!this.#isFailing) this.#options.log.warn(fields, "not consuming, retrying until it works");
    this.#isFailing = true;
  }

  /**
   * Accepts no more messages, settles those in flight and leaves the rest to the broker. Takes at most a few seconds,
   * and never throws. Must be called while the pipeline still accepts events.
   */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stopping.resolve();
    const session = this.#session;
    if (session !== undefined) await waitAtMost(DRAIN_GRACE_MS, session.drain());
    this.#options.intake.stop();
    if (session !== undefined) await close(session);
  }
}

async function open(session: Session): Promise<void> {
  const ended = session.deliveries.ended.then((why) => Promise.reject(why));
  const noAnswer = () => new Error("the broker does not answer");
  await withDeadline(Promise.race([session.open(), ended]), session.openTimeoutMs, noAnswer);
}

async function close(session: Session): Promise<void> {
  session.deliveries.end(new Error("it was closed"));
  await session.close();
}

/** Error codes of Kafka's client, which only repeat the text before them. */
const CLIENT_CODE = / \(PLT_KFK_\w+\)$/;

/** How the clients of AMQP 0-9-1 and 1.0 read the letters HTTP/1 where they expect a frame. */
const HTTP_FOUND = /^Frame size 1345270062 |: 48545450$/;

/** Includes the causes, because a client's own text often says only that something failed. */
function reasonOf(error: unknown): string {
  const texts: string[] = [];
  const add = (one: unknown) => {
    const text = errorText(one).replace(CLIENT_CODE, "");
    if (!texts.some((known) => known.includes(text))) texts.push(text);
    if (one instanceof AggregateError) for (const inner of one.errors) add(inner);
    if (one instanceof Error && one.cause !== undefined) add(one.cause);
  };
  add(error);
  const text = texts.join(": ");
  return HTTP_FOUND.test(text) ? `the broker answers in HTTP: is this its port for HTTP? (${text})` : text;
}
