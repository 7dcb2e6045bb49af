/** The dependencies of the routes, and the settings of those for browsers. */
import type { Registry } from "prom-client";
import type { Source } from "../intake/source.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Config } from "../settings/settings.ts";
import type { StoreWatch } from "../store/watch.ts";
import type { Access } from "./access/access.ts";
import type { ClientAddresses } from "./requests/client-address.ts";

type BrowserSetting =
  | ("corsOrigins" | "browserStreams" | "requiredScopes" | "userSalt")
  | ("isDntRespected" | "isBotFiltered" | "redirectOrigins" | "redirectSecret");

export type BrowserSettings = Pick<Config, BrowserSetting>;

/** In PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export type MetricFamilies = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

export interface Siblings {
  readonly worker: number;
  /** Including this process. */
  readonly count: number;
  /** Answers the others when they ask. */
  share(own: () => Promise<MetricFamilies>): void;
  /** From the others that answer in time. Never rejects. */
  ask(): Promise<readonly MetricFamilies[]>;
}

export interface AppOptions {
  readonly pipeline: Pipeline;
  readonly sources: readonly Source[];
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => number;
  /** After it an idle connection is closed; 0: never. */
  readonly idleTimeoutS: number;
  readonly sharesPort: boolean;
  readonly browserSettings: BrowserSettings;
  readonly addresses: ClientAddresses;
  readonly access?: Access | undefined;
  readonly certificate?: Certificate | undefined;
  readonly requestLog?: Log | undefined;
  readonly stores?: readonly StoreWatch[] | undefined;
  readonly siblings?: Siblings | undefined;
}
