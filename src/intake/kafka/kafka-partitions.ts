/** Partitions of a topic: how a group divides them, and how far this member has read each of its own. */
import type { GroupPartitionsAssigner } from "@platformatic/kafka";

/** A member that takes over reads this much again at most, and soon enough to find the ids of its events. */
const AHEAD_MAX = 1_000_000;

/**
 * Divides partitions among the members of a group, for the member that leads it.
 *
 * Invariant: each partition of a topic goes to one member that subscribes to that topic. The client's own assigner
 * knows only the leader's topic, and would give nothing to an instance on another topic in the same group.
 */
export const assignPartitions: GroupPartitionsAssigner = (_leader, members, _topics, metadata) => {
  const shares = Array.from(members.values(), (member) => ({
    memberId: member.memberId,
    topics: member.topics ?? [],
    assignments: new Map<string, { topic: string; partitions: number[] }>(),
  }));
  for (const [topic, { partitionsCount }] of metadata.topics) {
    const subscribers = shares.filter(({ topics }) => topics.includes(topic));
    for (let partition = 0; partition < partitionsCount && subscribers.length > 0; partition++) {
      const { assignments } = subscribers[partition % subscribers.length]!;
      const share = assignments.get(topic) ?? { topic, partitions: [] };
      share.partitions.push(partition);
      assignments.set(topic, share);
    }
  }
  return shares;
};

/**
 * One partition assigned to this member: the offset to fetch next, what is settled, and what is committed.
 *
 * Invariant: every offset below `committable` is settled or has no message. Offsets are opened in ascending order.
 */
export class PartitionFlow {
  readonly partition: number;
  isFetching = false;
  /** Another member reads the rest, or this one reads it again. */
  isDropped = false;
  highWatermark: number;
  /** Ascending. Settled offsets take no memory, however long an earlier one is open. */
  readonly #open = new Set<number>();
  #next: number;
  #committed: number;

  constructor(partition: number, committed: number, highWatermark: number) {
    this.partition = partition;
    this.highWatermark = highWatermark;
    this.#next = committed;
    this.#committed = committed;
  }

  /** The offset to fetch next. */
  get next(): number {
    return this.#next;
  }

  open(offset: number): void {
    this.#open.add(offset);
  }

  settle(offset: number): void {
    this.#open.delete(offset);
  }

  /** Every message below `next` is open or settled. */
  advance(next: number): void {
    if (next > this.#next) this.#next = next;
  }

  /** The offset at which another member would have to continue. */
  get committable(): number {
    return this.#open.values().next().value ?? this.#next;
  }

  /** An open message holds up the commits of so many others that no more are read. */
  get isFarAhead(): boolean {
    return this.#next - this.committable > AHEAD_MAX;
  }

  get lag(): number {
    return Math.max(0, this.highWatermark - this.committable);
  }

  /** The offset to commit; undefined if it is committed. */
  get due(): number | undefined {
    const { committable } = this;
    return committable > this.#committed ? committable : undefined;
  }

  noteCommitted(offset: number): void {
    this.#committed = offset;
  }
}
