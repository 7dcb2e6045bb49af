/**
 * Committed batches that wait for the flusher, oldest first, bounded by their number of events: of this ring, or of
 * all rings that share the capacity.
 * Invariant: what is in here is in the journal too. It saves reading the journal back, nothing else.
 */
import type { JournaledBatch } from "../../domain/batch.ts";
import { invariant } from "../../runtime/assert.ts";

export class RingBuffer {
  readonly capacityEvents: number;
  readonly #usedEvents: () => number;
  #batches: JournaledBatch[] = [];
  #head = 0;
  #eventCount = 0;

  /** `usedEvents`: of the capacity, if others share it. */
  constructor(capacityEvents: number, usedEvents?: () => number) {
    if (!Number.isSafeInteger(capacityEvents) || capacityEvents < 1) {
      throw new RangeError(`Cannot make a ring of ${capacityEvents} events: it takes a positive integer`);
    }
    this.capacityEvents = capacityEvents;
    this.#usedEvents = usedEvents ?? (() => this.#eventCount);
  }

  get eventCount(): number {
    return this.#eventCount;
  }

  get isEmpty(): boolean {
    return this.#head === this.#batches.length;
  }

  /** False, and nothing done, if the batch does not fit. */
  push(batch: JournaledBatch): boolean {
    if (this.#usedEvents() + batch.eventCount > this.capacityEvents) return false;
    const lastSeq = this.isEmpty ? 0 : this.#batches.at(-1)!.seq;
    invariant(batch.seq > lastSeq, `batch ${batch.seq} was put into the ring after batch ${lastSeq}`);
    this.#batches.push(batch);
    this.#eventCount += batch.eventCount;
    return true;
  }

  get headSeq(): number | undefined {
    return this.#batches[this.#head]?.seq;
  }

  /** The oldest batches below `beforeSeq`, left in place: as many as hold `maxEvents`, at least one if any. */
  peek(maxEvents: number, beforeSeq = Number.POSITIVE_INFINITY): readonly JournaledBatch[] {
    let end = this.#head;
    let eventCount = 0;
    while (end < this.#batches.length && this.#batches[end]!.seq < beforeSeq) {
      eventCount += this.#batches[end]!.eventCount;
      if (end > this.#head && eventCount > maxEvents) break;
      end += 1;
    }
    return this.#batches.slice(this.#head, end);
  }

  dropAfter(seq: number): void {
    while (!this.isEmpty && this.#batches.at(-1)!.seq > seq) {
      this.#eventCount -= this.#batches.pop()!.eventCount;
    }
  }

  releaseThrough(seq: number): void {
    while (!this.isEmpty && this.#batches[this.#head]!.seq <= seq) {
      this.#eventCount -= this.#batches[this.#head]!.eventCount;
      this.#head += 1;
    }
    const isRight = this.#eventCount >= 0 && (this.#eventCount === 0 || !this.isEmpty);
    invariant(isRight, `the ring counts ${this.#eventCount} events after batch ${seq} was released`);
    // Moved down when half of the array is spent: constant work per batch.
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
  }

  drain(): readonly JournaledBatch[] {
    const batches = this.#batches.slice(this.#head);
    this.#batches = [];
    this.#head = 0;
    this.#eventCount = 0;
    return batches;
  }
}
