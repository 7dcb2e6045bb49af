/**
 * Names of the keys of one shard.
 *
 * Keys of shard 0 (its number is the hash tag, so that a script's keys share a slot):
 *   hg:{0}:meta                  freshFrom, mark (changes with every initialization and retirement), since (ms),
 *                                epoch, shards (their number), held (the number of hours), ids (1: all of 24
 *                                hours are known), and who is restoring them until when (restorer, until)
 *   hg:{0}:ids-through           all ids that the cold store had before this time (ms, by its clock) are known
 *   hg:{0}:stored                how many events the cold store has had, without those of present writers
 *   hg:{0}:trial                 tests whether sketches may be created
 *   hg:{0}:data-set              identity of the database, and its user-key (hex), under which users enter sketches
 *   hg:{0}:writers               names of all writers that have a journal
 *   hg:{0}:w:<writer>            last, flushed (seqs), events (accepted), lease (ms), fenced,
 *                                stored (events that the cold store has had)
 *   hg:{0}:j:<writer>            the journal: a stream, entry <seq>-0 holds b(ody) and d(uplicate ordinals)
 *   hg:{0}:hours                 sorted set of the hours held, "<hour> <stream>" by hour
 *   hg:{0}:c:<hour>:<stream>     c(licks), i(mpressions), w:<writer> = the last seq that touched it
 *   hg:{0}:u:<hour>:<stream>     the sketch of the viewers: a Redis HyperLogLog
 *   hg:{0}:k:<hour>:<stream>     the sketch of the clickers
 *   hg:{0}:new-writers, new-hours  the replacement of an index that something else has changed
 *   hg:{0}:id:<stream>:<id>      an event id, for 24 hours
 * Keys of access-store.ts, in shard 0 only:
 *   hg:{0}:api-keys              the copy of the API keys, with only their hashes
 *   hg:{0}:limit-salt            random, changes daily
 *   hg:{0}:limit:<hash>          of a limit's name: until when it is paid for, in µs; expires then
 * Scripts that are given a prefix append the rest of a key themselves.
 * No key can be forged: `stream` has no colon, writers are named by this service, and an id comes last in its key.
 */
import type { HourKey } from "../../domain/event.ts";

export type Keys = ReturnType<typeof keysOf>;

export function keysOf(shard: number) {
  const prefix = `hg:{${shard}}:`;
  return {
    prefix,
    meta: `${prefix}meta`,
    writers: `${prefix}writers`,
    hours: `${prefix}hours`,
    dataSet: `${prefix}data-set`,
    idsThrough: `${prefix}ids-through`,
    stored: `${prefix}stored`,
    /** Exists only for a moment. */
    trial: `${prefix}trial`,
    newWriters: `${prefix}new-writers`,
    newHours: `${prefix}new-hours`,
    /** The caller appends the writer's name. */
    writer: `${prefix}w:`,
    /** The caller appends the writer's name. */
    journal: `${prefix}j:`,
    apiKeys: `${prefix}api-keys`,
    limitSalt: `${prefix}limit-salt`,
    /** The script appends the hash. */
    limit: `${prefix}limit:`,
    /** The keys of its counts, its viewers and its clickers. */
    hour({ hour, stream }: HourKey): readonly [string, string, string] {
      const place = `${hour}:${stream}`;
      return [`${prefix}c:${place}`, `${prefix}u:${place}`, `${prefix}k:${place}`];
    },
    id: (stream: string, id: string) => `${prefix}id:${stream}:${id}`,
  };
}
