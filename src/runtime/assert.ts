/**
 * A state in which going on would lose or double an event. It ends the process; the journal holds what was
 * acknowledged, and its adopter continues from the stores.
 */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Ends the process. Should it return, what called it does no more work. */
export type InvariantHandler = (error: InvariantError) => void;

/** Throws InvariantError. For each batch or flush, never for each event. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(`broken invariant: ${message}`);
}
