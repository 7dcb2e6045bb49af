/** A broken promise, and where it showed. */
export const CHECKS = [
  "acknowledged-not-safe",
  "acknowledged-lost",
  "refused-journaled",
  "refused-stored",
  "two-rows",
  "late-rows",
  "hour-counts",
  "hour-users",
  "hour-incomplete",
  "aggregate",
  "stale-read",
  "read-ahead",
  "ledger",
  "bounds",
  "no-answer",
  "not-drained",
  "verify",
  "crash",
] as const;

export type Check = (typeof CHECKS)[number];

export class Failure extends Error {
  override readonly name = "Failure";
  readonly check: Check;

  constructor(check: Check, message: string) {
    super(message);
    this.check = check;
  }
}
