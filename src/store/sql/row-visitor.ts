/** Wraps the visitor of a store's rows, so that its errors are distinguished from failures of the store. */
import { ReadInterruptedError } from "../cold.ts";

export class RowVisitorError extends Error {
  override readonly name = "RowVisitorError";
}

export function rowVisitor<T extends unknown[]>(visit: (...row: T) => void): (...row: T) => void {
  return (...row) => {
    try {
      visit(...row);
    } catch (error) {
      throw new RowVisitorError("the visitor of rows threw", { cause: error });
    }
  };
}

/** Makes a visitor for each server that is tried. Once one has shown rows, no other server may. */
export function rowVisitors<T extends unknown[]>(visit: (...row: T) => void): () => (...row: T) => void {
  const visitor = rowVisitor(visit);
  let hasSeen = false;
  return () => {
    if (hasSeen) throw new ReadInterruptedError("the server that was read from became unavailable");
    return (...row) => {
      hasSeen = true;
      visitor(...row);
    };
  };
}
