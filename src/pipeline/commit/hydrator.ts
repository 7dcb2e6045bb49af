/**
 * Copies an hour that only the cold store has into the hot store, complete, before anything is added to it. Invariant:
 * if hours were retired between reading the cold store and writing the hot one, the hot store rejects the copy and it
 * is read again, so no stale copy is stored.
 */
import { type HourKey, hourKeyName } from "../../domain/event.ts";
import type { Clock } from "../../runtime/clock.ts";
import { type Metrics, timed } from "../../runtime/metrics.ts";
import type { ColdShard } from "../../store/cold-shard.ts";
import { type HotStore, HotUnavailableError } from "../../store/hot.ts";

const ATTEMPTS = 5;

/** Throws HotUnavailableError or ColdUnavailableError. */
export type Hydrate = (key: HourKey) => Promise<void>;

/** Concurrent requests for an hour share one hydration. */
export function hydrator(hot: HotStore, cold: ColdShard, metrics: Metrics, clock: Clock): Hydrate {
  const inFlight = new Map<string, Promise<void>>();
  return (key) => {
    const name = hourKeyName(key.stream, key.hour);
    return inFlight.getOrInsertComputed(name, () => {
      const hydrating = timed(clock, metrics.hydrationSeconds, () => hydrate(hot, cold, key));
      return hydrating.finally(() => inFlight.delete(name));
    });
  };
}

async function hydrate(hot: HotStore, cold: ColdShard, key: HourKey): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const mark = await hot.retirementMark();
    const totals = await cold.read(key);
    if (await hot.hydrate(key, totals, mark)) return;
  }
  const what = `Cannot hydrate hour ${key.hour} of stream '${key.stream}'`;
  throw new HotUnavailableError(`${what}: hours were retired during each of ${ATTEMPTS} attempts`, false);
}
