/**
 * One connection to a broker, from its handshake to its end. A driver for a protocol is a function that opens one.
 *
 * Invariant: when anything of a session fails, all of it ends, and a new one is opened; nothing is mended in part.
 */
import type { Log } from "../runtime/log.ts";
import type { Hold } from "./hold.ts";
import type { MessageIntake } from "./message-intake.ts";
import type { PartitionLag, SourceCounts } from "./source.ts";

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
  readonly hold: Hold;
  /** Messages that were received and are not settled. */
  readonly underWay: number;
  /** Resolves with the reason once the session has ended. */
  readonly ended: Promise<unknown>;
  /** Undefined if the broker does not tell. */
  readonly lags?: readonly PartitionLag[];
  /** Takes no more messages, and settles those in flight within `graceMs`. Never throws. */
  drain(graceMs: number): Promise<void>;
  /** Leaves what is not settled to the broker. Never throws. */
  close(): Promise<void>;
}
