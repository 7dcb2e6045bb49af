/**
 * Many events that came in one request, divided into parts, and the outcomes of these put together again.
 * Invariant: each event is in exactly one outcome, at the position at which it was submitted. Those of a part stay in
 * their order: so do two with the same id.
 */
import type { Event } from "../../domain/event.ts";
import type { BulkOutcome, RefusedEvents } from "./bulk.ts";

interface Part {
  readonly events: Event[];
  /** In the list that was submitted, ascending. */
  readonly positions: number[];
}

export async function submitDivided<Key>(
  events: readonly Event[],
  keyOf: (event: Event) => Key,
  submit: (key: Key, part: readonly Event[]) => Promise<BulkOutcome>,
): Promise<BulkOutcome> {
  const outcomes = await Promise.all(
    Array.from(divide(events, keyOf), async ([key, part]) => ({ part, outcome: await submit(key, part.events) })),
  );
  let [accepted, duplicates] = [0, 0];
  const refused: RefusedEvents[] = [];
  const unknown: number[] = [];
  for (const { part, outcome } of outcomes) {
    accepted += outcome.accepted;
    duplicates += outcome.duplicates;
    unknown.push(...outcome.unknown.map((position) => part.positions[position]!));
    for (const { refusal, positions } of outcome.refused) {
      refused.push({ refusal, positions: positions.map((position) => part.positions[position]!) });
    }
  }
  return { accepted, duplicates, refused, unknown: unknown.sort((a, b) => a - b) };
}

function divide<Key>(events: readonly Event[], keyOf: (event: Event) => Key): Map<Key, Part> {
  const parts = new Map<Key, Part>();
  for (const [position, event] of events.entries()) {
    const key = keyOf(event);
    let part = parts.get(key);
    if (part === undefined) {
      part = { events: [], positions: [] };
      parts.set(key, part);
    }
    part.events.push(event);
    part.positions.push(position);
  }
  return parts;
}
