/**
 * The shard for events without an id. A process uses one, for large batches, and each process another if possible.
 *
 * Invariant: an event is refused on behalf of its shard only if no shard accepts events. An event that may already be
 * in a shard is never sent to another.
 */
import type { Shard } from "../shard.ts";

export class HomeShard {
  readonly #shards: readonly Shard[];
  #preferred: number;

  /** `number` is used until choose() succeeds. */
  constructor(shards: readonly Shard[], number: number) {
    this.#shards = shards;
    this.#preferred = number;
  }

  /** The preferred shard if it accepts events, or else the next that does. */
  get current(): Shard {
    const count = this.#shards.length;
    for (let i = 0; i < count; i++) {
      const shard = this.#shards[(this.#preferred + i) % count]!;
      if (shard.refusal === undefined) return shard;
    }
    return this.#shards[this.#preferred]!;
  }

  /**
   * Chooses by this process' rank among the live writers that the first available shard lists. Their names begin with
   * their start time, so a newcomer moves nobody. Throws HotUnavailableError.
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
