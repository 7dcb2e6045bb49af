/** Why an input is refused: which part, what was found there, what is expected. */
import { type StreamSet, selectionOf } from "../domain/stream-rules.ts";

/** How much of a refused value is echoed: enough to recognize it. */
export const GOT_MAX_CHARS = 300;

export abstract class InputError extends Error {
  /** Undefined: the input as a whole. */
  readonly field: string | undefined;
  /** Null if it is missing. */
  readonly got: string | null;
  readonly expected: string;
  constructor(field: string | undefined, got: string | null, expected: string) {
    const found = got === null ? "is missing" : `got ${JSON.stringify(got.slice(0, GOT_MAX_CHARS))}`;
    super(`${field ?? "the event"}: ${found}, expected ${expected}`);
    this.field = field;
    this.got = got;
    this.expected = expected;
  }
}

export class InvalidParameterError extends InputError {
  override readonly name: string = "InvalidParameterError";
}

/** A new stream would exceed MAX_STREAMS. */
export class TooManyStreamsError extends InvalidParameterError {
  constructor(stream: string) {
    super("stream", stream, "an existing stream, as MAX_STREAMS is reached");
  }
}

/** The caller may not use this stream. */
export class StreamNotAllowedError extends InvalidParameterError {
  constructor(field: string, stream: string, allowed: StreamSet) {
    super(field, stream, allowed.patterns.join(" or ") || "no stream, as BROWSER_STREAMS is not set");
  }
}

/** `allowed`: undefined for all streams. Throws StreamNotAllowedError. */
export function checkStream(stream: string, allowed: StreamSet | undefined): void {
  if (allowed !== undefined && !allowed.has(stream)) throw new StreamNotAllowedError("stream", stream, allowed);
}

/** Like checkStream(), for every stream of a selection (`shop.*`). */
export function checkSelection(text: string, allowed: StreamSet | undefined): void {
  if (allowed?.hasAllOf(selectionOf(text)) === false) throw new StreamNotAllowedError("stream", text, allowed);
}
