/** What every route is given. */
import type { Log } from "../count/log.ts";
import type { Metrics } from "../count/metrics.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";

export interface AppOptions {
  readonly pipeline: Pipeline;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => number;
  /** Other processes of this service listen on the same port. */
  readonly sharesPort: boolean;
}
