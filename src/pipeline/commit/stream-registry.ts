/**
 * Which streams there are, so that their number stays bounded: each has an hour in the hot store every hour, and a
 * client that puts a session's number into the name would fill it.
 *
 * Invariant: a stream that has a stored event is never refused. The bound is that of one instance: others learn of
 * its new streams from the cold store, at the next refresh, so that together they may take some more.
 */
import type { ReadStore } from "../../store/cold/read-store.ts";

/** What MAX_STREAMS may be at most; about 100 bytes each. */
const LISTED_MAX = 1_000_000;

export class StreamRegistry {
  readonly #cold: Pick<ReadStore, "streams">;
  readonly #maxStreams: number;
  #stored: ReadonlySet<string> = new Set();
  /** Since the refresh before the last: what they brought is stored by the next one. */
  #earlier = new Set<string>();
  #recent = new Set<string>();

  constructor(cold: Pick<ReadStore, "streams">, maxStreams: number) {
    this.#cold = cold;
    this.#maxStreams = maxStreams;
  }

  /** False if it would be one too many. */
  admits(stream: string): boolean {
    if (this.#stored.has(stream) || this.#recent.has(stream)) return true;
    // It moves from one to the other, and is counted once.
    if (!this.#earlier.delete(stream) && this.#count >= this.#maxStreams) return false;
    this.#recent.add(stream);
    return true;
  }

  get #count(): number {
    return this.#stored.size + this.#earlier.size + this.#recent.size;
  }

  /** Throws ColdUnavailableError, and forgets nothing then. */
  async refresh(): Promise<void> {
    const stored = new Set(await this.#cold.streams(LISTED_MAX));
    const isNew = (stream: string) => !stored.has(stream);
    this.#stored = stored;
    this.#earlier = new Set([...this.#recent].filter(isNew));
    this.#recent = new Set();
  }
}
