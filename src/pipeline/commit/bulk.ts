/**
 * The events of one request with many events, and the outcome of each.
 *
 * They enter batches piece by piece, as many as a commit may take, and each piece has its own outcome. Invariant: every
 * event is in exactly one of accepted, duplicates, refused and unknown; the outcome is reported once all are settled.
 */
import { type Event, type Group, hourOf } from "../../domain/event.ts";
import { type Outcome, type Refusal, UNKNOWN } from "../../domain/refusal-reasons.ts";
import { InvariantError } from "../../runtime/invariant-error.ts";
import type { OpenBatch, Part } from "./paced-queue.ts";

/** `positions` refer to the submitted list, ascending. */
interface RefusedEvents {
  readonly refusal: Refusal;
  readonly positions: readonly number[];
}

export interface BulkOutcome {
  /** Stored by this request. */
  readonly accepted: number;
  /** Stored earlier under the same id, or by another event of this bulk. */
  readonly duplicates: number;
  readonly refused: readonly RefusedEvents[];
  /** Positions of the events whose outcome is unknown, ascending. */
  readonly unknown: readonly number[];
}

/** A piece: the events of `group` at positions `from` (inclusive) to `to` (exclusive) of the list. */
interface Place {
  readonly group: Group;
  readonly from: number;
  readonly to: number;
}

export class Bulk {
  readonly #events: readonly Event[];
  readonly #told = Promise.withResolvers<BulkOutcome>();
  /** Position of the first event that is in no batch yet. */
  #next = 0;
  #openParts = 0;
  #accepted = 0;
  #duplicates = 0;
  readonly #refused: RefusedEvents[] = [];
  readonly #unknown: number[] = [];

  constructor(events: readonly Event[]) {
    this.#events = events;
    // An empty bulk is settled at once.
    this.#tellIfSettled();
  }

  /** Rejects with an InvariantError if the outcomes do not add up. */
  get outcome(): Promise<BulkOutcome> {
    return this.#told.promise;
  }

  get restCount(): number {
    return this.#events.length - this.#next;
  }

  /** Moves events into the batch until it is full or none is left. */
  moveInto(batch: OpenBatch, maxEvents: number, maxGroups: number): void {
    const { builder } = batch;
    const from = this.#next;
    const to = Math.min(this.#events.length, from + maxEvents - builder.eventCount);
    const parts = new Map<Group, Part>();
    let lastGroup: Group | undefined;
    let part: Part | undefined;
    while (this.#next < to && builder.groups.length <= maxGroups) {
      const group = builder.add(this.#events[this.#next]!);
      this.#next += 1;
      if (group !== lastGroup) part = parts.get(group);
      if (part === undefined) {
        part = batch.openPart(group);
        parts.set(group, part);
      }
      part.count += 1;
      lastGroup = group;
    }
    for (const [group, opened] of parts) this.#await(opened, { group, from, to: this.#next }, batch);
  }

  #await(part: Part, place: Place, batch: OpenBatch): void {
    this.#openParts += 1;
    void batch.outcomeOf(place.group).then((outcome) => {
      this.#openParts -= 1;
      this.#settle(part, place, outcome);
    });
  }

  #settle(part: Part, place: Place, outcome: Outcome): void {
    if (outcome === undefined) {
      this.#accepted += part.count - part.duplicates;
      this.#duplicates += part.duplicates;
    } else if (outcome.reason === UNKNOWN.reason) {
      this.#unknown.push(...this.#positionsOf(place));
    } else {
      this.#refused.push({ refusal: outcome, positions: this.#positionsOf(place) });
    }
    this.#tellIfSettled();
  }

  /** Searches the list instead of storing positions, since they are rarely needed. */
  #positionsOf({ group, from, to }: Place): number[] {
    const positions: number[] = [];
    for (let i = from; i < to; i++) {
      const { stream, at } = this.#events[i]!;
      if (stream === group.stream && hourOf(at) === group.hour) positions.push(i);
    }
    return positions;
  }

  refuseRest(refusal: Refusal): void {
    const first = this.#next;
    const positions = Array.from({ length: this.restCount }, (_, i) => first + i);
    this.#next = this.#events.length;
    if (positions.length > 0) this.#refused.push({ refusal, positions });
    this.#tellIfSettled();
  }

  #tellIfSettled(): void {
    if (this.#openParts > 0 || this.restCount > 0) return;
    const { length } = this.#events;
    const refused = this.#refused.reduce((sum, { positions }) => sum + positions.length, 0);
    const unknown = this.#unknown.sort((a, b) => a - b);
    if (this.#accepted + this.#duplicates + refused + unknown.length !== length) {
      const stored = `${this.#accepted} accepted, ${this.#duplicates} duplicates`;
      const found = `${stored}, ${refused} refused, ${unknown.length} unknown`;
      this.#told.reject(new InvariantError(`the outcomes of ${length} events do not add up: ${found}`));
      return;
    }
    const [accepted, duplicates] = [this.#accepted, this.#duplicates];
    this.#told.resolve({ accepted, duplicates, refused: this.#refused, unknown });
  }
}

/** Submits the events of each key separately and merges the outcomes; positions refer to the whole list. */
export async function submitDivided<Key>(
  events: readonly Event[],
  keyOf: (event: Event) => Key,
  submit: (key: Key, share: readonly Event[]) => Promise<BulkOutcome>,
): Promise<BulkOutcome> {
  const shares = Map.groupBy(events.keys(), (position) => keyOf(events[position]!));
  const outcomes = await Promise.all(
    Array.from(shares, async ([key, share]) => {
      const part = share.map((position) => events[position]!);
      return { share, outcome: await submit(key, part) };
    }),
  );
  let [accepted, duplicates] = [0, 0];
  const refused: RefusedEvents[] = [];
  const unknown: number[] = [];
  for (const { share, outcome } of outcomes) {
    accepted += outcome.accepted;
    duplicates += outcome.duplicates;
    unknown.push(...outcome.unknown.map((position) => share[position]!));
    for (const { refusal, positions } of outcome.refused) {
      refused.push({ refusal, positions: positions.map((position) => share[position]!) });
    }
  }
  return { accepted, duplicates, refused, unknown: unknown.sort((a, b) => a - b) };
}
