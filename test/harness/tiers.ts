/**
 * The two tiers of tests. `npm test` runs the quick one; `npm run test:all` runs the long one as well. A test is
 * long if its name or that of a group around it ends in [long], or if its file is named *.long.test.ts; every other
 * test is quick.
 */
import { test } from "bun:test";

export const LONG = "[long]";

type Body = () => void | Promise<void>;

export function longTest(name: string, body: Body, timeoutMs: number): void {
  test(`${name} ${LONG}`, body, timeoutMs);
}

/** The name of a group whose tests are all long. */
export function longGroup(name: string): string {
  return `${name} ${LONG}`;
}

export interface Budgets<B> {
  readonly quick: B;
  readonly full: B;
  /** The timeout of the full budget; the quick one has the default of all tests. */
  readonly timeoutMs: number;
}

/** One test with two budgets (kills, pairs, runs): the quick one in `npm test`, the full one in the long tier. */
export function budgetTest<B>(
  name: string | ((budget: B) => string),
  { quick, full, timeoutMs }: Budgets<B>,
  body: (budget: B) => void | Promise<void>,
): void {
  const nameOf = (budget: B) => (typeof name === "string" ? name : name(budget));
  test(nameOf(quick), () => body(quick));
  longTest(nameOf(full), () => body(full), timeoutMs);
}
