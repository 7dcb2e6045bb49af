/**
 * Bounds the number of streams: each takes room in the hot store every hour, and session ids as names would fill it.
 *
 * Invariants: a stream with an event in the cold store is never refused. A new name counts while a request with it
 * lasts, and afterwards only if an event of it was committed. If that event waits in the journal for longer than two
 * refreshes, the name is forgotten, and may be refused until the event is stored. The bound holds per instance: others
 * learn of its new streams from the cold store at the next refresh, so together they may exceed it somewhat.
 */
import type { ReadStore } from "../../store/cold.ts";

/** The largest MAX_STREAMS; about 100 bytes each. */
const LISTED_MAX = 1_000_000;

export class StreamRegistry {
  readonly #cold: Pick<ReadStore, "streams">;
  readonly #maxStreams: number;
  #stored: ReadonlySet<string> = new Set();
  /** Committed before the last refresh, but not in the cold store then; forgotten at the next. */
  #earlier = new Set<string>();
  #recent = new Set<string>();
  /** New names, each with the number of requests that reserve it. */
  readonly #reserved = new Map<string, number>();

  constructor(cold: Pick<ReadStore, "streams">, maxStreams: number) {
    this.#cold = cold;
    this.#maxStreams = maxStreams;
  }

  /** Returns false if there would be too many streams. If true, release() must follow. */
  reserve(stream: string): boolean {
    if (this.#stored.has(stream) || this.#recent.has(stream) || this.#earlier.has(stream)) return true;
    const requests = this.#reserved.get(stream);
    if (requests === undefined && this.#count >= this.#maxStreams) return false;
    this.#reserved.set(stream, (requests ?? 0) + 1);
    return true;
  }

  /** Called when the event's outcome is known or it was not submitted. */
  release(stream: string): void {
    if (this.#reserved.size === 0) return;
    const requests = this.#reserved.get(stream);
    if (requests === undefined) return;
    if (requests === 1) this.#reserved.delete(stream);
    else this.#reserved.set(stream, requests - 1);
  }

  noteCommitted(stream: string): void {
    if (this.#stored.has(stream) || this.#recent.has(stream)) return;
    this.#earlier.delete(stream);
    this.#reserved.delete(stream);
    this.#recent.add(stream);
  }

  get #count(): number {
    return this.#stored.size + this.#earlier.size + this.#recent.size + this.#reserved.size;
  }

  /** Throws ColdUnavailableError, and then keeps what it knows. */
  async refresh(): Promise<void> {
    const stored = new Set(await this.#cold.streams(LISTED_MAX));
    const isNew = (stream: string) => !stored.has(stream);
    this.#stored = stored;
    this.#earlier = new Set([...this.#recent].filter(isNew));
    this.#recent = new Set();
  }
}

export class StreamReservation {
  readonly #registry: StreamRegistry;
  readonly #streams = new Set<string>();

  constructor(registry: StreamRegistry) {
    this.#registry = registry;
  }

  readonly admits = (stream: string): boolean => {
    if (this.#streams.has(stream)) return true;
    if (!this.#registry.reserve(stream)) return false;
    this.#streams.add(stream);
    return true;
  };

  release(): void {
    for (const stream of this.#streams) this.#registry.release(stream);
  }
}
