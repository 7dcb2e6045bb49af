/** What every route is given. */
import type { Log } from "../count/log.ts";
import type { Metrics } from "../count/metrics.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Source } from "../pipeline/source.ts";

/** What is done for browsers, and for whom of them. */
export interface BrowserSettings {
  /** Whose pages may read answers: "*" for all, undefined for none. */
  readonly corsOrigins: readonly string[] | undefined;
  readonly isDntRespected: boolean;
  readonly isBotFiltered: boolean;
  readonly redirectOrigins: readonly string[] | undefined;
  readonly redirectSecret: string | undefined;
  readonly userSalt: string | undefined;
  readonly trustedProxies: number;
}

export interface AppOptions {
  readonly pipeline: Pipeline;
  /** From which it is given events beside those that come here. */
  readonly sources: readonly Source[];
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => number;
  /** Other processes of this service listen on the same port. */
  readonly sharesPort: boolean;
  readonly browserSettings: BrowserSettings;
}
