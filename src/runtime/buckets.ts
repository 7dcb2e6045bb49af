/**
 * A histogram of which an observation costs some nanoseconds: prom-client's takes 1 µs, since it looks its labels up
 * each time. So one may be made per request.
 */
import type { Histogram, Registry } from "prom-client";

export class Buckets {
  readonly bounds: readonly number[];
  /** The last one is of all above the last bound. */
  readonly counts: Float64Array;
  sum = 0;

  /** `bounds`: ascending, each the highest value of its bucket. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** `weight`: for how many it stands. */
  observe(value: number, weight = 1): void {
    const { bounds } = this;
    let i = 0;
    while (i < bounds.length && value > bounds[i]!) i += 1;
    this.counts[i]! += weight;
    this.sum += value * weight;
  }
}

export interface LabelledBuckets {
  readonly labels: Readonly<Record<string, string>>;
  readonly buckets: Buckets;
}

/** Shows them as one histogram, each under its labels. */
export function registerBuckets(
  registry: Registry,
  name: string,
  help: string,
  all: () => Iterable<LabelledBuckets>,
): void {
  const get = async () => ({
    ...{ name, help, type: "histogram", aggregator: "sum" },
    values: Array.from(all(), (each) => samplesOf(name, each)).flat(),
  });
  // All that a registry asks of a metric, as prom-client itself makes them of what it has aggregated.
  registry.registerMetric({ name, get } as unknown as Histogram);
}

function samplesOf(name: string, { labels, buckets }: LabelledBuckets) {
  const { bounds, counts, sum } = buckets;
  let count = 0;
  const samples = [...bounds, "+Inf"].map((bound, i) => {
    count += counts[i]!;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: count };
  });
  return [
    ...samples,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
