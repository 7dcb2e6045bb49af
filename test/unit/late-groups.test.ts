/** Groups that wait until their hour is loaded from the cold store. */
import { expect, test } from "bun:test";
import { HOUR_MS } from "../../src/domain/event.ts";
import { LateGroups } from "../../src/pipeline/commit/late-groups.ts";
import { OpenBatch } from "../../src/pipeline/commit/paced-queue.ts";
import { click, NOON } from "../harness/pipeline/pipeline-harness.ts";

test("of a bulk with more hours than are loaded in time, the rest is refused as loading_hours", async () => {
  let nowMs = 0;
  const loading = Promise.withResolvers<void>();
  const groups = new LateGroups({
    hydrate: () => loading.promise,
    queue: { readmit: (_group, waiter) => waiter.resolve(undefined) },
    clock: { monotonicMs: () => nowMs },
    refuse: (reason) => ({ reason, retryAfterS: 1 }),
    unavailable: () => undefined,
  });
  const batch = new OpenBatch(nowMs, true);
  const outcomes = Array.from({ length: 10 }, (_, hour) => {
    const group = batch.builder.add(click("u", NOON - hour * HOUR_MS));
    const outcome = batch.outcomeOf(group);
    void groups.stepAside(group, batch);
    return outcome;
  });
  expect(groups.bulkEvents).toBe(10);
  await new Promise((resolve) => setImmediate(resolve));
  nowMs = 3_001;
  loading.resolve();
  const reasons = (await Promise.all(outcomes)).map((outcome) => outcome?.reason);
  expect(reasons).toEqual([...Array(8).fill(undefined), "loading_hours", "loading_hours"]);
  expect(groups.isEmpty).toBe(true);
});
