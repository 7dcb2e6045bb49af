/**
 * Thrown where continuing could lose or double-count an event. It ends the process: acknowledged events are in the
 * journal, and its adopter continues from the stores.
 */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Ends the process. If it returns, its caller does no more work. */
export type InvariantHandler = (error: InvariantError) => void;

/** Throws InvariantError. Check once per batch or flush, never per event. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(`broken invariant: ${message}`);
}
