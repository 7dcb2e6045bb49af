/**
 * Waits until all that was accepted up to now is in the cold store.
 * Invariant: what is counted as stored is what this cold store says, of the very writers that accepted it; a writer
 * whose journal is gone has all of it there.
 */
import { backoffMs } from "../../runtime/backoff.ts";
import type { Clock } from "../../runtime/clock.ts";
import type { ReadStore } from "../../store/cold/read-store.ts";
import type { JournalOwner } from "../../store/hot.ts";

export type Accepted = Pick<JournalOwner, "writer" | "acceptedEvents">;

export interface DrainOptions {
  readonly cold: Pick<ReadStore, "storedEvents">;
  /** Those that have a journal. */
  readonly listOwners: () => Promise<readonly Accepted[]>;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 500;

/** Answers how many of those events are not stored yet when the time is over: 0 if all are. */
export async function drain({ cold, listOwners, timeoutMs, clock }: DrainOptions): Promise<number> {
  const giveUpAt = clock.monotonicMs() + timeoutMs;
  const before = await listOwners();
  for (let attempt = 0; ; attempt++) {
    const left = await leftOf(before, cold, listOwners);
    if (left === 0 || clock.monotonicMs() >= giveUpAt) return left;
    await clock.sleep(backoffMs(attempt, FIRST_PAUSE_MS, MAX_PAUSE_MS, clock.random));
  }
}

async function leftOf(
  before: readonly Accepted[],
  cold: Pick<ReadStore, "storedEvents">,
  listOwners: DrainOptions["listOwners"],
): Promise<number> {
  const owners = new Set((await listOwners()).map(({ writer }) => writer));
  const there = before.filter(({ writer }) => owners.has(writer));
  const { byWriter } = await cold.storedEvents(there.map(({ writer }) => writer));
  return there.reduce((sum, { writer, acceptedEvents }) => {
    return sum + Math.max(0, acceptedEvents - (byWriter.get(writer) ?? 0));
  }, 0);
}
