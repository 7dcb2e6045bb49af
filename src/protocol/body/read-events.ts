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
  plainEventAt,
  type TimeRules,
  whatIsWrongWith,
} from "../event/from-object.ts";
import { type InputError, StreamNotAllowedError, TooManyStreamsError } from "../input-error.ts";
import { EVENTS_MAX, LINES_MAX } from "./limits.ts";
import {
  COMMA,
  type ElementPlace,
  ElementScan,
  firstElementOf,
  firstNonSpace,
  LineScan,
  type Pieces,
  quoteCountOf,
  type Scan,
  WholeScan,
} from "./pieces.ts";
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
/** Characters of plain events that are read between two checks of the clock: about 0.1 ms. */
const PLAIN_CHARS = 32_768;
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
  const reading = new Reading(text, options);
  while (reading.takePlainElements()) if (slices.isOver) await slices.next();
  const scan = reading.scanOfRest();
  while (scan.advance(CHARS_PER_LOOK)) if (slices.isOver) await slices.next();
  checkScan(scan);
  const { pieces } = scan;
  let lookAt = 0;
  for (let i = 0; i < pieces.count; i++) {
    reading.take(pieces, i);
    const isTimeToLook = i % EVENTS_PER_LOOK === 0 || pieces.ends[i]! > lookAt;
    if (!isTimeToLook) continue;
    lookAt = pieces.ends[i]! + CHARS_PER_LOOK;
    if (slices.isOver) await slices.next();
  }
  return reading;
}

/** Like readEvents(), but never yields: for short texts. */
export function readEventsAtOnce(text: string, options: ReadingOptions): EventBatch {
  const reading = new Reading(text, options);
  while (reading.takePlainElements());
  const scan = reading.scanOfRest();
  while (scan.advance(text.length));
  checkScan(scan);
  for (let i = 0; i < scan.pieces.count; i++) reading.take(scan.pieces, i);
  return reading;
}

function checkScan(scan: Scan): void {
  if (scan.fault !== undefined) throw malformedBody(scan.fault);
  if (scan.count > EVENTS_MAX) throw tooManyEvents();
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
  readonly #options: ReadingOptions;
  /** The element that was not read yet; undefined if the text is no array. */
  readonly #element: ElementPlace | undefined;

  constructor(text: string, options: ReadingOptions) {
    this.#text = text;
    this.#options = options;
    this.#element = options.format === "array" ? firstElementOf(text) : undefined;
  }

  /**
   * Takes the plain events that an array continues with, about as many as PLAIN_CHARS hold: nearly always all but the
   * last one, and scanning for them first takes a third as long again. False once the rest has to be scanned.
   */
  takePlainElements(): boolean {
    const element = this.#element;
    if (element === undefined) return false;
    const from = element.at;
    // What does not end within it is none: so this takes a limited time, whatever the text.
    const text = this.#text.slice(from, from + PLAIN_CHARS);
    const place = { at: 0 };
    while (element.index < EVENTS_MAX) {
      const start = place.at;
      const event = plainEventAt(text, place, this.#options);
      const end = firstNonSpace(text, place.at);
      if (event === undefined || text.charCodeAt(end) !== COMMA || end - start > EVENT_MAX_CHARS) break;
      this.#admit(event, element.index, from + start, from + end);
      place.at = end + 1;
      element.at = from + place.at;
      element.index += 1;
    }
    return element.at > from;
  }

  /** Of what takePlainElements() has left. */
  scanOfRest(): Scan {
    const { format } = this.#options;
    if (format === "object") return new WholeScan(this.#text);
    if (format === "ndjson") return new LineScan(this.#text, EVENTS_MAX, LINES_MAX);
    return new ElementScan(this.#text, EVENTS_MAX, this.#element);
  }

  take({ indexes, starts, ends }: Pieces, i: number): void {
    const [index, start, end] = [indexes[i]!, starts[i]!, ends[i]!];
    const isLong = end - start > EVENT_MAX_CHARS;
    const plain = isLong ? undefined : plainEvent(this.#text, start, end, this.#options);
    if (plain === undefined) this.#takeOther(index, start, end, isLong);
    else this.#admit(plain, index, start, end);
  }

  #takeOther(index: number, start: number, end: number, isLong: boolean): void {
    const text = this.#text.slice(start, end);
    const value = isLong ? undefined : this.#parse(text, index);
    let event = value === undefined ? undefined : eventOf(value, quoteCountOf(text), this.#options);
    if (event === undefined && this.#options.ignoresUnknown) event = eventWithOthers(value, text, this.#options);
    if (event === undefined) this.#refuse(index, start, end, () => this.#faultOf(value, text, isLong));
    else this.#admit(event, index, start, end);
  }

  #admit(event: Event, index: number, start: number, end: number): void {
    const { stream } = event;
    const { allowed, admits } = this.#options;
    if (allowed !== undefined && !allowed.has(stream)) {
      this.notAllowedCount += 1;
      this.#refuse(index, start, end, () => new StreamNotAllowedError("stream", stream, allowed));
    } else if (!admits(stream)) {
      this.#refuse(index, start, end, () => new TooManyStreamsError(stream));
    } else {
      this.events.push(event);
      this.indexes.push(index);
    }
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

  #refuse(index: number, start: number, end: number, faultOf: () => InvalidEvent["error"]): void {
    this.invalidCount += 1;
    if (this.invalid.length >= this.#options.invalidMaxListed) return;
    this.invalid.push({ index, text: this.#text.slice(start, end), error: faultOf() });
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
