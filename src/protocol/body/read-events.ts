/**
 * Reads a body's text into events, and explains why each other piece is not one.
 *
 * Invariants: each line or element becomes an event or is counted as invalid. Whatever the body's size, the event loop
 * is blocked for about SLICE_MS at a time.
 */
import type { Event } from "../../domain/event.ts";
import type { StreamSet } from "../../domain/stream-rules.ts";
import { WorkSlices } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import {
  eventOf,
  eventWithOthers,
  MalformedEventError,
  plainEvent,
  type TimeRules,
  whatIsWrongWith,
} from "../event/from-object.ts";
import { type InputError, StreamNotAllowedError, TooManyStreamsError } from "../input-error.ts";
import { EVENTS_MAX, LINES_MAX } from "./limits.ts";
import { ElementScan, LineScan, type Pieces, quoteCountOf, type Scan, WholeScan } from "./pieces.ts";
import { RefusedBodyError } from "./refused-body.ts";

/** "object": the whole body is one event. */
export type BodyFormat = "ndjson" | "array" | "object";

interface InvalidEvent {
  /** Line number (counting blank lines) or element number, from 0. */
  readonly index: number;
  readonly text: string;
  readonly error: InputError;
}

export interface EventBatch {
  readonly events: readonly Event[];
  /** The index of each event, as in InvalidEvent. */
  readonly indexes: readonly number[];
  readonly invalidCount: number;
  /** Invalid only because the caller may not use their stream. */
  readonly notAllowedCount: number;
  /** The first `invalidMaxListed` of them. */
  readonly invalid: readonly InvalidEvent[];
}

/** An event with every character escaped has about 4,000. */
const EVENT_MAX_CHARS = 16_384;
const SLICE_MS = 1;
/** Characters scanned between two checks of the clock: about 0.05 ms. */
const CHARS_PER_LOOK = 16_384;
/** Events read between two checks of the clock: about 0.1 ms. */
const EVENTS_PER_LOOK = 64;

export interface ReadingOptions extends TimeRules {
  readonly format: BodyFormat;
  /** Ignores unknown members, instead of refusing the event. */
  readonly ignoresUnknown?: boolean;
  /** False for a new stream that would exceed MAX_STREAMS. */
  readonly admits: (stream: string) => boolean;
  /** Undefined: all streams. */
  readonly allowed?: StreamSet | undefined;
  /** Further invalid events are only counted. */
  readonly invalidMaxListed: number;
}

/** Throws RefusedBodyError if the body can't be split into events, or has too many. */
export async function readEvents(text: string, options: ReadingOptions): Promise<EventBatch> {
  const slices = new WorkSlices(SLICE_MS);
  const scan = scanOf(text, options.format);
  while (scan.advance(CHARS_PER_LOOK)) if (slices.isOver) await slices.next();
  checkScan(scan);
  const { pieces } = scan;
  const reading = new Reading(text, pieces, options);
  let lookAt = 0;
  for (let i = 0; i < pieces.count; i++) {
    reading.take(i);
    const isTimeToLook = i % EVENTS_PER_LOOK === 0 || pieces.ends[i]! > lookAt;
    if (!isTimeToLook) continue;
    lookAt = pieces.ends[i]! + CHARS_PER_LOOK;
    if (slices.isOver) await slices.next();
  }
  return reading;
}

/** Like readEvents(), but never yields: for short texts. */
export function readEventsAtOnce(text: string, options: ReadingOptions): EventBatch {
  const scan = scanOf(text, options.format);
  while (scan.advance(text.length));
  checkScan(scan);
  const reading = new Reading(text, scan.pieces, options);
  for (let i = 0; i < scan.pieces.count; i++) reading.take(i);
  return reading;
}

function scanOf(text: string, format: BodyFormat): Scan {
  if (format === "object") return new WholeScan(text);
  return format === "ndjson" ? new LineScan(text, EVENTS_MAX, LINES_MAX) : new ElementScan(text, EVENTS_MAX);
}

function checkScan(scan: Scan): void {
  if (scan.fault !== undefined) throw malformedBody(scan.fault);
  if (scan.pieces.count > EVENTS_MAX) throw tooManyEvents();
  if (scan instanceof LineScan && scan.lineCount > LINES_MAX) {
    throw tooMany("too_many_lines", `${LINES_MAX} lines, blank ones included`);
  }
}

class Reading implements EventBatch {
  readonly events: Event[] = [];
  readonly indexes: number[] = [];
  readonly invalid: InvalidEvent[] = [];
  invalidCount = 0;
  notAllowedCount = 0;
  readonly #text: string;
  readonly #pieces: Pieces;
  readonly #options: ReadingOptions;

  constructor(text: string, pieces: Pieces, options: ReadingOptions) {
    this.#text = text;
    this.#pieces = pieces;
    this.#options = options;
  }

  take(i: number): void {
    const { starts, ends } = this.#pieces;
    const start = starts[i]!;
    const end = ends[i]!;
    const isLong = end - start > EVENT_MAX_CHARS;
    const plain = isLong ? undefined : plainEvent(this.#text, start, end, this.#options);
    if (plain === undefined) this.#takeOther(i, isLong);
    else this.#admit(plain, i);
  }

  #takeOther(i: number, isLong: boolean): void {
    const text = this.#textOf(i);
    const value = isLong ? undefined : this.#parse(text, this.#pieces.indexes[i]!);
    let event = value === undefined ? undefined : eventOf(value, quoteCountOf(text), this.#options);
    if (event === undefined && this.#options.ignoresUnknown) event = eventWithOthers(value, text, this.#options);
    if (event === undefined) this.#refuse(i, () => this.#faultOf(value, text, isLong));
    else this.#admit(event, i);
  }

  #admit(event: Event, i: number): void {
    const { stream } = event;
    const { allowed, admits } = this.#options;
    if (allowed !== undefined && !allowed.has(stream)) {
      this.notAllowedCount += 1;
      this.#refuse(i, () => new StreamNotAllowedError("stream", stream, allowed));
    } else if (!admits(stream)) {
      this.#refuse(i, () => new TooManyStreamsError(stream));
    } else {
      this.events.push(event);
      this.indexes.push(this.#pieces.indexes[i]!);
    }
  }

  #textOf(i: number): string {
    return this.#text.slice(this.#pieces.starts[i], this.#pieces.ends[i]);
  }

  /** Undefined if it is not JSON. */
  #parse(text: string, index: number): unknown {
    try {
      return JSON.parse(text);
    } catch (error) {
      if (this.#options.format !== "array") return undefined;
      throw malformedBody(`element ${index} ${faultOfElement(text, error)}`);
    }
  }

  #refuse(i: number, faultOf: () => InvalidEvent["error"]): void {
    this.invalidCount += 1;
    if (this.invalid.length >= this.#options.invalidMaxListed) return;
    this.invalid.push({ index: this.#pieces.indexes[i]!, text: this.#textOf(i), error: faultOf() });
  }

  #faultOf(value: unknown, text: string, isLong: boolean): InvalidEvent["error"] {
    const expected = isLong ? `a JSON object of at most ${EVENT_MAX_CHARS} characters` : "a JSON object";
    return value === undefined
      ? new MalformedEventError(undefined, text, expected)
      : whatIsWrongWith(value, text, this.#options, this.#options.ignoresUnknown);
  }
}

/** Words for the two mistakes that JSON.parse calls "Unexpected EOF" and "Unable to parse JSON string". */
function faultOfElement(text: string, error: unknown): string {
  if (text.trim() === "") return "is empty: there seems to be a comma too many";
  if (/\}\s*\{/.test(text)) return "is not one JSON value: a comma between } and { seems to be missing";
  return `is not JSON: ${errorText(error).replace(/^JSON Parse error: /, "")}`;
}

export function tooManyEvents(): RefusedBodyError {
  return tooMany("too_many_events", `${EVENTS_MAX} events`);
}

function tooMany(code: string, what: string): RefusedBodyError {
  const message = `The body has more than ${what}. Nothing was counted; split it.`;
  return new RefusedBodyError(413, { code, message });
}

function malformedBody(found: string): RefusedBodyError {
  const message = `The body must be a JSON array: ${found}. Nothing was counted.`;
  return new RefusedBodyError(400, { code: "malformed_body", message });
}
