/** Metrics of what is counted elsewhere: the present values are read at each scrape. */
import type { Gauge, Registry } from "prom-client";

export interface Sample {
  /** Undefined: the metric's name. */
  readonly metricName?: string;
  readonly labels?: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** `samples`: called in the tick of the scrape, as for every other metric. */
export function expose(
  registry: Registry,
  type: "counter" | "gauge" | "histogram",
  name: string,
  help: string,
  samples: () => Iterable<Sample>,
): void {
  const get = async () => ({ name, help, type, aggregator: "sum", values: Array.from(samples()) });
  // A registry needs no more of a metric; prom-client itself builds aggregated metrics in this way.
  registry.registerMetric({ name, get } as unknown as Gauge);
}
