/**
 * The criteria that judge a run. A criterion has a bound that a 2-core machine meets and a regression does not (the
 * gate), a target (the aim), or both. Missing an aim fails nothing.
 *
 * Invariant: a criterion of the gate that was not measured is not met.
 */
import { ALWAYS, APPROACH_4, BARE, CLUSTERED, EMBEDDED, MANY_ROWS, TWO_WORKERS } from "./candidates.ts";
import { percentileMs } from "./load/percentiles.ts";
import type { RequestClass } from "./load/workload.ts";
import { at, byRound, type Figure, type Latencies, type Results, sumOf, type TrialResult } from "./results.ts";
import { type Figures, ratios, type Spread, spreadOf } from "./statistics.ts";

export interface Criterion {
  readonly name: string;
  /** Names what the bounds are upper or lower bounds of. */
  readonly unit: "ms" | "s" | "times" | "events" | "events/s";
  readonly isUpperBound: boolean;
  readonly bounds: Bounds;
  figures(results: Results): Figures;
}

interface Bounds {
  readonly gate?: number;
  readonly aim?: number;
}

export interface Verdict {
  readonly criterion: Criterion;
  /** Undefined if it was not measured. */
  readonly found: Spread | undefined;
  /** Whether it is met; undefined if the gate does not include it. */
  readonly isMet: boolean | undefined;
  /** How far from the aim, relative to it: 0 if it is reached. */
  readonly gap: number | undefined;
}

const POSTS = ["POST current", "POST older"] as const;
const READS = ["GET current", "GET older"] as const;

interface ModeBounds {
  readonly name: string;
  readonly title: string;
  readonly p95Ms: Bounds;
  readonly p99Ms: Bounds;
  readonly cpuAt5000: Bounds;
  readonly cpuAt15000: Bounds;
  readonly maximum: Bounds;
  readonly reads: Bounds;
  readonly batches: Bounds;
}

/** The gates leave room for a machine that is half as fast on some days; the aims are those of a quiet one. */
const LATENCY = { p95Ms: { gate: 12, aim: 2.5 }, p99Ms: { gate: 20, aim: 5 } };

const MODES: readonly ModeBounds[] = [
  {
    ...{ name: EMBEDDED, title: "embedded", ...LATENCY },
    ...{ cpuAt5000: { gate: 3.5, aim: 1.3 }, cpuAt15000: { gate: 2.5, aim: 1 } },
    ...{ maximum: { gate: 0.33, aim: 0.65 }, reads: { gate: 0.5, aim: 0.7 }, batches: { aim: 1_000_000 } },
  },
  {
    ...{ name: CLUSTERED, title: "Redis + MySQL", ...LATENCY },
    ...{ cpuAt5000: { gate: 4.5, aim: 1.8 }, cpuAt15000: { gate: 2.75, aim: 1.2 } },
    ...{ maximum: { gate: 0.25, aim: 0.55 }, reads: { gate: 0.2, aim: 0.7 }, batches: { aim: 700_000 } },
  },
];

export const CRITERIA: readonly Criterion[] = [
  ...MODES.flatMap(ofMode),
  atLeast("POST events/s with 100 times the users, to those with few", { gate: 0.55, aim: 0.9 }, "times", (results) =>
    byRound(results, CLUSTERED, ({ growth, maximum }) => growth && growth.users / maximum.perS),
  ),
  atLeast("POST events/s with 1,000 streams, to those with one", { gate: 0.3, aim: 0.8 }, "times", (results) =>
    byRound(results, CLUSTERED, ({ growth, maximum }) => growth && growth.streams / maximum.perS),
  ),
  atLeast("POST events/s with many rows stored before, to those with none", { aim: 0.9 }, "times", (results) =>
    against(results, MANY_ROWS, CLUSTERED, ({ maximum }) => maximum.perS),
  ),
  atLeast("POST events/s with appendfsync always, to everysec", { aim: 0.75 }, "times", (results) =>
    against(results, ALWAYS, CLUSTERED, ({ maximum }) => maximum.perS),
  ),
  atMost("server CPU per event with 2 workers, to 1", { aim: 1.15 }, "times", (results) =>
    against(results, TWO_WORKERS, CLUSTERED, ({ maximum }) => maximum.cpuUsPerEvent.server),
  ),
  atLeast("rows/s of batches until all are stored, to bulk insert alone", { gate: 0.3, aim: 0.8 }, "times", (results) =>
    byRound(results, CLUSTERED, ({ batches }) => batches?.bulkRowsPerS && batches.storedPerS / batches.bulkRowsPerS),
  ),
];

function ofMode({
  name,
  title,
  p95Ms,
  p99Ms,
  cpuAt5000,
  cpuAt15000,
  maximum,
  reads: readBounds,
  batches,
}: ModeBounds): Criterion[] {
  const of = (figure: Figure) => (results: Results) => byRound(results, name, figure);
  const postMs = (ratePerS: number, percent: 50 | 95 | 99) =>
    of((trial) => worstMs(at(ratePerS, trial)?.latencies, POSTS, percent));
  const rates = [2_000, 5_000, 10_000].map((ratePerS) => [ratePerS, `${ratePerS.toLocaleString("en-US")}/s`] as const);
  return [
    atMost(`p50 of POST at 500/s, ${title}`, { gate: 2, aim: 0.5 }, "ms", postMs(500, 50)),
    ...rates.flatMap(([ratePerS, text]) => [
      atMost(`p95 of POST at ${text}, ${title}`, p95Ms, "ms", postMs(ratePerS, 95)),
      atMost(`p99 of POST at ${text}, ${title}`, p99Ms, "ms", postMs(ratePerS, 99)),
    ]),
    atMost(
      `p99 of GET beside as many POSTs, ${title}`,
      { gate: 30, aim: 5 },
      "ms",
      of(({ reads }) => worstMs(reads?.latencies, READS, 99)),
    ),
    ...(
      [
        [5_000, cpuAt5000],
        [15_000, cpuAt15000],
      ] as const
    ).flatMap(([ratePerS, bounds]) => [
      atMost(
        `CPU per event at ${ratePerS.toLocaleString("en-US")}/s to a bare server, ${title}`,
        bounds,
        "times",
        (results) => against(results, name, BARE, cpuAt(ratePerS)),
      ),
      atMost(
        `CPU per event at ${ratePerS.toLocaleString("en-US")}/s to approach 4, ${title}`,
        { aim: 1 },
        "times",
        (results) => against(results, name, APPROACH_4, cpuAt(ratePerS)),
      ),
    ]),
    atLeast(`maximum POST events/s to a bare server, ${title}`, maximum, "times", (results) =>
      against(results, name, BARE, (trial) => trial.maximum.perS),
    ),
    atLeast(`maximum GET/s to a bare server, ${title}`, readBounds, "times", (results) =>
      against(results, name, BARE, ({ reads }) => reads?.maximumPerS),
    ),
    atMost(
      `events behind the flush at 10,000/s, ${title}`,
      { gate: 2 },
      "s",
      of((trial) => at(10_000, trial)?.flush?.lagS),
    ),
    atMost(
      `events behind the flush at the maximum, ${title}`,
      { gate: 2 },
      "s",
      of((trial) => trial.maximum.flush?.lagS),
    ),
    atLeast(
      `events/s in batches of 10,000, ${title}`,
      batches,
      "events/s",
      of((trial) => trial.batches?.acceptedPerS),
    ),
    atLeast(
      `events/s in batches, to one in a request, ${title}`,
      { gate: 4 },
      "times",
      of((trial) => trial.batches && trial.batches.acceptedPerS / trial.maximum.perS),
    ),
    atMost(`events lost by kill -9, ${title}`, { gate: 0 }, "events", (results) =>
      worstOf(byRound(results, name, ({ kill }) => kill?.lost)),
    ),
    atMost(
      `from a start after kill -9 to ready, ${title}`,
      { gate: 5_000, aim: 500 },
      "ms",
      of(({ kill }) => kill?.restartMs),
    ),
  ];
}

function atLeast(name: string, bounds: Bounds, unit: Criterion["unit"], figures: Criterion["figures"]): Criterion {
  return { name, bounds, unit, isUpperBound: false, figures };
}

function atMost(name: string, bounds: Bounds, unit: Criterion["unit"], figures: Criterion["figures"]): Criterion {
  return { name, bounds, unit, isUpperBound: true, figures };
}

function against(results: Results, name: string, reference: string, figure: Figure): Figures {
  return ratios(byRound(results, name, figure), byRound(results, reference, figure));
}

export function cpuAt(ratePerS: number): Figure {
  return (trial: TrialResult) => {
    const cpu = at(ratePerS, trial)?.cpuUsPerEvent;
    return cpu && sumOf(cpu);
  };
}

/** Undefined if one of the classes has none. */
export function worstMs(
  latencies: Latencies | undefined,
  classes: readonly RequestClass[],
  percent: 50 | 95 | 99,
): number | undefined {
  const found = classes.map((one) => percentileMs(latencies?.[one], percent));
  return found.some((ms) => ms === undefined) ? undefined : Math.max(...found.map(Number));
}

/** One lost event in any round is one too many. */
function worstOf(figures: Figures): Figures {
  const found = figures.filter((figure) => typeof figure === "number");
  return found.length === 0 ? [] : [Math.max(...found)];
}

export function judge(results: Results): Verdict[] {
  return CRITERIA.map((criterion) => {
    const { bounds, isUpperBound, figures } = criterion;
    const found = spreadOf(figures(results));
    const meets = (bound: number) =>
      found !== undefined && (isUpperBound ? found.median <= bound : found.median >= bound);
    const isMet = bounds.gate === undefined ? undefined : meets(bounds.gate);
    const { aim } = bounds;
    const gap =
      aim === undefined || found === undefined ? undefined : meets(aim) ? 0 : Math.abs(found.median / aim - 1);
    return { criterion, found, isMet, gap };
  });
}
