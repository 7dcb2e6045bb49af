/** Tells what a visitor of rows threw from what went wrong with the store that showed them. */
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
