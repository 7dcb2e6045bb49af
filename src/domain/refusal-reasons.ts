/**
 * The outcome of an event; and why it is not counted: the names used by answers, metrics and the ledger. Most are
 * decided in pipeline/commit/committer.ts.
 */
import { ID_TTL_TEXT } from "./event-ids.ts";

/** What answers and the dashboard say of each. */
export const REFUSALS = {
  invalid: "the event is not valid",
  unauthorized: "an API key is missing, or does not permit this",
  rate_limited: "the rate limit is used up",
  hot_store_away: "the hot store does not answer, or has no room",
  other_database: "the hot store belongs to another database, so its settings must be corrected",
  cold_store_away: "the cold store, which has this hour, does not answer",
  journal_full: "too many events wait for the cold store",
  restoring_ids: `the hot store lost event ids, and those of the last ${ID_TTL_TEXT} are being restored`,
  loading_hours: "too many older hours are being loaded from the cold store",
  overloaded: "too many events wait to be committed",
  shutting_down: "this instance is shutting down",
} as const;

export type RefusalReason = keyof typeof REFUSALS;

export const REFUSAL_REASONS = Object.keys(REFUSALS) as readonly RefusalReason[];

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
