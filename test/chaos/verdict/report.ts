/** A suite's result: figures for the reader, and a list of faults, which is empty if all is well. */
export interface Report {
  readonly name: string;
  readonly seed: number;
  /** In display order. */
  readonly figures: Readonly<Record<string, string | number>>;
  readonly problems: readonly string[];
  /** Helps to find the cause of a problem: the faults with their targets and times, and the logs. */
  readonly evidence?: readonly string[];
  /** Set if the suite could not run here at all: then nothing was shown. */
  readonly skipped?: string;
}

export type Say = (line: string) => void;

/** Only the start of a long list helps, and the rest hides it. */
const PROBLEMS_MAX = 30;

export function reportText({ name, seed, figures, problems, evidence = [], skipped }: Report): string {
  const width = Math.max(0, ...Object.keys(figures).map((key) => key.length));
  const lines = Object.entries(figures).map(([key, value]) => `  ${key.padEnd(width)}  ${value}`);
  const shown = problems.slice(0, PROBLEMS_MAX).map((problem) => `  PROBLEM  ${problem}`);
  if (problems.length > PROBLEMS_MAX) shown.push(`  … and ${problems.length - PROBLEMS_MAX} more`);
  const seen = problems.length === 0 ? [] : evidence;
  return [`${name}, seed ${seed}: ${verdictOf(problems, skipped)}`, ...lines, ...shown, ...seen].join("\n");
}

function verdictOf(problems: readonly string[], skipped: string | undefined): string {
  if (skipped !== undefined) return `SKIPPED, NOTHING WAS SHOWN: ${skipped}`;
  return problems.length === 0 ? "all held" : `${problems.length} PROBLEMS`;
}

/** 0: every guarantee held; 1: there are problems; 2: the suite could not run here. */
export function exitCodeOf({ problems, skipped }: Report): 0 | 1 | 2 {
  if (skipped !== undefined) return 2;
  return problems.length === 0 ? 0 : 1;
}

export function secondsSince(startMs: number): number {
  return Math.round((performance.now() - startMs) / 100) / 10;
}

/** Descending: "12 a, 3 b". */
export function tallyText(tally: ReadonlyMap<string, number>): string {
  const sorted = [...tally].sort(([, a], [, b]) => b - a);
  return sorted.map(([what, count]) => `${count} ${what}`).join(", ") || "none";
}

export function addTo(tally: Map<string, number>, what: string, count = 1): void {
  tally.set(what, (tally.get(what) ?? 0) + count);
}
