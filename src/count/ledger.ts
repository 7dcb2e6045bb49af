/**
 * What became of every event that reached this process.
 * Invariant: accepted = persisted + pending + handedOver, at every instant; `pending` is derived, so that it
 * cannot drift. An event is in exactly one of accepted, duplicates, or one reason of refusal.
 */
export const REFUSAL_REASONS = [
  "invalid",
  "hot_store_away",
  "cold_store_away",
  "journal_full",
  "overloaded",
  "shutting_down",
] as const;

export type RefusalReason = (typeof REFUSAL_REASONS)[number];

export class Ledger {
  accepted = 0;
  persisted = 0;
  /** Accepted here, but persisted by the adopter of a journal that this process lost. */
  handedOver = 0;
  duplicates = 0;
  readonly refused: Record<RefusalReason, number> = {
    invalid: 0,
    hot_store_away: 0,
    cold_store_away: 0,
    journal_full: 0,
    overloaded: 0,
    shutting_down: 0,
  };

  get pending(): number {
    return this.accepted - this.persisted - this.handedOver;
  }
}
