/**
 * The backlog of a writer: batches that are committed and not flushed, as many as memory has room for, and the time
 * since the oldest waits. Invariant: all of it is in the journal too, so losing it loses nothing.
 */
import type { JournaledBatch } from "../../domain/batch.ts";
import { InvariantError } from "../../runtime/invariant-error.ts";

const RESOLUTION_MS = 100;
const MAX_MARKS = 4_096;

interface Mark {
  readonly seq: number;
  readonly at: number;
}

/** Room for `events` events, shared by the rings of all shards. */
export class RingRoom {
  readonly events: number;
  usedEvents = 0;

  constructor(events: number) {
    if (!Number.isSafeInteger(events) || events < 1) {
      throw new RangeError(`Cannot make a ring of ${events} events: it takes a positive integer`);
    }
    this.events = events;
  }
}

/** Committed batches, oldest first. */
export class RingBuffer {
  readonly #room: RingRoom;
  #batches: JournaledBatch[] = [];
  #head = 0;
  #eventCount = 0;

  constructor(room: RingRoom) {
    this.#room = room;
  }

  get eventCount(): number {
    return this.#eventCount;
  }

  get isEmpty(): boolean {
    return this.#head === this.#batches.length;
  }

  /** Returns false, and does nothing, if the batch does not fit. */
  push(batch: JournaledBatch): boolean {
    if (this.#room.usedEvents + batch.eventCount > this.#room.events) return false;
    const lastSeq = this.isEmpty ? 0 : this.#batches.at(-1)!.seq;
    if (batch.seq <= lastSeq) throw new InvariantError(`batch ${batch.seq} was put into the ring after ${lastSeq}`);
    this.#batches.push(batch);
    this.#count(batch.eventCount);
    return true;
  }

  #count(events: number): void {
    this.#eventCount += events;
    this.#room.usedEvents += events;
  }

  /** The oldest batches below `beforeSeq`, not removed: up to `maxEvents` events, but at least one batch if any. */
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
      this.#count(-this.#batches.pop()!.eventCount);
    }
  }

  releaseThrough(seq: number): void {
    while (!this.isEmpty && this.#batches[this.#head]!.seq <= seq) {
      this.#count(-this.#batches[this.#head]!.eventCount);
      this.#head += 1;
    }
    if (this.#eventCount < 0 || (this.#eventCount > 0 && this.isEmpty))
      throw new InvariantError(`the ring counts ${this.#eventCount} events after batch ${seq} was released`);
    // Compacts once half of the array is unused: constant work per batch.
    if (this.#head > 64 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
  }

  clear(): void {
    this.#batches = [];
    this.#head = 0;
    this.#count(-this.#eventCount);
  }
}

/**
 * Remembers when the oldest unflushed batch was committed, without a time per batch. Invariant: the answer is never too
 * late, and too early by at most RESOLUTION_MS below MAX_MARKS marks (a backlog of about 7 minutes).
 */
export class CommitTimes {
  #marks: Mark[] = [];

  committed(seq: number, now: number): void {
    const last = this.#marks.at(-1);
    if (last !== undefined && (now - last.at < RESOLUTION_MS || this.#marks.length >= MAX_MARKS)) return;
    this.#marks.push({ seq, at: now });
  }

  /** `isEmpty`: no committed batch is left. */
  flushedThrough(seq: number, isEmpty: boolean): void {
    const firstPending = seq + 1;
    const kept = this.#marks.findLastIndex((mark) => mark.seq <= firstPending);
    if (isEmpty) this.#marks = [];
    else if (kept > 0) this.#marks.splice(0, kept);
  }

  get oldest(): number | undefined {
    return this.#marks[0]?.at;
  }

  clear(): void {
    this.#marks = [];
  }
}
