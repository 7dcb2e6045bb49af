/** The size of a run: the full one, the gate, and one that only shows that everything works. */
export interface Parameters {
  /** Each starts every candidate anew. */
  readonly rounds: number;
  /** Duration of each measurement. */
  readonly phaseMs: number;
  readonly warmUpMs: number;
  readonly connections: number;
  /** Different ones in a measurement; a longer one sends them again. */
  readonly requests: number;
  /** In ascending order: a candidate that cannot sustain one skips the rest. */
  readonly ratesPerS: readonly number[];
  /** Posts and reads together, half each. */
  readonly readRatePerS: number;
  readonly users: number;
  /** "As the work grows". */
  readonly manyUsers: number;
  readonly manyStreams: number;
  readonly storedRows: number;
  readonly batchEvents: number;
  readonly batchConnections: number;
  /** After how long the journal of the killed service is adopted: a wait, and no more. */
  readonly leaseMs: number;
}

export const FULL: Parameters = {
  rounds: 3,
  phaseMs: 4_000,
  // Hot code is compiled for seconds, on a core that the service then lacks.
  warmUpMs: 5_000,
  connections: 64,
  requests: 200_000,
  ratesPerS: [500, 2_000, 5_000, 10_000, 15_000],
  readRatePerS: 5_000,
  users: 1_000_000,
  manyUsers: 100_000_000,
  manyStreams: 1_000,
  storedRows: 20_000_000,
  batchEvents: 10_000,
  batchConnections: 4,
  leaseMs: 2_000,
};

/** For `--check`, which must end within ten minutes. */
export const GATE: Parameters = { ...FULL, phaseMs: 3_000 };

/** Its figures mean nothing. */
export const QUICK: Parameters = {
  ...FULL,
  rounds: 1,
  phaseMs: 200,
  warmUpMs: 100,
  connections: 8,
  requests: 2_000,
  ratesPerS: [100, 500],
  readRatePerS: 100,
  manyStreams: 50,
  storedRows: 5_000,
  batchEvents: 200,
  leaseMs: 500,
};
