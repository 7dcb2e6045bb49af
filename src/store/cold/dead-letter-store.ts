/** What operators need of the cold store to list, replay and drop rows that it refused. */
import type { Event } from "../../domain/event.ts";

/** An acknowledged event whose row the database refused: set aside, and counted in no hour. */
export interface DeadLetter {
  readonly number: number;
  readonly event: Event;
  readonly reason: string;
  /** ISO 8601, UTC, by the database's clock. */
  readonly setAsideAt: string;
}

export type ReplayResult =
  | { readonly status: "replayed" }
  | { readonly status: "refused"; readonly reason: string }
  /** There is no dead letter with this number: it was replayed or dropped. */
  | { readonly status: "unknown" };

export interface DeadLetterStore {
  deadLetterCount(): Promise<number>;
  /** By number, from above `afterNumber` on. */
  deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]>;
  /** Makes it a row, and counts it, in one transaction. */
  replayDeadLetter(number: number): Promise<ReplayResult>;
  dropDeadLetter(number: number): Promise<boolean>;
}
