/**
 * One connection to a broker, from its handshake to its end. A driver for a protocol is a function that creates one.
 *
 * Invariant: if any part of a session fails, the whole session ends, and a new one is opened.
 */
import type { Log } from "../runtime/log.ts";
import type { Deliveries } from "./deliveries.ts";
import type { MessageIntake } from "./message-intake.ts";
import type { Lag, SourceCounts } from "./source.ts";

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
