/**
 * A source of events other than HTTP, such as a broker's queue.
 *
 * Invariant: it acknowledges or returns a message only once each of its events is stored (now or earlier) or set aside
 * with a reason. The service runs on if a source fails.
 */
type SourceStatus =
  /** Not connected yet or no longer; it retries by itself. */
  | "connecting"
  | "consuming"
  /** Some or all of its messages are held, because their events cannot be stored now. That bounds what it consumes. */
  | "paused"
  | "stopped";

export interface SourceState {
  readonly status: SourceStatus;
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

/** Counts of messages since this process started. */
export interface SourceCounts {
  received: number;
  /** Received messages that the sender marks as possible repetitions. */
  redelivered: number;
  /** Every event of the message is stored or set aside. */
  acknowledged: number;
  /** No event of the message could be counted: all of it is set aside. */
  rejected: number;
  /** Connections that were lost or could not be opened. */
  failures: number;
}

export interface Source {
  /** The name in metrics and log lines, and the origin of its poison. */
  readonly name: string;
  /** Where events come from, for the lines printed at start: never with a password. */
  readonly description: string;
  readonly state: SourceState;
  /** Starts, and then retries by itself whatever happens. */
  start(): void;
  /**
   * Accepts no more messages, settles those in flight and leaves the rest to the broker. Takes at most a few seconds,
   * and never throws. Must be called while the pipeline still accepts events.
   */
  stop(): Promise<void>;
}
