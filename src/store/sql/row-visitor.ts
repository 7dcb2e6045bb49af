/** Wraps a visitor of rows, so that its errors can be told from the store's. */
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

/** Makes a visitor for each server that is tried, but refuses to once a server has delivered rows. */
export function rowVisitors<T extends unknown[]>(visit: (...row: T) => void): () => (...row: T) => void {
  const visitor = rowVisitor(visit);
  let hasSeen = false;
  return () => {
    if (hasSeen) throw new ReadInterruptedError("the server failed after it had sent rows");
    return (...row) => {
      hasSeen = true;
      visitor(...row);
    };
  };
}
