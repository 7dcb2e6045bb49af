/**
 * Which test files run in which tier, and in which order.
 *
 * The test itself states its tier: a file named *.long.test.ts is long, and so is a test if its name or that of a group
 * around it ends in [long], which `longTest`, `budgetTest` and `longGroup` add (test/harness/tiers.ts). Files named
 * *.alone.test.ts judge durations, so they run one by one, after all others. Files named *.background.test.ts only
 * compute, and run at low priority.
 */
import type { Place } from "./lanes.ts";

export type Tier = "quick" | "long" | "all";

export interface TestFile {
  readonly path: string;
  readonly place: Place;
  /** The pattern of test names in this tier; undefined: all tests run. */
  readonly namePattern: string | undefined;
  /** Other servers than those that are installed (engines.ts). */
  readonly engine?: { readonly name: string; readonly environment: Readonly<Record<string, string>> };
}

/** Path to seconds, as recorded by an earlier run. */
export type Timings = Readonly<Record<string, number>>;

const LONG_FILE = /\.long\.test\.ts$/;
const PLACED_FILE = /\.(alone|background)\.test\.ts$/;
/** Tests of this very plan hold such calls in strings within lists. */
const HAS_LONG_TESTS = /^\s*((longTest|budgetTest)\(|[^\s[].*\blongGroup\()/m;

const QUICK_PATTERN = "^(?!.*\\[long\\])";
const LONG_PATTERN = "\\[long\\]";

/** `sources`: path to text of all test files. The slowest come first, and before them those not known yet. */
export function planTests(sources: ReadonlyMap<string, string>, tier: Tier, timings: Timings): TestFile[] {
  const files = Array.from(sources, ([path, source]) => planFile(path, source, tier));
  const seconds = ({ path }: TestFile) => timings[path] ?? Number.POSITIVE_INFINITY;
  return files.filter((file) => file !== undefined).sort((a, b) => compare(seconds(b), seconds(a)));
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a - b;
}

function planFile(path: string, source: string, tier: Tier): TestFile | undefined {
  const place = (PLACED_FILE.exec(path)?.[1] ?? "lanes") as Place;
  if (LONG_FILE.test(path)) return tier === "quick" ? undefined : { path, place, namePattern: undefined };
  const hasLongTests = HAS_LONG_TESTS.test(source);
  if (tier === "long") return hasLongTests ? { path, place, namePattern: LONG_PATTERN } : undefined;
  const namePattern = tier === "quick" && hasLongTests ? QUICK_PATTERN : undefined;
  return { path, place, namePattern };
}
