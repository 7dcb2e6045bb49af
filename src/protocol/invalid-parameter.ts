/** A parameter, member or header that is well-formed, but not what it has to be. */
import type { StreamSelection } from "../domain/hour-range.ts";
import type { StreamSet } from "../domain/stream-set.ts";

export class InvalidParameterError extends Error {
  override readonly name = "InvalidParameterError";
  readonly field: string;
  /** Null if it is missing. */
  readonly got: string | null;
  readonly expected: string;
  constructor(field: string, got: string | null, expected: string) {
    super(`${field}: ${got === null ? "is missing" : `got ${JSON.stringify(got)}`}, expected ${expected}`);
    this.field = field;
    this.got = got;
    this.expected = expected;
  }
}

/** A new stream would exceed MAX_STREAMS. */
export class TooManyStreamsError extends InvalidParameterError {
  constructor(stream: string) {
    super("stream", stream, "one that has events already, as there are MAX_STREAMS of them");
  }
}

/** The caller may not use this stream. */
export class StreamNotAllowedError extends InvalidParameterError {
  constructor(field: string, stream: string, allowed: StreamSet) {
    super(field, stream, allowed.patterns.join(" or ") || "none, as BROWSER_STREAMS is not set");
  }
}

/** `allowed`: undefined for all. Throws StreamNotAllowedError. */
export function checkStream(stream: string, allowed: StreamSet | undefined): void {
  if (allowed !== undefined && !allowed.has(stream)) throw new StreamNotAllowedError("stream", stream, allowed);
}

/** The same for every stream of a selection. `got`: the parameter's text. */
export function checkSelection(
  field: string,
  got: string,
  selection: StreamSelection,
  allowed: StreamSet | undefined,
): void {
  if (allowed === undefined || allowed.hasAllOf(selection)) return;
  throw new StreamNotAllowedError(field, got, allowed);
}
