/** What every route is given. */
import type { Registry } from "prom-client";
import type { Scope } from "../domain/api-key.ts";
import type { Source } from "../intake/source.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Log } from "../runtime/log.ts";
import type { Metrics } from "../runtime/metrics.ts";
import type { StoreWatch } from "../store/watch.ts";
import type { Access } from "./access/admission.ts";
import type { ClientAddresses } from "./requests/client-address.ts";

/** What is done for browsers, and for whom of them. */
export interface BrowserSettings {
  /** Whose pages may read answers: "*" for all, undefined for none. */
  readonly corsOrigins: readonly string[] | undefined;
  readonly isDntRespected: boolean;
  readonly isBotFiltered: boolean;
  readonly redirectOrigins: readonly string[] | undefined;
  readonly redirectSecret: string | undefined;
  readonly userSalt: string | undefined;
  /** What they count in. Undefined: all streams, or none if keys are asked for, which pages can't have. */
  readonly browserStreams: readonly string[] | undefined;
  readonly requiredScopes: readonly Scope[] | undefined;
}

/** In PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** What prom-client shows of all metrics of a process. */
export type MetricFamilies = Awaited<ReturnType<Registry["getMetricsAsJSON"]>>;

export interface Siblings {
  /** This process' own number. */
  readonly worker: number;
  /** Itself among them. */
  readonly count: number;
  /** What to tell the others when they ask. */
  tell(own: () => Promise<MetricFamilies>): void;
  /** Of the others, as far as they answer in time. Never rejects. */
  ask(): Promise<readonly MetricFamilies[]>;
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
  readonly addresses: ClientAddresses;
  /** Undefined: everybody may do everything, as often as they like. */
  readonly access?: Access | undefined;
  /** Undefined: without TLS. */
  readonly certificate?: Certificate | undefined;
  /** Gets a line for each request; undefined if nobody wants that. */
  readonly requestLog?: Log | undefined;
  /** Whether the stores answer; none if nobody looks. */
  readonly stores?: readonly StoreWatch[] | undefined;
  /** The other processes behind the same port; undefined if there are none. */
  readonly siblings?: Siblings | undefined;
}
