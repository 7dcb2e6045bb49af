/**
 * Thrown where continuing could lose or double-count an event. It ends the process: acknowledged events are in the
 * journal, and its adopter continues from the stores. Check once per batch or flush, never per event.
 */
export class InvariantError extends Error {
  override readonly name = "InvariantError";

  constructor(found: string) {
    super(`broken invariant: ${found}`);
  }
}

/** Ends the process. If it returns, its caller does no more work. */
export type InvariantHandler = (error: InvariantError) => void;
