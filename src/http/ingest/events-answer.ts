/**
 * What whoever sent many events is told. Every answer that is not an error has the numbers
 *   events = accepted + duplicates + invalid + refused
 * and names each event by its index: of the element, or of the line (blank ones counted), from 0.
 */
import type { BulkOutcome } from "../../pipeline/commit/bulk.ts";
import type { Refusal } from "../../pipeline/commit/open-batch.ts";
import type { EventBatch } from "../../protocol/body/read-events.ts";
import { errorAnswer, errorBodyOf, NO_STORE, refusalAnswer, refusalText, retryHeaders } from "../answers.ts";

/** From the first to the last index, both included. */
type Range = [first: number, last: number];

/** Nothing was counted: no event is valid, or with `atomic=1` at least one is not. */
export function invalidAnswer(batch: EventBatch): Response {
  const { invalidCount, events } = batch;
  const count = invalidCount + events.length;
  const error = {
    code: "invalid_events",
    message: `${invalidCount} of ${count} events are invalid. Nothing was counted.`,
  };
  const uncounted = { accepted: 0, duplicates: 0, invalid: invalidCount, refused: events.length };
  return errorAnswer(422, error, {}, { events: count, ...uncounted, errors: listed(batch) });
}

export function outcomeAnswer(batch: EventBatch, outcome: BulkOutcome): Response {
  const { accepted, duplicates, refused } = outcome;
  const [first] = refused;
  const refusedCount = refused.reduce((sum, { positions }) => sum + positions.length, 0);
  if (first !== undefined && accepted + duplicates === 0) return refusalAnswer(first.refusal);
  const { invalidCount, events } = batch;
  const body = {
    events: events.length + invalidCount,
    accepted,
    duplicates,
    invalid: invalidCount,
    refused: refusedCount,
    errors: listed(batch),
  };
  if (first === undefined) return Response.json(body, { status: 200, headers: NO_STORE });
  const retry = retryHeaders(latest(outcome));
  const answer = { ...body, refusals: refusalsOf(batch, outcome) };
  return Response.json(answer, { status: 207, headers: { ...NO_STORE, ...retry } });
}

function listed({ invalid }: EventBatch) {
  return invalid.map(({ index, error }) => ({ index, ...errorBodyOf(error) }));
}

/** One for each reason, with all its events. */
function refusalsOf({ indexes }: EventBatch, { refused }: BulkOutcome) {
  const byReason = Map.groupBy(refused, ({ refusal }) => refusal.reason);
  return Array.from(byReason, ([reason, some]) => {
    const positions = some.flatMap((one) => one.positions).sort((a, b) => a - b);
    const message = `${refusalText(reason)}: these were not counted, send them again`;
    return { code: reason, message, count: positions.length, indexes: rangesOf(positions, indexes) };
  });
}

function latest({ refused }: BulkOutcome): Refusal {
  return refused.map(({ refusal }) => refusal).reduce((a, b) => (b.retryAfterS > a.retryAfterS ? b : a));
}

/** Two events are neighbours if nothing that could be refused lies between them. */
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
