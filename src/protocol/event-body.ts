/**
 * Reads the text of a body into events, and says of each that is none why.
 *
 * Invariants: every line, or element, is either an event here or counted as invalid. And however large the
 * body is, the event loop is never kept for long: others have events too.
 */

import type { Event } from "../domain/event.ts";
import type { StreamSet } from "../domain/stream-set.ts";
import { letOthersRun } from "../runtime/yield.ts";
import { elementsOf, linesOf, type Pieces, wholeOf } from "./body-pieces.ts";
import { eventOf, MalformedEventError, whatIsWrongWith } from "./event-object.ts";
import { type InvalidParameterError, StreamNotAllowedError, TooManyStreamsError } from "./event-query.ts";
import { RefusedBodyError } from "./refused-body.ts";

/** "object": the whole of it is one event. */
export type BodyFormat = "ndjson" | "array" | "object";

export interface InvalidEvent {
  /** Of the line, blank ones counted, or of the element: from 0. */
  readonly index: number;
  readonly text: string;
  readonly error: InvalidParameterError | MalformedEventError;
}

export interface EventBatch {
  readonly events: readonly Event[];
  /** Of each event, as in InvalidEvent. */
  readonly indexes: readonly number[];
  readonly invalidCount: number;
  /** Of them: whose only fault is a stream that the key is not for. */
  readonly notAllowedCount: number;
  /** The first of them. */
  readonly invalid: readonly InvalidEvent[];
}

export const EVENTS_MAX = 10_000;
export const INVALID_MAX_LISTED = 100;
/** An event whose every character is escaped has some 4,000. */
const EVENT_MAX_CHARS = 16_384;
/** Others wait no longer than that while a body is read. */
const SLICE_MS = 1;
/** Between two looks at the clock. */
const PIECES_PER_LOOK = 64;

export interface ReadingOptions {
  readonly format: BodyFormat;
  readonly now: number;
  /** Events of before are not kept. */
  readonly earliest: number;
  /** False for a stream that would be one too many. */
  readonly admits: (stream: string) => boolean;
  /** Undefined: all streams. */
  readonly allowed?: StreamSet | undefined;
  /** How many invalid ones are told apart; more are counted alone. */
  readonly invalidMaxListed: number;
}

/** Throws RefusedBodyError if the body can't be taken apart, or has too many events. */
export async function readEvents(text: string, options: ReadingOptions): Promise<EventBatch> {
  const reading = new Reading(text, options);
  const { count } = reading.pieces;
  let sliceEndMs = performance.now() + SLICE_MS;
  for (let i = 0; i < count; i++) {
    reading.take(i);
    if (i % PIECES_PER_LOOK !== 0 || performance.now() < sliceEndMs) continue;
    await letOthersRun();
    sliceEndMs = performance.now() + SLICE_MS;
  }
  return reading;
}

class Reading implements EventBatch {
  readonly pieces: Pieces;
  readonly events: Event[] = [];
  readonly indexes: number[] = [];
  readonly invalid: InvalidEvent[] = [];
  invalidCount = 0;
  notAllowedCount = 0;
  readonly #text: string;
  readonly #format: BodyFormat;
  readonly #now: number;
  readonly #earliest: number;
  readonly #admits: (stream: string) => boolean;
  readonly #allowed: StreamSet | undefined;
  readonly #invalidMaxListed: number;

  constructor(text: string, options: ReadingOptions) {
    const { format, now, earliest, admits, allowed, invalidMaxListed } = options;
    this.#text = text;
    this.#format = format;
    this.#now = now;
    this.#earliest = earliest;
    this.#admits = admits;
    this.#allowed = allowed;
    this.#invalidMaxListed = invalidMaxListed;
    const pieces = piecesOf(text, format);
    if (typeof pieces === "string") throw malformedBody(pieces);
    if (pieces.count > EVENTS_MAX) {
      const message = `the body has more than ${EVENTS_MAX} events: nothing was counted, send it in parts`;
      throw new RefusedBodyError(413, { code: "too_many_events", message });
    }
    this.pieces = pieces;
  }

  take(i: number): void {
    const { starts, ends, quoteCounts, indexes } = this.pieces;
    const start = starts[i]!;
    const end = ends[i]!;
    const index = indexes[i]!;
    const isLong = end - start > EVENT_MAX_CHARS;
    const text = this.#text.slice(start, end);
    const value = isLong ? undefined : this.#parse(text, index);
    const event = eventOf(value, quoteCounts[i]!, this.#now, this.#earliest);
    if (event === undefined) {
      this.#refuse(index, text, () => this.#faultOf(value, text, isLong));
      return;
    }
    const allowed = this.#allowed;
    if (allowed !== undefined && !allowed.has(event.stream)) {
      this.notAllowedCount += 1;
      this.#refuse(index, text, () => new StreamNotAllowedError("stream", event.stream, allowed));
      return;
    }
    if (!this.#admits(event.stream)) {
      this.#refuse(index, text, () => new TooManyStreamsError(event.stream));
      return;
    }
    this.events.push(event);
    this.indexes.push(index);
  }

  /** Undefined if it is no JSON. */
  #parse(text: string, index: number): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      if (this.#format !== "array") return undefined;
      throw malformedBody(`its element ${index} is not: ${(error as Error).message}`);
    }
  }

  #refuse(index: number, text: string, faultOf: () => InvalidEvent["error"]): void {
    this.invalidCount += 1;
    if (this.invalid.length < this.#invalidMaxListed) this.invalid.push({ index, text, error: faultOf() });
  }

  #faultOf(value: unknown, text: string, isLong: boolean): InvalidEvent["error"] {
    const expected = isLong ? `a JSON object of at most ${EVENT_MAX_CHARS} characters` : "a JSON object";
    return value === undefined
      ? new MalformedEventError(undefined, text, expected)
      : whatIsWrongWith(value, text, this.#now, this.#earliest);
  }
}

function piecesOf(text: string, format: BodyFormat): Pieces | string {
  if (format === "object") return wholeOf(text);
  return format === "ndjson" ? linesOf(text, EVENTS_MAX) : elementsOf(text, EVENTS_MAX);
}

function malformedBody(found: string): RefusedBodyError {
  const message = `the body is no JSON array: ${found}: nothing was counted`;
  return new RefusedBodyError(400, { code: "malformed_body", message });
}
