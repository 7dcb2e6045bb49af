/**
 * Which shard an event with an id goes to: the same on every instance, so that whoever brings the id again meets the
 * first one. It must never change: ids are remembered in their shard.
 */
/** What REDIS_SHARDS may be at most: a read asks all of them. */
export const SHARDS_MAX = 64;

/** Another one than that of sketches, so that a user's name that is also an id is no coincidence. */
const SEED = 0x5eed_1d5an;

export function shardOf(stream: string, id: string, shards: number): number {
  // No stream holds a space: no two pairs share a name.
  return Number(Bun.hash.murmur64v2(`${stream} ${id}`, SEED) % BigInt(shards));
}
