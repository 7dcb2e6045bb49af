/**
 * How much of a run is due to the machine itself, judged by a server that does nothing. A run with too much noise is
 * not judged.
 */
import { BARE } from "./candidates.ts";
import { cpuAt, worstMs } from "./criteria.ts";
import { at, byRound, type Results } from "./results.ts";
import { relativeSpread, spreadOf, spreadText } from "./statistics.ts";

export interface NoiseFigure {
  readonly name: string;
  readonly text: string;
  readonly bound: string;
  readonly isTooNoisy: boolean;
}

/** Above it something else ran before, and probably goes on. */
const BUSY_SHARE_MAX = 0.1;
/** As a share of the median. A larger spread means that the rounds did not have the same machine. */
const SPREAD_MAX = 0.4;
const RATE_PER_S = 10_000;
/** On a quiet machine with two cores it was 0.3 to 1.2. */
const BARE_P99_MAX_MS = 1.5;

export function noiseOf(results: Results): NoiseFigure[] {
  const { busyShare } = results.machine;
  const p99 = spreadOf(
    byRound(results, BARE, (trial) => worstMs(at(RATE_PER_S, trial)?.latencies, ["POST current"], 99)),
  );
  return [
    {
      name: "the cores, before anything was started",
      text: `${percent(busyShare)} busy`,
      bound: `≤ ${percent(BUSY_SHARE_MAX)}`,
      isTooNoisy: busyShare > BUSY_SHARE_MAX,
    },
    {
      name: "a bare server's p99 at 10,000/s",
      text: p99 === undefined ? "–" : `${spreadText(p99)} ms`,
      bound: `≤ ${BARE_P99_MAX_MS}`,
      isTooNoisy: p99 === undefined || p99.median > BARE_P99_MAX_MS,
    },
    spread(results, "a bare server's maximum", ({ maximum }) => maximum.perS),
    spread(results, "a bare server's CPU per event at 5,000/s", cpuAt(5_000)),
  ];
}

function spread(results: Results, name: string, figure: Parameters<typeof byRound>[2]): NoiseFigure {
  const found = spreadOf(byRound(results, BARE, figure));
  const bound = `≤ ${percent(SPREAD_MAX)}`;
  if (found === undefined) return { name, text: "–", bound, isTooNoisy: true };
  const share = relativeSpread(found);
  return { name, text: `rounds differ by ${percent(share)}`, bound, isTooNoisy: share > SPREAD_MAX };
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
