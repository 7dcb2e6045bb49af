/**
 * Tracks the settled deliveries of a channel, and how to acknowledge them with the fewest frames: one acknowledgement
 * covers all deliveries up to a tag, as long as none before it is open; the others are acknowledged one by one.
 *
 * Invariant: tags count up from 1 without gaps, as a channel's do, and each is acknowledged once.
 */
interface DueAcks {
  /** Covers all deliveries up to this tag; undefined if there is nothing new below the first open one. */
  readonly upTo: number | undefined;
  readonly single: readonly number[];
}

export class AckWindow {
  /** The first open tag. */
  #firstOpen = 1;
  /** Settled tags above #firstOpen. */
  readonly #settled = new Set<number>();
  #due: number[] = [];

  /** The delivery must be acknowledged. */
  settle(tag: number): void {
    this.#settled.add(tag);
    this.#due.push(tag);
  }

  settleRejected(tag: number): void {
    this.#settled.add(tag);
  }

  take(): DueAcks {
    while (this.#settled.delete(this.#firstOpen)) this.#firstOpen += 1;
    const due = this.#due;
    this.#due = [];
    let upTo: number | undefined;
    const single: number[] = [];
    for (const tag of due) {
      if (tag >= this.#firstOpen) single.push(tag);
      else if (upTo === undefined || tag > upTo) upTo = tag;
    }
    return { upTo, single };
  }
}
