/**
 * The shard that events without an id go to: one of this process, so that its batches are large, and another one for
 * each process, as far as there are enough.
 *
 * Invariant: an event is refused for a shard that takes none only if no shard takes any. One that may be in a shard
 * already is never sent to another.
 */
import type { Shard } from "../shard.ts";

export class HomeShard {
  readonly #shards: readonly Shard[];
  #preferred: number;

  /** `number`: until it is chosen. */
  constructor(shards: readonly Shard[], number: number) {
    this.#shards = shards;
    this.#preferred = number;
  }

  /** The preferred one, or the next one that takes events. */
  get current(): Shard {
    const count = this.#shards.length;
    for (let i = 0; i < count; i++) {
      const shard = this.#shards[(this.#preferred + i) % count]!;
      if (shard.refusal === undefined) return shard;
    }
    return this.#shards[this.#preferred]!;
  }

  /**
   * By this process' place among those that live, as the first shard that answers lists them: their names begin with
   * the time of their start, so that who comes later moves nobody. Throws HotUnavailableError.
   */
  async choose(): Promise<void> {
    if (this.#shards.length === 1) return;
    const listing = this.#shards.find(({ refusal, writer }) => refusal === undefined && writer !== undefined);
    if (listing === undefined) return;
    const owners = await listing.hot.journalOwners();
    const alive = owners.filter(({ adoptable }) => !adoptable).map(({ writer }) => writer);
    const place = alive.sort().indexOf(listing.writer!);
    if (place !== -1) this.#preferred = place % this.#shards.length;
  }
}
