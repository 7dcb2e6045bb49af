/**
 * An intake of events from elsewhere than HTTP, such as a broker's queue.
 *
 * Invariant: what it takes is given back to where it came from, or told to be done, only once each of its events
 * is stored (or was before), or set aside with a reason. It needs nobody: the service runs on without it.
 */
type SourceStatus =
  /** Not yet, or not any more: it goes on trying by itself. */
  | "connecting"
  | "consuming"
  /** Some or all of what it has is held, since that can't be stored now. What is held bounds what comes. */
  | "paused"
  | "stopped";

export interface SourceState {
  readonly status: SourceStatus;
  /** Why it does not consume; undefined while it does. */
  readonly reason: string | undefined;
  /** Messages that came and are not settled. */
  readonly underWay: number;
  readonly counts: SourceCounts;
  /** Undefined if the broker does not tell. */
  readonly lags?: readonly Lag[];
}

/** Of a partition that this process consumes, or of the queue that all consume. */
export interface Lag {
  readonly partition?: number;
  /** Messages that wait in the broker: in a partition, those that are not committed as consumed. */
  readonly lag: number;
}

/** Of messages, since this process started. */
export interface SourceCounts {
  received: number;
  /** Of the received: the sender says that they may have come before. */
  redelivered: number;
  /** All that can be counted of it is stored, and what can't be is set aside. */
  acknowledged: number;
  /** Nothing of it can be counted: all of it is set aside. */
  rejected: number;
  /** Connections that were lost, or could not be had. */
  failures: number;
}

export interface Source {
  /** In metrics, in log lines, and as what a piece of poison came from. */
  readonly name: string;
  /** Where it takes events from, for the start-up lines: never with a password. */
  readonly description: string;
  readonly state: SourceState;
  /** Begins, and goes on by itself whatever happens. */
  start(): void;
  /**
   * Takes no more, settles what is under way and leaves the rest where it came from. Ends within some seconds,
   * and never throws. To be called while the pipeline still takes events.
   */
  stop(): Promise<void>;
}
