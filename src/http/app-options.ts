/** What every route is given. */
import type { Log } from "../count/log.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";

export interface AppOptions {
  readonly pipeline: Pipeline;
  readonly log: Log;
  readonly now: () => number;
  /** Other processes of this service listen on the same port. */
  readonly sharesPort: boolean;
}
