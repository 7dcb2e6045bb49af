/**
 * A batch that still accepts events, and the callers that wait for its outcome. Invariant: each group of the batch has
 * exactly one waiter, shared by all requests with an event in it. A batch consists of single events or of bulks; only
 * bulks learn how many of their events were duplicates.
 */
import { BatchBuilder, type Group } from "../../domain/batch.ts";
import type { Event } from "../../domain/event.ts";
import type { Outcome } from "../../domain/refusal-reasons.ts";

/** The events of one bulk in one group: `count` adjacent ones from `start`. */
export interface Part {
  start: number;
  count: number;
  /** How many were already stored under their id. */
  duplicates: number;
}

export interface Waiter {
  readonly promise: Promise<Outcome>;
  readonly resolve: (outcome: Outcome) => void;
  /** By ascending start. Empty except in a batch of bulks. */
  readonly parts: Part[];
}

export class OpenBatch {
  readonly builder = new BatchBuilder();
  /** Monotonic time of its first event. */
  readonly openedMs: number;
  readonly isOfBulks: boolean;
  readonly #waiters = new Map<Group, Waiter>();
  #lastGroup: Group | undefined;
  #lastWaiter: Waiter | undefined;

  constructor(openedMs: number, isOfBulks = false) {
    this.openedMs = openedMs;
    this.isOfBulks = isOfBulks;
  }

  add(event: Event): Promise<Outcome> {
    return this.#waiterOf(this.builder.add(event)).promise;
  }

  addGroup(group: Group, waiter: Waiter): void {
    const target = this.builder.addGroup(group);
    const own = this.#waiterOf(target);
    const firstStart = target.users.length - group.users.length;
    for (const part of waiter.parts) {
      part.start += firstStart;
      own.parts.push(part);
    }
    void own.promise.then(waiter.resolve);
  }

  /** Begins a part at the last added event, which must be in this group. The caller maintains the count. */
  openPart(group: Group): Part {
    const part = { start: group.users.length - 1, count: 0, duplicates: 0 };
    this.#waiterOf(group).parts.push(part);
    return part;
  }

  outcomeOf(group: Group): Promise<Outcome> {
    return this.#waiterOf(group).promise;
  }

  /** Adds the duplicates to their parts. `ordinals` number the events of these groups, ascending. */
  noteDuplicates(groups: readonly Group[], ordinals: readonly number[]): void {
    let next = 0;
    let firstOrdinal = 0;
    for (const group of groups) {
      const { parts } = this.#waiterOf(group);
      let at = 0;
      const end = firstOrdinal + group.users.length;
      for (; next < ordinals.length && ordinals[next]! < end; next++) {
        const place = ordinals[next]! - firstOrdinal;
        while (at < parts.length && place >= parts[at]!.start + parts[at]!.count) at += 1;
        if (at < parts.length) parts[at]!.duplicates += 1;
      }
      firstOrdinal = end;
    }
  }

  #waiterOf(group: Group): Waiter {
    if (group === this.#lastGroup) return this.#lastWaiter!;
    let waiter = this.#waiters.get(group);
    if (waiter === undefined) {
      waiter = { ...Promise.withResolvers<Outcome>(), parts: [] };
      this.#waiters.set(group, waiter);
    }
    this.#lastGroup = group;
    this.#lastWaiter = waiter;
    return waiter;
  }

  /** Takes out the waiter of a group that another batch will commit. */
  take(group: Group): Waiter {
    const waiter = this.#waiters.get(group)!;
    this.#waiters.delete(group);
    return waiter;
  }

  resolve(outcome: Outcome): void {
    for (const waiter of this.#waiters.values()) waiter.resolve(outcome);
    this.#waiters.clear();
  }
}
