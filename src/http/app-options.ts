/** What every route is given. */
import type { Scope } from "../count/api-key.ts";
import type { Log } from "../count/log.ts";
import type { Metrics } from "../count/metrics.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Access } from "./access.ts";

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
  /** What they count in. Undefined: all streams, or none if keys are asked for, which pages can't have. */
  readonly browserStreams: readonly string[] | undefined;
  readonly requiredScopes: readonly Scope[] | undefined;
}

/** In PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface AppOptions {
  readonly pipeline: Pipeline;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => number;
  /** Other processes of this service listen on the same port. */
  readonly sharesPort: boolean;
  readonly browserSettings: BrowserSettings;
  /** Undefined: everybody may do everything, as often as they like. */
  readonly access?: Access | undefined;
  /** Undefined: without TLS. */
  readonly certificate?: Certificate | undefined;
}
