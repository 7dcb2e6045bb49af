/**
 * Work repeated at an interval, never twice at a time. A failure is logged once, until the work succeeds again. An
 * unavailable store is not logged here: StoreWatch logs it once for everyone.
 */
import type { Clock } from "../runtime/clock.ts";
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import { StoreUnavailableError } from "../store/unavailable-error.ts";

export type RecurringTask = ReturnType<typeof recurringTask>;

export function recurringTask(what: string, intervalMs: number, log: Log, clock: Clock, work: () => Promise<unknown>) {
  let endTimer = () => {};
  let isInFlight = false;
  let latest: Promise<void> | undefined;
  let isFailing = false;
  const once = async () => {
    try {
      await work();
      isFailing = false;
    } catch (error) {
      if (error instanceof StoreUnavailableError) return;
      if (!isFailing) log.warn({ error: errorText(error) }, `could not ${what}`);
      isFailing = true;
    } finally {
      isInFlight = false;
    }
  };
  const begin = () => {
    if (isInFlight) return;
    isInFlight = true;
    latest = once();
  };
  return {
    /** `isAtOnce`: the first run is now, not after an interval. */
    start(isAtOnce = false): void {
      endTimer = clock.every(intervalMs, begin);
      if (isAtOnce) begin();
    },
    async stop(): Promise<void> {
      endTimer();
      await latest;
    },
  };
}
