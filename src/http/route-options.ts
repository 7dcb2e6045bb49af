/** The dependencies of the routes, and the settings of the browser routes. */
import type { Registry } from "prom-client";
import type { BrokerSource } from "../intake/broker-source.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { Config } from "../settings/settings.ts";
import type { StoreWatch } from "../store/store-watch.ts";
import type { Access } from "./access/access.ts";
import type { ClientAddresses } from "./requests/client-address.ts";

type BrowserSetting =
  | ("corsOrigins" | "browserStreams" | "requiredScopes" | "userSalt")
  | ("isDntRespected" | "isBotFiltered" | "redirectOrigins" | "redirectSecret");

export type BrowserSettings = Pick<Config, BrowserSetting>;

/** PEM texts. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export type MetricFamilies = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

export interface Siblings {
  readonly worker: number;
  /** Includes this process. */
  readonly count: number;
  /** Provides this process's metrics to the others. */
  share(own: () => Promise<MetricFamilies>): void;
  /** The metrics of the others that answer in time. Never rejects. */
  ask(): Promise<readonly MetricFamilies[]>;
}

export interface AppOptions {
  readonly pipeline: Pipeline;
  readonly sources: readonly BrokerSource[];
  readonly metrics: Metrics;
  readonly log: Log;
  readonly now: () => number;
  /** How long an idle connection stays open; 0: forever. */
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
