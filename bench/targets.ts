/**
 * The targets, and whether a run meets them. All are ratios within one run, so that they hold on any machine,
 * but for one latency that users feel.
 * Invariant: what was not measured is not met.
 */
import { CEILING, HOURGLASS, HOURGLASS_EMBEDDED, HOURGLASS_TWO_WORKERS } from "./candidates.ts";
import { type Distribution, percentileMs } from "./load/percentiles.ts";
import type { RequestClass } from "./load/workload.ts";
import { TARGET_SHARE } from "./measure/parameters.ts";
import {
  type BatchRound,
  byRound,
  GROWTH_BASE,
  latencyAt,
  postsPerS,
  type Results,
  sumOf,
  type TrialResult,
} from "./results.ts";
import { figureText, ratios, type Spread, spreadOf, spreadText } from "./statistics.ts";

export interface Target {
  /** Names the row. */
  readonly name: string;
  readonly bound: number;
  readonly isUpperBound: boolean;
  readonly unit: "times" | "ms" | "events";
  /** By round. */
  figures(results: Results): readonly (number | undefined)[];
}

export interface Verdict {
  readonly target: Target;
  /** Undefined if it was not measured. */
  readonly found: Spread | undefined;
  readonly isMet: boolean;
}

type Figure = (trial: TrialResult) => number | undefined;

export const TARGETS: readonly Target[] = [
  atLeast(0.85, "POST events/s, Redis + MySQL, against the async ceiling", speedAgainst(HOURGLASS, CEILING)),
  atLeast(1.9, "POST events/s, Redis + MySQL, against approach 4", speedAgainst(HOURGLASS, "approach-4")),
  atLeast(2.5, "POST events/s, Redis + MySQL, against approach 3", speedAgainst(HOURGLASS, "approach-3")),
  atLeast(7, "POST events/s, Redis + MySQL, against approach 1", speedAgainst(HOURGLASS, "approach-1")),
  atLeast(11, "POST events/s, Redis + MySQL, against approach 2", speedAgainst(HOURGLASS, "approach-2")),
  atLeast(0.85, "POST events/s, embedded, against the async ceiling", speedAgainst(HOURGLASS_EMBEDDED, CEILING)),
  atLeast(0.9, "rows/s flushed meanwhile, Redis + MySQL, against the events/s", (results) =>
    byRound(results, HOURGLASS, ({ maximum }) => maximum["100:0"]?.flush?.shareOfRate),
  ),
  atLeast(0.9, "rows/s flushed meanwhile, embedded, against the events/s", (results) =>
    byRound(results, HOURGLASS_EMBEDDED, ({ maximum }) => maximum["100:0"]?.flush?.shareOfRate),
  ),
  atMost(
    0.65,
    "CPU per event, all processes, against approach 4",
    against(HOURGLASS, "approach-4", ({ maximum }) => {
      const cpu = maximum["100:0"]?.cpuUsPerRequest;
      return cpu && sumOf(cpu);
    }),
  ),
  ...(["POST", "GET"] as const).flatMap((method) => [
    atMost(2, `p99 of ${method}, current hour, against the async ceiling`, (results) =>
      byRound(results, HOURGLASS, (trial) => {
        const p99 = p99Ms(`${method} current`, "classes")(trial);
        const ceiling = p99Ms(`${method} current`, "reference")(trial);
        return p99 && ceiling && p99 / ceiling;
      }),
    ),
    inMs(5, `p99 of ${method}, current hour`, p99Ms(`${method} current`, "classes")),
    atMost(3, `p99 of ${method}, older hours, against the current hour's`, (results) =>
      byRound(results, HOURGLASS, (trial) => {
        const older = p99Ms(`${method} older`, "classes")(trial);
        const current = p99Ms(`${method} current`, "classes")(trial);
        return older && current && older / current;
      }),
    ),
  ]),
  atLeast(
    0.7,
    "GET requests/s, current hour, against the async ceiling",
    against(HOURGLASS, CEILING, ({ maximum }) => maximum["GET current"]?.requestsPerS),
  ),
  ...(["users", "streams", "rows"] as const).map((name) =>
    atLeast(0.9, `POST events/s with many ${name}, against few`, (results) => growthRatios(results, name)),
  ),
  ...[HOURGLASS, HOURGLASS_EMBEDDED].map((name) =>
    atLeast(5, `events/s in batches, against one in each request, ${name}`, (results) =>
      batchRatios(results, name, ({ takenPerS, singlesPerS }) => takenPerS / singlesPerS),
    ),
  ),
  atLeast(0.4, "rows/s of batches, until all are stored, against bulk insert alone", (results) =>
    batchRatios(results, HOURGLASS, ({ storedPerS, bulkRowsPerS }) => bulkRowsPerS && storedPerS / bulkRowsPerS),
  ),
  atMost(
    1.15,
    "server CPU per event, 2 workers, against 1",
    against(HOURGLASS_TWO_WORKERS, HOURGLASS, ({ maximum }) => maximum["100:0"]?.cpuUsPerRequest.server),
  ),
  ...[HOURGLASS, HOURGLASS_EMBEDDED].map((name) => noneLost(name)),
];

function atLeast(bound: number, name: string, figures: Target["figures"]): Target {
  return { name, bound, isUpperBound: false, unit: "times", figures };
}

function atMost(bound: number, name: string, figures: Target["figures"]): Target {
  return { name, bound, isUpperBound: true, unit: "times", figures };
}

function inMs(bound: number, name: string, figure: Figure): Target {
  const figures = (results: Results) => byRound(results, HOURGLASS, figure);
  return { name, bound, isUpperBound: true, unit: "ms", figures };
}

/** Of all rounds the worst, since one event is one too many. */
function noneLost(which: string): Target {
  const figures = (results: Results) => {
    const lost = byRound(results, which, ({ kill }) => kill?.lost).filter((events) => events !== undefined);
    return lost.length === 0 ? [] : [Math.max(...lost)];
  };
  return { name: `events lost by kill -9, ${which}`, bound: 0, isUpperBound: true, unit: "events", figures };
}

function against(name: string, reference: string, figure: Figure): Target["figures"] {
  return (results) => ratios(byRound(results, name, figure), byRound(results, reference, figure));
}

function speedAgainst(name: string, reference: string): Target["figures"] {
  return against(name, reference, postsPerS);
}

function p99Ms(requestClass: RequestClass, of: "classes" | "reference"): Figure {
  return (trial) => {
    const latencies: Distribution | undefined = latencyAt(trial, TARGET_SHARE)?.[of]?.[requestClass];
    return percentileMs(latencies, 99);
  };
}

function growthRatios({ growth }: Results, name: string): (number | undefined)[] {
  const figures = (which: string) => {
    const found = growth.find((one) => one.name === which)?.eventsPerS ?? [];
    return found.map((eventsPerS) => eventsPerS ?? undefined);
  };
  return ratios(figures(name), figures(GROWTH_BASE));
}

function batchRatios(
  { batches }: Results,
  name: string,
  ratio: (round: BatchRound) => number | undefined,
): (number | undefined)[] {
  const found = batches.find((one) => one.name === name)?.rounds ?? [];
  return found.map((round) => (round ? ratio(round) : undefined));
}

export function judge(results: Results): Verdict[] {
  return TARGETS.map((target) => {
    const found = spreadOf(target.figures(results));
    const isMet =
      found !== undefined && (target.isUpperBound ? found.median <= target.bound : found.median >= target.bound);
    return { target, found, isMet };
  });
}

/** "MISSED  name: 0.71 (0.7 … 0.73) times, target >= 0.85" */
export function verdictText({ target, found, isMet }: Verdict): string {
  const { name, bound, isUpperBound, unit } = target;
  const label = isMet ? "met   " : "MISSED";
  const figure = found === undefined ? "not measured" : `${spreadText(found)} ${unit}`;
  return `${label}  ${name}: ${figure}, target ${isUpperBound ? "<=" : ">="} ${figureText(bound)}`;
}
