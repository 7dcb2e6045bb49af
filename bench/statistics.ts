/** Combines the figures of several rounds into their median and spread. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** The number of rounds. */
  readonly rounds: number;
}

export type Figures = readonly (number | undefined | null)[];

/** Undefined if there is no figure at all. Rounds without a figure are left out. */
export function spreadOf(figures: Figures): Spread | undefined {
  const found = figures.filter((figure): figure is number => typeof figure === "number");
  if (found.length === 0) return undefined;
  const sorted = found.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2;
  return { median, min: sorted[0]!, max: sorted.at(-1)!, rounds: sorted.length };
}

/** 0.2: the rounds lie within a fifth of the median. */
export function relativeSpread({ median, min, max }: Spread): number {
  return median === 0 ? 0 : (max - min) / median;
}

/**
 * Round by round, since a machine that slows down in one round slows down both sides of it. Undefined where
 * either side has no figure.
 */
export function ratios(figures: Figures, references: Figures): (number | undefined)[] {
  return figures.map((figure, round) => {
    const reference = references[round];
    return typeof figure !== "number" || !reference ? undefined : figure / reference;
  });
}

/** Three digits that matter: 12.3, 0.0123, 12,300. */
export function figureText(figure: number): string {
  return figure.toLocaleString("en-US", { maximumSignificantDigits: 3 });
}

export function spreadText({ median, min, max, rounds }: Spread): string {
  const range = rounds === 1 ? "" : ` (${figureText(min)} … ${figureText(max)})`;
  return `${figureText(median)}${range}`;
}

/** Like spreadText(), with a dash for what was not measured. */
export function textOf(figures: Figures): string {
  const found = spreadOf(figures);
  return found === undefined ? "–" : spreadText(found);
}

export function medianText(figures: Figures): string {
  const found = spreadOf(figures);
  return found === undefined ? "–" : figureText(found.median);
}
