/**
 * Answers a request with many events. Every answer that is not an error has the numbers
 *   events = accepted + duplicates + invalid + refused + unknown
 * and names events by index: of the element, or of the line (counting blank ones), from 0.
 */
import { REFUSALS, type Refusal, UNKNOWN } from "../../domain/refusal-reasons.ts";
import type { BulkOutcome } from "../../pipeline/commit/bulk.ts";
import type { EventBatch } from "../../protocol/body/read-events.ts";
import type { ErrorBody } from "../../protocol/error-body.ts";
import { errorAnswer, errorBodyOf, NO_STORE, OUTCOME_UNKNOWN, outcomeAnswer, retryHeaders } from "../answers.ts";

/** Both ends are inclusive. */
type Range = [first: number, last: number];

/** Nothing was counted: no event is valid, or with `atomic=1` at least one is invalid. */
export function invalidAnswer(batch: EventBatch): Response {
  const { invalidCount, events } = batch;
  const count = invalidCount + events.length;
  const uncounted = { accepted: 0, duplicates: 0, invalid: invalidCount, refused: events.length, unknown: 0 };
  return errorAnswer(
    422,
    invalidEvents(invalidCount, count),
    {},
    { events: count, ...uncounted, errors: listed(batch) },
  );
}

export function invalidEvents(invalidCount: number, count: number): ErrorBody {
  return { code: "invalid_events", message: `${invalidCount} of ${count} events are invalid. Nothing was counted.` };
}

export function bulkAnswer(batch: EventBatch, outcome: BulkOutcome): Response {
  const { accepted, duplicates, refused, unknown } = outcome;
  const [first] = refused;
  const refusedCount = refused.reduce((sum, { positions }) => sum + positions.length, 0);
  if (accepted + duplicates === 0) {
    if (first !== undefined && unknown.length === 0) return outcomeAnswer(first.refusal);
    if (first === undefined && unknown.length > 0) return outcomeAnswer(UNKNOWN);
  }
  const { invalidCount, events } = batch;
  const body = {
    events: events.length + invalidCount,
    accepted,
    duplicates,
    invalid: invalidCount,
    refused: refusedCount,
    unknown: unknown.length,
    errors: listed(batch),
  };
  // A sender of mostly invalid events might not notice a 200.
  if (first === undefined && unknown.length === 0 && invalidCount === 0)
    return Response.json(body, { status: 200, headers: NO_STORE });
  const answer = { ...body, refusals: refusalsOf(batch, outcome), unknowns: unknownsOf(batch, outcome) };
  return Response.json(answer, { status: 207, headers: { ...NO_STORE, ...partialHeaders(outcome) } });
}

/** `retry-after` distinguishes events to retry from invalid ones. */
function partialHeaders(outcome: BulkOutcome): Record<string, string> {
  if (outcome.refused.length > 0) return retryHeaders(latest(outcome));
  return outcome.unknown.length > 0 ? { "retry-after": "1" } : {};
}

function listed({ invalid }: EventBatch) {
  return invalid.map(({ index, error }) => ({ index, ...errorBodyOf(error) }));
}

function refusalsOf({ indexes }: EventBatch, { refused }: BulkOutcome) {
  const byReason = Map.groupBy(refused, ({ refusal }) => refusal.reason);
  return Array.from(byReason, ([reason, some]) => {
    const positions = some.flatMap((one) => one.positions).sort((a, b) => a - b);
    return { ...notCountedBody(reason), count: positions.length, indexes: rangesOf(positions, indexes) };
  });
}

export function notCountedBody(reason: Refusal["reason"]): ErrorBody {
  return { code: reason, message: `${REFUSALS[reason]}: these were not counted, retry them` };
}

function unknownsOf({ indexes }: EventBatch, { unknown }: BulkOutcome) {
  if (unknown.length === 0) return [];
  const ranges = rangesOf(unknown, indexes);
  return [{ ...OUTCOME_UNKNOWN, count: unknown.length, indexes: ranges }];
}

function latest({ refused }: BulkOutcome): Refusal {
  return refused.map(({ refusal }) => refusal).reduce((a, b) => (b.retryAfterS > a.retryAfterS ? b : a));
}

/** Merges adjacent indexes into ranges. */
function rangesOf(positions: readonly number[], indexes: readonly number[]): Range[] {
  const ranges: Range[] = [];
  let previous = Number.NaN;
  for (const position of positions) {
    const index = indexes[position]!;
    const last = ranges.at(-1);
    if (last !== undefined && index === previous + 1) last[1] = index;
    else ranges.push([index, index]);
    previous = index;
  }
  return ranges;
}
