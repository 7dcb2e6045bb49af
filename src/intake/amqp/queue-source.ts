/**
 * A queue of RabbitMQ (AMQP 0-9-1) as a source: consumed over one connection, which is made again whenever it is
 * lost. The queue is its operator's: it is never declared here, and consumed as it is.
 *
 * Invariant: at most one connection, or one attempt at one, at a time; between two there is a jittered backoff,
 * which starts anew only once a connection has lasted.
 */
import { backoffMs } from "../../runtime/backoff.ts";
import { errorText } from "../../runtime/deadline.ts";
import type { Log } from "../../runtime/log.ts";
import type { MessageIntake } from "../message-intake.ts";
import type { Source, SourceCounts, SourceState } from "../source.ts";
import { type AmqpSession, openSession } from "./session.ts";

export interface AmqpSettings {
  /** amqp://user:password@host:port/vhost */
  readonly url: string;
  readonly queue: string;
  /** Messages that may be under way. */
  readonly prefetch: number;
}

export interface AmqpSourceOptions extends AmqpSettings {
  readonly intake: MessageIntake;
  readonly log: Log;
}

export const AMQP = "amqp";

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 10_000;
const LASTING_MS = 5_000;
const DRAIN_GRACE_MS = 3_000;

/** Without user and password. */
export function describeAmqp({ url, queue }: Pick<AmqpSettings, "url" | "queue">): string {
  const { protocol, host, pathname } = new URL(url);
  return `queue ${queue} of ${protocol}//${host}${pathname === "/" ? "" : pathname}`;
}

export class AmqpSource implements Source {
  readonly name = AMQP;
  readonly description: string;
  readonly #options: AmqpSourceOptions;
  readonly #counts: SourceCounts = { received: 0, redelivered: 0, acknowledged: 0, rejected: 0, failures: 0 };
  #session: AmqpSession | undefined;
  #failure: string | undefined = "not connected yet";
  #isAway = false;
  #isStopping = false;
  #wakeUp: (() => void) | undefined;
  #opening: Promise<AmqpSession> | undefined;

  constructor(options: AmqpSourceOptions) {
    this.#options = options;
    this.description = describeAmqp(options);
  }

  get state(): SourceState {
    const session = this.#session;
    const counts = this.#counts;
    const underWay = session?.underWay ?? 0;
    if (this.#isStopping) return { status: "stopped", reason: "shutting_down", underWay, counts };
    if (session === undefined) return { status: "connecting", reason: this.#failure, underWay, counts };
    const reason = session.hold.reason ?? this.#options.intake.heldBy;
    return { status: reason === undefined ? "consuming" : "paused", reason, underWay, counts };
  }

  start(): void {
    void this.#run();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    for (let attempt = 0; !this.#isStopping; attempt++) {
      const startMs = performance.now();
      this.#noteFailure(await this.#consume());
      if (performance.now() - startMs > LASTING_MS) attempt = 0;
      if (!this.#isStopping) await this.#pause(backoffMs(attempt, RETRY_FIRST_MS, RETRY_MAX_MS, Math.random));
    }
  }

  /** Until it ends; answers why. Never rejects. */
  async #consume(): Promise<unknown> {
    const { log } = this.#options;
    try {
      this.#opening = openSession({ ...this.#options, counts: this.#counts });
      const session = await this.#opening;
      if (this.#isStopping) return void (await session.close());
      this.#session = session;
      this.#isAway = false;
      log.info({ source: AMQP, from: this.description }, "consuming");
      const why = await session.ended;
      if (!this.#isStopping) await session.close();
      return why;
    } catch (error) {
      return error;
    } finally {
      if (!this.#isStopping) this.#session = undefined;
    }
  }

  #noteFailure(why: unknown): void {
    if (this.#isStopping) return;
    this.#counts.failures += 1;
    this.#failure = errorText(why);
    const fields = { source: AMQP, from: this.description, error: this.#failure };
    if (!this.#isAway) this.#options.log.warn(fields, "not consuming, it will be tried until that ends");
    this.#isAway = true;
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeUp = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#wakeUp?.();
    const session = this.#session;
    await session?.drain(DRAIN_GRACE_MS);
    this.#options.intake.stop();
    await session?.close();
  }
}
