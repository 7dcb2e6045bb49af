/**
 * Waits until everything accepted so far is in the cold store. Invariants: events count as stored only if this cold
 * store says so, for the very writers that accepted them. A writer without a journal has stored everything, unless the
 * hot store lost its data. Lost events are committed again by the instances that still hold them, under new writers, so
 * writers are listed only some time after a loss.
 */
import { backoffMs, type Clock } from "../../runtime/clock.ts";
import type { ReadStore } from "../../store/cold.ts";
import type { JournalOwner } from "../../store/hot.ts";

export type Accepted = Pick<JournalOwner, "writer" | "acceptedEvents">;

interface DrainOptions {
  readonly cold: Pick<ReadStore, "storedEvents">;
  readonly listOwners: () => Promise<readonly Accepted[]>;
  /** How long ago the hot store was initialized; undefined if it is not. */
  readonly initializedMsAgo: () => Promise<number | undefined>;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const FIRST_PAUSE_MS = 20;
const MAX_PAUSE_MS = 500;
/** Instances probe the hot store every 400 ms, and retry at least twice a second. */
export const RECOVERY_MS = 5_000;

/** Returns how many of those events are still not stored at the timeout: 0 if all are. */
export async function drain(options: DrainOptions): Promise<number> {
  const giveUpAt = options.clock.monotonicMs() + options.timeoutMs;
  for (;;) {
    await recovered(options);
    const left = await drainListed(options, giveUpAt);
    if (left !== "lost data") return left;
  }
}

/** A hot store that stays uninitialized has no instance, so this stops waiting for it. */
async function recovered({ initializedMsAgo, clock }: DrainOptions): Promise<void> {
  const startMs = clock.monotonicMs();
  for (;;) {
    const msAgo = (await initializedMsAgo()) ?? clock.monotonicMs() - startMs;
    if (msAgo >= RECOVERY_MS) return;
    await clock.sleep(MAX_PAUSE_MS);
  }
}

async function drainListed(options: DrainOptions, giveUpAt: number): Promise<number | "lost data"> {
  const { cold, listOwners, initializedMsAgo, clock } = options;
  const listedMs = clock.monotonicMs();
  const wasInitialized = (await initializedMsAgo()) !== undefined;
  const before = await listOwners();
  for (let attempt = 0; ; attempt++) {
    const left = await leftOf(before, cold, listOwners);
    const msAgo = await initializedMsAgo();
    const isSame = msAgo === undefined ? !wasInitialized : msAgo >= clock.monotonicMs() - listedMs;
    if (!isSame) return "lost data";
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
