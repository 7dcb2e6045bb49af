/** Who is shown the rows of a store. What it throws is told from what went wrong with the store that showed them. */
import { ReadInterruptedError } from "./cold.ts";

export class VisitorError extends Error {
  override readonly name = "VisitorError";
}

export function visitorOf<T extends unknown[]>(visit: (...row: T) => void): (...row: T) => void {
  return (...row) => {
    try {
      visit(...row);
    } catch (error) {
      throw new VisitorError("the visitor of rows threw", { cause: error });
    }
  };
}

/** Answers a visitor for each server that is tried: none is shown rows after those of another. */
export function visitorsOf<T extends unknown[]>(visit: (...row: T) => void): () => (...row: T) => void {
  const visitor = visitorOf(visit);
  let hasSeen = false;
  return () => {
    if (hasSeen) throw new ReadInterruptedError("the server that was read from has gone");
    return (...row) => {
      hasSeen = true;
      visitor(...row);
    };
  };
}
