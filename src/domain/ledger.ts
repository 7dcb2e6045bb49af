/**
 * What became of every event that reached this process. All numbers but `pending` and `inDoubt` only grow,
 * and `handedOver`, but for a journal that is lost before its adopter has stored it.
 *
 * Invariants, at every look:
 * - accepted = persisted + pending + handedOver + lost
 * - answered = accepted + duplicates + refused + omitted + unknown - unknownStored, each refusal and omission under its
 *   reason. An event whose outcome was "unknown" stays in `unknown`; if it turns out to be stored, it is in `accepted`
 *   or `duplicates` from then on, and in `unknownStored`, which keeps it from being counted twice here.
 * - unknown = unknownStored + unknownUnstored + inDoubt. What is in doubt when this process ends is settled by the
 *   adopter of its journal, and counted there (`adopted`) if it is stored.
 */
import { OMISSION_REASONS, REFUSAL_REASONS } from "./refusal-reasons.ts";

export class Ledger {
  accepted = 0;
  persisted = 0;
  /** Accepted here, but left to the adopter of the journal of a writer that this process gave up. */
  handedOver = 0;
  /** In no store any more: only the journal held them when the hot store lost its data. */
  lost = 0;
  /** Accepted by others, or by an earlier writer of this process, and persisted here from their journals. */
  adopted = 0;
  duplicates = 0;
  /** Sent to the hot store, which did not answer in time. */
  unknown = 0;
  /** Of the unknown: known to be stored by now, as accepted events or as duplicates. */
  unknownStored = 0;
  /** Of the unknown: known by now to count never. */
  unknownUnstored = 0;
  readonly refused = zeros(REFUSAL_REASONS);
  readonly omitted = zeros(OMISSION_REASONS);

  /** Of the unknown: still unknown. */
  get inDoubt(): number {
    return this.unknown - this.unknownStored - this.unknownUnstored;
  }

  get pending(): number {
    return this.accepted - this.persisted - this.handedOver - this.lost;
  }
}

function zeros<R extends string>(reasons: readonly R[]): Record<R, number> {
  return Object.fromEntries(reasons.map((reason) => [reason, 0])) as Record<R, number>;
}
