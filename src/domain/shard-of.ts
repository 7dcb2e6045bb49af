/**
 * Which shard an event with an id goes to: the same on every instance, so that a retry anywhere meets the first try. It
 * must never change: ids are remembered in their shard.
 */

/** The maximum of REDIS_SHARDS: a read asks all of them. */
export const SHARDS_MAX = 64;

/** Not the seed of sketches, so that shards and registers are independent. */
const SEED = 0x5eed_1d5an;

export function shardOf(stream: string, id: string, shards: number): number {
  // No stream holds a space: no two pairs share a name.
  return Number(Bun.hash.murmur64v2(`${stream} ${id}`, SEED) % BigInt(shards));
}
