/** Batches for tests, built as the committer builds them. */
import { BatchBuilder, type Event, hashUsers, type JournaledBatch } from "../../../src/domain/event.ts";
import { TEST_USERS } from "./test-users.ts";

export function batchOf(events: readonly Event[]): BatchBuilder {
  const builder = new BatchBuilder();
  for (const event of events) builder.add(event);
  hashUsers(builder, TEST_USERS);
  return builder;
}

export function journaledBatchOf(seq: number, events: readonly Event[]): JournaledBatch {
  const { groups, eventCount } = batchOf(events);
  return { seq, groups, eventCount };
}
