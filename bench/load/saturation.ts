/** As many requests as the server takes: each connection sends its next one once it has its answer. */
export interface SaturationJob {
  readonly port: number;
  readonly requestsPath: string;
  readonly connections: number;
  readonly durationMs: number;
}

export interface SaturationResult {
  /** Answered with success. */
  readonly answered: number;
  /** Answered with anything else, or lost. */
  readonly failed: number;
  readonly durationMs: number;
}

export type SaturationDriver = "wrk" | "autocannon";
