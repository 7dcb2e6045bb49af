/** Latencies at fixed points of their distribution, exact: from all samples, sorted. */
export const PERCENTILES = [
  0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99, 100,
] as const;

export interface Latencies {
  readonly count: number;
  /** At each of PERCENTILES. */
  readonly ms: readonly number[];
}

/** Undefined if there is no sample. Sorts the samples in place. */
export function latenciesOf(samplesMs: Float64Array): Latencies | undefined {
  if (samplesMs.length === 0) return undefined;
  samplesMs.sort();
  const last = samplesMs.length - 1;
  const ms = PERCENTILES.map((percent) => {
    const rank = Math.ceil((samplesMs.length * percent) / 100);
    return samplesMs[Math.min(Math.max(rank - 1, 0), last)]!;
  });
  return { count: samplesMs.length, ms };
}

/** Undefined if there are too few samples for the percentile to be more than the highest of them. */
export function percentileMs(latencies: Latencies | undefined, percent: (typeof PERCENTILES)[number]) {
  if (latencies === undefined) return undefined;
  const isResolved = percent === 100 || latencies.count * (1 - percent / 100) >= 1;
  return isResolved ? latencies.ms[PERCENTILES.indexOf(percent)] : undefined;
}
