/** How much of a run is the machine's own doing: what a server that does nothing shows. Too much is not judged. */
import { BARE } from "./candidates.ts";
import { cpuAt, worstMs } from "./criteria.ts";
import { at, byRound, type Results } from "./results.ts";
import { figureText, relativeSpread, spreadOf } from "./statistics.ts";

export interface NoiseFigure {
  readonly name: string;
  readonly text: string;
  readonly isTooNoisy: boolean;
}

/** Above it something else ran before, and probably goes on. */
const BUSY_SHARE_MAX = 0.1;
/** The maximum and the CPU time of a bare server differ so much between rounds on a machine of one's own. */
const SPREAD_MAX = 0.4;
const RATE_PER_S = 10_000;
/** In a quiet round it is 0.3 to 0.7. */
const BARE_P99_MAX_MS = 1;

export function noiseOf(results: Results): NoiseFigure[] {
  const { busyShare } = results.machine;
  const p99 = spreadOf(
    byRound(results, BARE, (trial) => worstMs(at(RATE_PER_S, trial)?.latencies, ["POST current"], 99)),
  );
  return [
    {
      name: "the cores, before anything was started",
      text: `${Math.round(busyShare * 100)} % busy (at most ${BUSY_SHARE_MAX * 100} %)`,
      isTooNoisy: busyShare > BUSY_SHARE_MAX,
    },
    {
      name: "a bare server's p99 at 10,000/s",
      text: p99 === undefined ? "–" : `${figureText(p99.min)} … ${figureText(p99.max)} ms (median at most 1)`,
      isTooNoisy: p99 === undefined || p99.median > BARE_P99_MAX_MS,
    },
    spread(results, "a bare server's maximum", ({ maximum }) => maximum.perS),
    spread(results, "a bare server's CPU per event at 5,000/s", cpuAt(5_000)),
  ];
}

function spread(results: Results, name: string, figure: Parameters<typeof byRound>[2]): NoiseFigure {
  const found = spreadOf(byRound(results, BARE, figure));
  if (found === undefined) return { name, text: "–", isTooNoisy: true };
  const share = relativeSpread(found);
  const text = `rounds differ by ${Math.round(share * 100)} % (at most ${SPREAD_MAX * 100} %)`;
  return { name, text, isTooNoisy: share > SPREAD_MAX };
}
