/** What the pipeline's answers mean to a sender. */
import { type Outcome, UNKNOWN } from "../../../src/domain/refusal-reasons.ts";
import type { BulkOutcome } from "../../../src/pipeline/commit/bulk.ts";
import type { Told } from "../check/events.ts";

export function toldOfOne(outcome: Outcome): Told {
  if (outcome === undefined) return "stored";
  return outcome === UNKNOWN ? "unknown" : "refused";
}

/** Indexed by position. */
export function toldOfEach(outcome: BulkOutcome, count: number): Told[] {
  const told = new Array<Told>(count).fill("stored");
  for (const { refusal, positions } of outcome.refused) {
    for (const position of positions) told[position] = toldOfOne(refusal);
  }
  for (const position of outcome.unknown) told[position] = "unknown";
  return told;
}
