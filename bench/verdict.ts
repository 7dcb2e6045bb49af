/** The verdict on a whole run. */
import { judge, type Verdict } from "./criteria.ts";
import { type NoiseFigure, noiseOf } from "./noise.ts";
import { failures, type Results } from "./results.ts";

export interface Judgement {
  /** "noisy": nothing is judged, since the machine was not quiet. */
  readonly outcome: "passed" | "failed" | "noisy";
  /** One sentence. */
  readonly text: string;
  readonly noise: readonly NoiseFigure[];
  readonly gate: readonly Verdict[];
  readonly aims: readonly Verdict[];
}

export function judgementOf(results: Results): Judgement {
  const noise = noiseOf(results);
  const verdicts = judge(results);
  const gate = verdicts.filter(({ isMet }) => isMet !== undefined);
  const aims = verdicts.filter(({ criterion }) => criterion.bounds.aim !== undefined);
  return { ...outcomeOf(results, noise, gate), noise, gate, aims };
}

function outcomeOf(
  results: Results,
  noise: readonly NoiseFigure[],
  gate: readonly Verdict[],
): Pick<Judgement, "outcome" | "text"> {
  const failed = failures(results);
  if (failed.length > 0) return { outcome: "failed", text: `FAILED: ${failed.length} measurements failed` };
  const noisy = noise.filter(({ isTooNoisy }) => isTooNoisy).map(({ name, text }) => `${name}: ${text}`);
  if (noisy.length > 0) {
    return { outcome: "noisy", text: `NOT JUDGED: the machine was not quiet (${noisy.join("; ")})` };
  }
  const missed = gate.filter(({ isMet }) => !isMet).length;
  if (missed > 0) return { outcome: "failed", text: `FAILED: ${missed} of ${gate.length} bounds are missed` };
  return { outcome: "passed", text: `PASSED: all ${gate.length} bounds are met` };
}
