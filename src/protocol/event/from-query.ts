/**
 * Reads the query of /analytics into an event or an hour, or says what is wrong with it.
 *
 * Invariant: this accepts exactly what the schema and the rules beside it accept. The generic validator costs more than
 * the rest of a request, so it is only asked why a query was refused.
 */
import type { TObject } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { type Event, type HourKey, hourOf, type Kind } from "../../domain/event.ts";
import { DEFAULT_STREAM, isStreamName } from "../../domain/stream-name.ts";
import { EXPECTS_USER, isUserText } from "../../domain/user-text.ts";
import { InvalidParameterError } from "../input-error.ts";
import { type Query, queryOf } from "../query-string.ts";
import { timeOf } from "../time-text.ts";
import { digits, plainEvent } from "./plain-query.ts";
import { EventQuerySchema, EXPECTS_KIND, expectsTimestamp, FUTURE_MAX_MS, HourQuerySchema } from "./query-rules.ts";

const EVENT_FIELDS = new Set(Object.keys(EventQuerySchema.properties));
const HOUR_FIELDS = new Set(Object.keys(HourQuerySchema.properties));

/** `earliest`: older events are refused. Throws MalformedQueryError or InvalidParameterError. */
export function readEvent(url: string, now: number, earliest = 0): Event {
  return plainEvent(url, earliest, now) ?? eventOf(queryOf(url), now, earliest);
}

/** Throws InvalidParameterError. */
export function eventOf(query: Query, now: number, earliest: number): Event {
  const { user, id, stream = DEFAULT_STREAM } = query;
  const at = timestampOf(query["timestamp"], now, earliest);
  const kind = kindOf(query);
  if (at === undefined || user === undefined || !isUserText(user) || kind === undefined || !isStreamName(stream)) {
    throw whatIsWrong(query, EventQuerySchema, now, earliest);
  }
  if (!hasOnly(query, EVENT_FIELDS) || (id !== undefined && !isUserText(id))) {
    throw whatIsWrong(query, EventQuerySchema, now, earliest);
  }
  return { stream, at, kind, user, id };
}

export interface HourQuery extends HourKey {
  /** Undefined: the client's Accept header decides. */
  readonly format: "text" | "json" | undefined;
}

/** Throws MalformedQueryError or InvalidParameterError. */
export function readHourQuery(url: string, now: number): HourQuery {
  const query = queryOf(url);
  const { stream = DEFAULT_STREAM } = query;
  const { timestamp, format } = query;
  const at = timestamp === undefined ? undefined : timestampOf(timestamp, now, 0);
  const isFormat = format === undefined || format === "text" || format === "json";
  if (at === undefined || !isStreamName(stream) || !isFormat || !hasOnly(query, HOUR_FIELDS)) {
    throw whatIsWrong(query, HourQuerySchema, now, 0);
  }
  return { stream, hour: hourOf(at), format };
}

/** Undefined if it is not a time, or too early or too late. */
function timestampOf(text: string | undefined, now: number, earliest: number): number | undefined {
  if (text === undefined) return now;
  const at = text.includes("-") ? timeOf(text, undefined) : digits(text, 0, text.length);
  return at !== undefined && at !== -1 && at >= earliest && at <= now + FUTURE_MAX_MS ? at : undefined;
}

function kindOf({ click, impression, event }: Query): Kind | undefined {
  if (click !== undefined) return click === "" && impression === undefined && event === undefined ? "click" : undefined;
  if (impression !== undefined) return impression === "" && event === undefined ? "impression" : undefined;
  return event === "click" || event === "impression" ? event : undefined;
}

function hasOnly(query: Query, fields: ReadonlySet<string>): boolean {
  for (const name in query) if (!fields.has(name)) return false;
  return true;
}

/** For a query that the schema describes completely. Throws MalformedQueryError or InvalidParameterError. */
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

/** Checks the schema first, then the rules that a schema can't express. */
function whatIsWrong(query: Query, schema: TObject, now: number, earliest: number): InvalidParameterError {
  const fault = faultBySchema(query, schema);
  if (fault !== undefined) return fault;
  const { timestamp, user, id, click, impression, event } = query;
  if (timestampOf(timestamp, now, earliest) === undefined) {
    return new InvalidParameterError("timestamp", timestamp ?? null, expectsTimestamp(earliest));
  }
  for (const [field, text] of Object.entries({ user, id })) {
    if (text !== undefined && !isUserText(text)) return new InvalidParameterError(field, text, EXPECTS_USER);
  }
  const kinds = Object.entries({ click, impression, event }).filter(([, value]) => value !== undefined);
  const got = kinds.map(([name]) => name).join(" and ");
  return new InvalidParameterError("event", got === "" ? null : got, EXPECTS_KIND);
}
