/**
 * The fate of every event that reached this process. All counters only grow, except `pending`, `inDoubt`,
 * `handedOver`, which falls when a journal is lost before its adopter has stored it, and `persisted`, which falls if
 * the cold store is set back to an earlier state.
 *
 * Invariants, at any moment:
 * - accepted = persisted + pending + handedOver + lost
 * - answered = accepted + duplicates + refused + omitted + unknown - unknownStored, each refusal and omission under its
 *   reason. An event whose outcome was unknown stays in `unknown`. If it turns out to be stored, it is added to
 *   `accepted` or `duplicates`, and to `unknownStored` so that it is not counted twice here.
 * - unknown = unknownStored + unknownUnstored + inDoubt. If this process ends with events in doubt, the adopter of its
 *   journal settles them, and counts the stored ones as `adopted`.
 *
 * GET /ledger returns it (http/ops/ledger-route.ts), http/openapi/ops-routes.ts describes it, and
 * http/ops/metrics-route.ts has most of it for Prometheus.
 */
import { OMISSION_REASONS, REFUSAL_REASONS } from "./refusal-reasons.ts";

export class Ledger {
  accepted = 0;
  persisted = 0;
  /** Accepted here, then left to the adopter of a writer's journal that this process gave up. */
  handedOver = 0;
  /**
   * These are in no store anymore: only the journal held them when the hot store lost its data, or the cold store was
   * set back to before it stored them.
   */
  lost = 0;
  /** Accepted by another process, or an earlier writer of this one, and persisted here from its journal. */
  adopted = 0;
  duplicates = 0;
  /** Sent to the hot store, which did not answer in time. */
  unknown = 0;
  /** Unknown events that turned out to be stored, as accepted events or as duplicates. */
  unknownStored = 0;
  /** Unknown events that turned out never to count. */
  unknownUnstored = 0;
  readonly refused = zeros(REFUSAL_REASONS);
  readonly omitted = zeros(OMISSION_REASONS);

  /** Unknown events that are still unknown. */
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
