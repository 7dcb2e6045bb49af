/**
 * Which deliveries of a channel are settled, and how to say so with the fewest words: one acknowledgement stands
 * for all up to a tag, as far as no delivery before it is open, and the others are named one by one.
 *
 * Invariant: tags count up from 1 without gaps, as a channel's do, and each is named, or stood for, once.
 */
interface DueAcks {
  /** All up to this one; undefined if there is nothing new below the first open delivery. */
  readonly upTo: number | undefined;
  readonly single: readonly number[];
}

export class AckWindow {
  /** The first that is open. */
  #firstOpen = 1;
  /** Above that. */
  readonly #settled = new Set<number>();
  #due: number[] = [];

  /** It is to be acknowledged. */
  settle(tag: number): void {
    this.#settled.add(tag);
    this.#due.push(tag);
  }

  /** It is settled, and the other side has been told in another way. */
  settleTold(tag: number): void {
    this.#settled.add(tag);
  }

  /** What has to be said now. */
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
