/** Latencies at fixed points of their distribution. */
import type { Latencies } from "../../src/runtime/latencies.ts";

export const PERCENTILES = [0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 100] as const;

export interface Distribution {
  readonly count: number;
  /** The values at PERCENTILES. */
  readonly ms: readonly number[];
}

/** Undefined if there is no latency. */
export function distributionOf(latencies: Latencies): Distribution | undefined {
  if (latencies.count === 0) return undefined;
  return { count: latencies.count, ms: PERCENTILES.map((percent) => latencies.percentileMs(percent)) };
}

/** Undefined if there are too few samples for the percentile to be more than the highest of them. */
export function percentileMs(latencies: Distribution | undefined, percent: (typeof PERCENTILES)[number]) {
  if (latencies === undefined) return undefined;
  const isResolved = percent === 100 || latencies.count * (1 - percent / 100) >= 1;
  return isResolved ? latencies.ms[PERCENTILES.indexOf(percent)] : undefined;
}
