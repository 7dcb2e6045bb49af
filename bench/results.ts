/** The shape of results/latest.json, from which the report and the verdicts are made. */
import type { Distribution } from "./load/percentiles.ts";
import type { RequestClass } from "./load/workload.ts";
import type { Parameters } from "./parameters.ts";

export interface Results {
  readonly startedAt: string;
  readonly durationS: number;
  /** The commit that was measured, with a + if files were changed. */
  readonly commit: string;
  readonly machine: Machine;
  readonly parameters: Parameters;
  readonly candidates: readonly CandidateResults[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly system: string;
  readonly bun: string;
  readonly redis: string;
  readonly mariaDb: string;
  /** Busy share of all cores before the run: other work on the machine. */
  readonly busyShare: number;
}

export interface CandidateResults {
  readonly name: string;
  readonly title: string;
  /** One per round; undefined (null in JSON) if it failed. */
  readonly rounds: readonly (TrialResult | undefined | null)[];
  readonly failures: readonly string[];
}

/** One candidate in one round. What is undefined was not measured. */
export interface TrialResult {
  readonly rates: readonly RateResult[];
  readonly maximum: Maximum;
  readonly reads?: ReadResult | undefined;
  readonly growth?: GrowthResult | undefined;
  readonly batches?: BatchResult | undefined;
  readonly kill?: KillResult | undefined;
  readonly residentMb: Parts;
  /** Per million of the events that the maximum was measured with. */
  readonly bytesPerMEvents: StoredBytes;
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

interface Cost {
  readonly cpuUsPerEvent: Parts;
  /** Undefined where no event becomes a row after its answer. */
  readonly flush?: FlushResult | undefined;
}

/** Posts alone, as many as the server takes. */
export interface Maximum extends Cost {
  readonly perS: number;
  /** Refused, or lost: figures with many of these mean nothing. */
  readonly failed: number;
}

/** Posts alone, at a rate that does not depend on the server. */
export interface RateResult extends Cost {
  readonly ratePerS: number;
  /** The share of the due requests that were answered. Below 1 the server could not sustain the rate. */
  readonly answeredShare: number;
  readonly latencies: Latencies;
}

export type Latencies = Readonly<Partial<Record<RequestClass, Distribution>>>;

export interface FlushResult {
  /** When the load ended. */
  readonly backlogEvents: number;
  /** How long the load took to send as many. */
  readonly lagS: number;
  readonly drainMs: number;
}

export interface ReadResult {
  /** The maximum rate for events of the current hour. */
  readonly maximumPerS: number;
  /** Posts and reads, half each, at `readRatePerS`. */
  readonly latencies: Latencies;
}

/** Posts, as many as the server takes, in events/s. */
export interface GrowthResult {
  readonly users: number;
  readonly streams: number;
}

/** Events a second, many in a request. */
export interface BatchResult {
  readonly acceptedPerS: number;
  /** The same, with the time until the last of them was a row. */
  readonly storedPerS: number;
  readonly failed: number;
  /** Rows a second that MySQL takes from one session that only inserts; undefined without MySQL. */
  readonly bulkRowsPerS?: number | undefined;
}

/** After kill -9 under load, and a new start on the same stores. */
export interface KillResult {
  readonly acknowledged: number;
  /** Sent, and not answered: these may be stored or not. */
  readonly inDoubt: number;
  /** How many events the reads of all hours have gained. */
  readonly counted: number;
  /** How many rows were added; undefined if the candidate keeps none. */
  readonly rows: number | undefined;
  /** Acknowledged, and missing from the counts, or from the rows if there are any. */
  readonly lost: number;
  /** From the start to the first answer of /readyz, with everything that the trial had stored. */
  readonly restartMs: number;
}

export type Figure = (trial: TrialResult) => number | undefined;

/** A figure of a candidate by round; undefined for rounds without. Empty if the candidate did not run. */
export function byRound(results: Results, name: string, figure: Figure): (number | undefined)[] {
  const found = results.candidates.find((one) => one.name === name);
  return (found?.rounds ?? []).map((trial) => (trial ? figure(trial) : undefined));
}

export function sumOf({ server, redis, mysql }: Parts): number {
  return server + redis + mysql;
}

export function at(ratePerS: number, { rates }: TrialResult): RateResult | undefined {
  return rates.find((one) => one.ratePerS === ratePerS);
}

export function failures({ candidates }: Results): string[] {
  return candidates.flatMap(({ title, failures: texts }) => texts.map((text) => `${title}: ${text}`));
}
