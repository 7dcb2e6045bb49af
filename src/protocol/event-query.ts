/**
 * Reads the parameters of /analytics into an event or an hour, or says what is wrong with them.
 *
 * Invariant: what is taken here is exactly what the schema and the rules beside it take. The generic
 * validator costs more than all the rest of a request, so a request that is plainly right never meets it; all
 * others do, and are told what it found.
 */
import type { TObject } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { type Event, type HourKey, hourOf, type Kind } from "../domain/event.ts";
import type { StreamSelection } from "../domain/hour-range.ts";
import { DEFAULT_STREAM, isStreamName } from "../domain/stream-name.ts";
import type { StreamSet } from "../domain/stream-set.ts";
import {
  EventQuerySchema,
  EXPECTS_KIND,
  EXPECTS_USER,
  expectsTimestamp,
  FUTURE_MAX_MS,
  HourQuerySchema,
  USER_MAX_BYTES,
} from "./event-rules.ts";
import { digits, plainEvent } from "./plain-event-query.ts";
import { type Query, queryOf } from "./query.ts";

/** What was asked for is well-formed, but not what the parameter takes. */
export class InvalidParameterError extends Error {
  override readonly name = "InvalidParameterError";
  readonly field: string;
  readonly got: string | null;
  readonly expected: string;
  constructor(field: string, got: string | null, expected: string) {
    super(`${field}: ${got === null ? "is missing" : `got ${JSON.stringify(got)}`}, expected ${expected}`);
    this.field = field;
    this.got = got;
    this.expected = expected;
  }
}

/** It would be a new stream, and there are as many as there may be. */
export class TooManyStreamsError extends InvalidParameterError {
  constructor(stream: string) {
    super("stream", stream, "one that has events already, as there are MAX_STREAMS of them");
  }
}

/** It is no stream of those that whoever asks has to do with. */
export class StreamNotAllowedError extends InvalidParameterError {
  constructor(field: string, stream: string, allowed: StreamSet) {
    super(field, stream, allowed.patterns.join(" or ") || "none, as BROWSER_STREAMS is not set");
  }
}

/** `allowed`: undefined for all. Throws StreamNotAllowedError. */
export function checkStream(stream: string, allowed: StreamSet | undefined): void {
  if (allowed !== undefined && !allowed.has(stream))
    throw new StreamNotAllowedError("stream", stream, allowed);
}

/** The same for all streams that are selected. `got`: how they were asked for. */
export function checkSelection(
  field: string,
  got: string,
  selection: StreamSelection,
  allowed: StreamSet | undefined,
): void {
  if (allowed === undefined || allowed.hasAllOf(selection)) return;
  throw new StreamNotAllowedError(field, got, allowed);
}

/** No text of so many UTF-16 units has more than 255 bytes. */
const SURELY_SHORT_UNITS = Math.floor(USER_MAX_BYTES / 3);
const EVENT_FIELDS = new Set(Object.keys(EventQuerySchema.properties));
const HOUR_FIELDS = new Set(Object.keys(HourQuerySchema.properties));

/** `earliest`: older events are not kept. Throws MalformedQueryError or InvalidParameterError. */
export function readEvent(url: string, now: number, earliest = 0): Event {
  return plainEvent(url, earliest, now + FUTURE_MAX_MS) ?? eventOf(queryOf(url), now, earliest);
}

/** The general way. Throws InvalidParameterError. */
export function eventOf(query: Query, now: number, earliest: number): Event {
  const { user, id, stream = DEFAULT_STREAM } = query;
  const at = timestampOf(query["timestamp"], now, earliest);
  const kind = kindOf(query);
  if (
    at === undefined ||
    user === undefined ||
    !isShort(user) ||
    kind === undefined ||
    !isStreamName(stream)
  ) {
    throw whatIsWrong(query, EventQuerySchema, now, earliest);
  }
  if (!hasOnly(query, EVENT_FIELDS) || (id !== undefined && !isShort(id))) {
    throw whatIsWrong(query, EventQuerySchema, now, earliest);
  }
  return { stream, at, kind, user, id };
}

/** Throws MalformedQueryError or InvalidParameterError. */
export function readHourKey(url: string, now: number): HourKey {
  const query = queryOf(url);
  const { stream = DEFAULT_STREAM } = query;
  const at = timestampOf(query["timestamp"], now, 0);
  if (at === undefined || !isStreamName(stream) || !hasOnly(query, HOUR_FIELDS)) {
    throw whatIsWrong(query, HourQuerySchema, now, 0);
  }
  return { stream, hour: hourOf(at) };
}

function timestampOf(text: string | undefined, now: number, earliest: number): number | undefined {
  const at = text === undefined ? -1 : digits(text, 0, text.length);
  return at !== -1 && at >= earliest && at <= now + FUTURE_MAX_MS ? at : undefined;
}

/** 1 to USER_MAX_BYTES. */
export function isShort(text: string): boolean {
  if (text.length === 0) return false;
  return text.length <= SURELY_SHORT_UNITS || Buffer.byteLength(text) <= USER_MAX_BYTES;
}

function kindOf({ click, impression, event }: Query): Kind | undefined {
  if (click !== undefined)
    return click === "" && impression === undefined && event === undefined ? "click" : undefined;
  if (impression !== undefined) return impression === "" && event === undefined ? "impression" : undefined;
  return event === "click" || event === "impression" ? event : undefined;
}

function hasOnly(query: Query, fields: ReadonlySet<string>): boolean {
  for (const name in query) if (!fields.has(name)) return false;
  return true;
}

/** What a schema alone describes. Throws MalformedQueryError or InvalidParameterError. */
export function readQuery(url: string, schema: TObject): Query {
  const query = queryOf(url);
  const fault = faultBySchema(query, schema);
  if (fault !== undefined) throw fault;
  return query;
}

function faultBySchema(query: Query, schema: TObject): InvalidParameterError | undefined {
  const problem = Value.Errors(schema, { ...query }).First();
  if (problem === undefined) return undefined;
  const field = problem.path.slice(1);
  const names = Object.keys(schema.properties).join(", ");
  const expected = schema.properties[field]?.["description"] ?? `no parameter but ${names}`;
  return new InvalidParameterError(field, query[field] ?? null, expected);
}

/** By the schema first, then by the rules that a schema can't express. */
function whatIsWrong(query: Query, schema: TObject, now: number, earliest: number): InvalidParameterError {
  const fault = faultBySchema(query, schema);
  if (fault !== undefined) return fault;
  const { timestamp = "", user, id, click, impression, event } = query;
  if (Number(timestamp) > now + FUTURE_MAX_MS || Number(timestamp) < earliest) {
    return new InvalidParameterError("timestamp", timestamp, expectsTimestamp(earliest));
  }
  for (const [field, text] of Object.entries({ user, id })) {
    if (text !== undefined && !isShort(text)) return new InvalidParameterError(field, text, EXPECTS_USER);
  }
  const kinds = Object.entries({ click, impression, event }).filter(([, value]) => value !== undefined);
  const got = kinds.map(([name]) => name).join(" and ");
  return new InvalidParameterError("event", got === "" ? null : got, EXPECTS_KIND);
}
