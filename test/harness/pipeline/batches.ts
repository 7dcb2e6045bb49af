/** Batches for tests, built as the committer builds them. */
import { BatchBuilder } from "../../../src/domain/batch.ts";
import type { Event } from "../../../src/domain/event.ts";

export function batchOf(events: readonly Event[]): BatchBuilder {
  const builder = new BatchBuilder();
  for (const event of events) builder.add(event);
  return builder;
}
