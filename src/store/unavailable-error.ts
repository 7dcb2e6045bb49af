/** A store did not answer, or refused: the base of HotUnavailableError and ColdUnavailableError. */
export abstract class StoreUnavailableError extends Error {
  /** The code in answers, metrics and the ledger: see domain/refusal-reasons.ts. */
  abstract readonly reason: "hot_store_away" | "cold_store_away";
}
