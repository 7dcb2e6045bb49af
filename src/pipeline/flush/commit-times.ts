/**
 * When the oldest batch that is not flushed was committed, without keeping a time per batch.
 * Invariant: the answer is never later than the truth, and earlier by at most RESOLUTION_MS as long as fewer
 * than MAX_MARKS marks are kept (about 7 minutes of a backlog; after that it may be earlier still).
 */
const RESOLUTION_MS = 100;
const MAX_MARKS = 4_096;

interface Mark {
  readonly seq: number;
  readonly at: number;
}

export class CommitTimes {
  #marks: Mark[] = [];

  committed(seq: number, now: number): void {
    const last = this.#marks.at(-1);
    if (last !== undefined && (now - last.at < RESOLUTION_MS || this.#marks.length >= MAX_MARKS)) return;
    this.#marks.push({ seq, at: now });
  }

  /** `isEmpty`: nothing is left that was committed. */
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
