/**
 * One connection to a broker, from its handshake to its end. A driver for a protocol is a function that makes one.
 *
 * Invariant: when anything of a session fails, all of it ends, and a new one is opened; nothing is mended in part.
 */
import type { Log } from "../runtime/log.ts";
import type { Deliveries } from "./deliveries.ts";
import type { MessageIntake } from "./message-intake.ts";
import type { Lag, SourceCounts } from "./source.ts";

/** How often a broker is asked what waits there. */
export const LAG_REFRESH_MS = 2_000;

export interface SessionOptions {
  /** A queue, or what the broker calls it: Kafka's topic. */
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
  /** A broker that works has answered by then. */
  readonly openTimeoutMs: number;
  /** Undefined if the broker does not tell. */
  readonly lags?: readonly Lag[];
  /** Once, and first. Rejects with what the broker, or the way to it, said. */
  open(): Promise<void>;
  /** Takes no more messages, and settles those in flight. It may reject, or take too long: it is closed anyway. */
  drain(): Promise<void>;
  /** After its deliveries have ended: leaves what is not settled to the broker. Never rejects. */
  close(): Promise<void>;
}

export type Driver = (options: SessionOptions) => Session;
