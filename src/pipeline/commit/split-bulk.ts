/**
 * Many events that came in one request, divided among shards, and their outcomes put together again.
 * Invariant: each event is in exactly one outcome, at the position at which it was submitted. Two with the same id
 * are of the same shard, and stay in their order.
 */
import type { Event } from "../../domain/event.ts";
import type { Shard } from "../shard.ts";
import type { BulkOutcome, RefusedEvents } from "./bulk.ts";

interface Part {
  readonly events: Event[];
  /** In the list that was submitted, ascending. */
  readonly positions: number[];
}

/**
 * Never rejects. A shard that takes no events refuses its part alone, or all of it with `isAllOrNone`; a store that
 * becomes unavailable after that can still refuse a part.
 */
export async function submitSplit(
  events: readonly Event[],
  shardFor: (event: Event) => Shard,
  isAllOrNone: boolean,
): Promise<BulkOutcome> {
  const parts = divide(events, shardFor);
  const refusing = isAllOrNone && [...parts.keys()].find(({ refusal }) => refusal !== undefined);
  if (refusing) return await refusing.committer.submitAll(events);
  const outcomes = await Promise.all(
    Array.from(parts, async ([shard, part]) => {
      return { part, outcome: await shard.committer.submitAll(part.events) };
    }),
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

function divide(events: readonly Event[], shardFor: (event: Event) => Shard): Map<Shard, Part> {
  const parts = new Map<Shard, Part>();
  for (const [position, event] of events.entries()) {
    const shard = shardFor(event);
    let part = parts.get(shard);
    if (part === undefined) {
      part = { events: [], positions: [] };
      parts.set(shard, part);
    }
    part.events.push(event);
    part.positions.push(position);
  }
  return parts;
}
