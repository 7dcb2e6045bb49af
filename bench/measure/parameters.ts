/** All that says how large a run is, in one place: the full one, and one that only shows that all works. */
import type { SaturationDriver } from "../load/saturation.ts";
import type { MixName } from "../load/workload.ts";

export interface Parameters {
  /** Each starts every candidate anew. */
  readonly rounds: number;
  /** Of each measurement. */
  readonly phaseMs: number;
  readonly warmUpMs: number;
  readonly connections: number;
  /** Different ones in a measurement; a longer one sends them again. */
  readonly requests: number;
  readonly saturationDriver: SaturationDriver | "auto";
  /** What the maximum is taken of. Latencies are measured with LATENCY_MIX, which has to be one of them. */
  readonly mixes: readonly MixName[];
  /** Of a candidate's own maximum: the rates at which its latencies are measured. */
  readonly latencyShares: readonly number[];
  readonly users: number;
  /** "As work grows". */
  readonly manyUsers: number;
  readonly manyStreams: number;
  readonly storedRows: number;
  /** "Batches". */
  readonly batchEvents: number;
  readonly batchConnections: number;
  /** After how long the journal of the killed service is taken up: a wait, and no more. */
  readonly leaseMs: number;
}

export const LATENCY_MIX: MixName = "95:5";
/** Of the maximum: what the targets for latencies are about. */
export const TARGET_SHARE = 0.5;

export const FULL: Parameters = {
  rounds: 3,
  phaseMs: 5_000,
  // Compiling what is hot goes on for seconds, on a core that the measured then lacks.
  warmUpMs: 8_000,
  connections: 256,
  requests: 200_000,
  saturationDriver: "auto",
  mixes: ["100:0", "95:5", "50:50", "GET current"],
  latencyShares: [TARGET_SHARE, 0.8],
  users: 1_000_000,
  manyUsers: 100_000_000,
  manyStreams: 1_000,
  storedRows: 20_000_000,
  batchEvents: 10_000,
  batchConnections: 4,
  leaseMs: 5_000,
};

/** Its figures say nothing. */
export const QUICK: Parameters = {
  ...FULL,
  rounds: 1,
  phaseMs: 200,
  warmUpMs: 100,
  connections: 8,
  requests: 2_000,
  saturationDriver: "built-in",
  mixes: ["100:0", "95:5", "GET current"],
  latencyShares: [TARGET_SHARE],
  manyStreams: 50,
  storedRows: 5_000,
  batchEvents: 200,
  leaseMs: 500,
};
