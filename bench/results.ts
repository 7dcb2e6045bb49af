/** What a run found: the shape of results/latest.json, which report and targets are made from. */
import type { Distribution } from "./load/percentiles.ts";
import type { MixName, RequestClass } from "./load/workload.ts";
import type { Parameters } from "./measure/parameters.ts";

export interface Results {
  readonly startedAt: string;
  readonly durationS: number;
  readonly machine: Machine;
  readonly parameters: Parameters;
  readonly drivers: { readonly saturation: string; readonly constantRate: string };
  readonly candidates: readonly CandidateResults[];
  readonly growth: readonly GrowthResults[];
  readonly batches: readonly BatchResults[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly bun: string;
  readonly redis: string;
  readonly mariaDb: string;
  /** Of the minute before the run began: what else the machine was doing. */
  readonly loadAverage: number;
}

export interface CandidateResults {
  readonly name: string;
  readonly title: string;
  /** By round; undefined (null in JSON) for a round in which it failed. */
  readonly rounds: readonly (TrialResult | undefined | null)[];
  readonly failures: readonly string[];
}

/** One candidate in one round. */
export interface TrialResult {
  readonly maximum: Readonly<Partial<Record<MixName, Maximum>>>;
  readonly latencies: readonly LatencyResult[];
  readonly residentMb: Parts;
  /** By a million events; of what was measured with posts alone. */
  readonly bytesPerMEvents: StoredBytes;
  /** Undefined where nothing is stored. */
  readonly kill: KillResult | undefined;
}

export interface Parts {
  readonly server: number;
  readonly redis: number;
  readonly mysql: number;
}

export interface StoredBytes {
  readonly redis: number;
  readonly mysql: number;
  readonly files: number;
}

export interface Maximum {
  readonly requestsPerS: number;
  /** Refused, or lost: figures with many of these are not to be believed. */
  readonly failed: number;
  readonly cpuUsPerRequest: Parts;
  /** Undefined where no event becomes a row after its answer. */
  readonly flush: FlushResult | undefined;
}

export interface FlushResult {
  /** Rows written over the second half of the load, against the events that came in. At 1 it keeps up. */
  readonly shareOfRate: number;
  readonly rowsPerS: number;
  /** When the load ended. */
  readonly backlogEvents: number;
  readonly drainMs: number;
}

export interface LatencyResult {
  /** Of the candidate's own maximum. */
  readonly share: number;
  readonly ratePerS: number;
  readonly answeredPerS: number;
  readonly refused: number;
  readonly classes: Readonly<Partial<Record<RequestClass, Distribution>>>;
  /** Of the candidate's `latencyReference`, at the same rate. */
  readonly reference?: Readonly<Partial<Record<RequestClass, Distribution>>>;
}

/** After kill -9 under load, and a new start on the same stores. */
export interface KillResult {
  readonly acknowledged: number;
  /** Sent, and not answered: these may be stored or not. */
  readonly inDoubt: number;
  /** What the reads of all hours have gained. */
  readonly counted: number;
  /** What the rows have gained; undefined where there are none. */
  readonly rows: number | undefined;
  /** Acknowledged, and missing from the counts, or from the rows if there are any. */
  readonly lost: number;
}

export interface GrowthResults {
  readonly name: string;
  readonly title: string;
  /** By round. */
  readonly eventsPerS: readonly (number | undefined | null)[];
  readonly failures: readonly string[];
}

export interface BatchResults {
  readonly name: string;
  readonly title: string;
  /** By round. */
  readonly rounds: readonly (BatchRound | undefined | null)[];
  readonly failures: readonly string[];
}

/** Events a second. */
export interface BatchRound {
  /** One in a request. */
  readonly singlesPerS: number;
  /** Accepted, many in a request. */
  readonly takenPerS: number;
  /** The same, with the time until the last of them was a row. */
  readonly storedPerS: number;
  readonly refusedRequests: number;
  /** Rows a second that MySQL takes from who only inserts; undefined without MySQL. */
  readonly bulkRowsPerS?: number;
}

export const GROWTH_BASE = "base";

/** A figure of a candidate by round; undefined for rounds without. Empty if the candidate did not run. */
export function byRound(
  results: Results,
  name: string,
  figure: (trial: TrialResult) => number | undefined,
): (number | undefined)[] {
  const found = results.candidates.find((one) => one.name === name);
  return (found?.rounds ?? []).map((trial) => (trial ? figure(trial) : undefined));
}

export function postsPerS({ maximum }: TrialResult): number | undefined {
  return maximum["100:0"]?.requestsPerS;
}

export function sumOf({ server, redis, mysql }: Parts): number {
  return server + redis + mysql;
}

export function latencyAt({ latencies }: TrialResult, share: number): LatencyResult | undefined {
  return latencies.find((one) => one.share === share);
}
