/**
 * The shard of an event with an id. All instances agree on it, so a retry meets the first attempt anywhere.
 * Invariant: it never changes, since a shard remembers its own ids.
 */

/** The maximum of REDIS_SHARDS: a read asks every shard. */
export const SHARDS_MAX = 64;

/** The hash of users is another (SipHash under a key), so shards and registers are independent. */
const SEED = 0x5eed_1d5an;

export function shardOf(stream: string, id: string, shards: number): number {
  // Stream names contain no space, so no two pairs hash the same text.
  return Number(Bun.hash.murmur64v2(`${stream} ${id}`, SEED) % BigInt(shards));
}
