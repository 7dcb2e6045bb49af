/**
 * Divides partitions among the members of a group, for the member that leads it.
 *
 * Invariant: each partition of a topic goes to one member that subscribes to that topic. The client's own assigner
 * knows only the leader's topic, and would give nothing to an instance on another topic in the same group.
 */
import type { GroupPartitionsAssigner } from "@platformatic/kafka";

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
