/** The outcome of an event; and why it is not counted: the names used by answers, metrics and the ledger. */

export const REFUSAL_REASONS = [
  "invalid",
  /** The key is missing, or lacks the scope or the stream. */
  "unauthorized",
  "rate_limited",
  "hot_store_away",
  /** The hot store's data belongs to another database. */
  "other_database",
  "cold_store_away",
  "journal_full",
  /** The event has an id, and the hot store does not yet know all ids of the last 24 hours. */
  "restoring_ids",
  /** The event's older hour was not loaded from the cold store in time. */
  "loading_hours",
  "overloaded",
  "shutting_down",
] as const;

export type RefusalReason = (typeof REFUSAL_REASONS)[number];

/** The event is valid, but its browser asked not to be counted, or is a bot. */
export const OMISSION_REASONS = ["do_not_track", "bot"] as const;

export type OmissionReason = (typeof OMISSION_REASONS)[number];

/** Why events were not taken, and when to retry. They were not applied, and never will be. */
export interface Refusal {
  readonly reason: RefusalReason;
  readonly retryAfterS: number;
}

/** It was sent to the hot store, which did not answer in time: it counts once, or never. */
export const UNKNOWN = { reason: "outcome_unknown" } as const;

/** Undefined: the event is stored, now or (by its id) since earlier. */
export type Outcome = Refusal | typeof UNKNOWN | undefined;
