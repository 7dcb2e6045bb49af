/**
 * Reads one event of a body, or says what is wrong with it.
 *
 * Invariant: this accepts exactly what the schema and the rules beside it accept. The generic validator is only asked
 * why an event was not accepted.
 *
 * The rules beside the schema: a timestamp is at most a day ahead, and not older than retained rows; user and id are as
 * domain/user-text.ts says; no member is given twice.
 */
import { Value } from "@sinclair/typebox/value";
import type { Event } from "../../domain/event.ts";
import { DEFAULT_STREAM, isStreamName } from "../../domain/stream-name.ts";
import { EXPECTS_NO_REPLACEMENT, EXPECTS_USER, isUserText } from "../../domain/user-text.ts";
import { InputError, InvalidParameterError } from "../invalid-parameter.ts";
import { timeOf } from "../time-text.ts";
import { EventObjectSchema, expectsTime } from "./object-rules.ts";
import { FUTURE_MAX_MS } from "./query-rules.ts";

/** It is not a JSON object with distinct members. */
export class MalformedEventError extends InputError {
  override readonly name = "MalformedEventError";
}

const EXPECTS_TEXT = `${EXPECTS_USER}, ${EXPECTS_NO_REPLACEMENT}`;
const NAMES = Object.keys(EventObjectSchema.properties);

/** Quotes around the names and values of user and event. */
const FEWEST_QUOTES = 8;
const QUOTES_PER_MEMBER = 4;

export interface TimeRules {
  readonly now: number;
  /** Older events are refused. */
  readonly earliest: number;
  /** For an event without a timestamp. Undefined: a timestamp is required. */
  readonly defaultAt: number | undefined;
}

/**
 * Undefined if it is not an event. `quoteCount`: of the quotes in its text that are not escaped. If there are as many
 * as the members read here have, there is no other member, and none was given twice, which JSON.parse hides.
 */
export function eventOf(value: unknown, quoteCount: number, rules: TimeRules): Event | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { timestamp, user, event: kind, stream, id } = value as Record<string, unknown>;
  const at = timeIn(timestamp, rules);
  if (at === undefined || !isText(user)) return undefined;
  if (kind !== "click" && kind !== "impression") return undefined;
  let quotes = FEWEST_QUOTES;
  if (timestamp !== undefined) quotes += typeof timestamp === "string" ? QUOTES_PER_MEMBER : 2;
  if (stream !== undefined) {
    if (typeof stream !== "string" || !(stream === DEFAULT_STREAM || isStreamName(stream))) return undefined;
    quotes += QUOTES_PER_MEMBER;
  }
  if (id !== undefined) {
    if (!isText(id)) return undefined;
    quotes += QUOTES_PER_MEMBER;
  }
  if (quotes !== quoteCount) return undefined;
  return { stream: stream ?? DEFAULT_STREAM, at, kind, user, id };
}

/** Undefined if it is not a time, or too early or too late. */
function timeIn(value: unknown, { now, earliest, defaultAt }: TimeRules): number | undefined {
  if (value === undefined) return defaultAt;
  const at = typeof value === "string" ? isoInstant(value) : value;
  return Number.isInteger(at) && (at as number) >= earliest && (at as number) <= now + FUTURE_MAX_MS
    ? (at as number)
    : undefined;
}

/** Milliseconds in quotes are refused. */
function isoInstant(text: string): number | undefined {
  return text.includes("-") ? timeOf(text, undefined) : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && isUserText(value);
}

/** Why eventOf() refused it. `text`: what `value` was parsed from. */
export function whatIsWrongWith(value: unknown, text: string, rules: TimeRules): InputError {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new MalformedEventError(undefined, text, "a JSON object");
  }
  const members = value as Record<string, unknown>;
  const problem = Value.Errors(EventObjectSchema, members).First();
  if (problem !== undefined) {
    const field = firstName(problem.path);
    const known = EventObjectSchema.properties[field as keyof typeof EventObjectSchema.properties];
    const expected = known?.["description"] ?? `no member but ${NAMES.join(", ")}`;
    return new InvalidParameterError(field, shown(members[field]), expected);
  }
  return brokenRule(members, text, rules);
}

function brokenRule(members: Record<string, unknown>, text: string, rules: TimeRules) {
  const { timestamp, user, id } = members;
  if (timeIn(timestamp, rules) === undefined) {
    return new InvalidParameterError("timestamp", shown(timestamp), expectsTime(rules.earliest));
  }
  for (const [field, value] of Object.entries({ user, id })) {
    if (value === undefined || isText(value)) continue;
    return new InvalidParameterError(field, shown(value), EXPECTS_TEXT);
  }
  const name = repeatedName(text);
  return new MalformedEventError(name, text, "each member to be given once");
}

/** `path`: a JSON pointer. */
function firstName(path: string): string {
  const name = path.slice(1).split("/", 1)[0]!;
  return name.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Strings as they are, other values as JSON; null if it is missing. */
function shown(value: unknown): string | null {
  if (value === undefined) return null;
  return typeof value === "string" ? value.toWellFormed() : JSON.stringify(value);
}

/** A string, and the colon after it if it is a name. The object holds no other objects. */
const STRING = /("(?:[^"\\]|\\.)*")(\s*:)?/g;

/** `text`: an object in JSON. Each match begins where the last one ended: a string is scanned once. */
function repeatedName(text: string): string | undefined {
  const seen = new Set<string>();
  for (const [, quoted, colon] of text.matchAll(STRING)) {
    if (colon === undefined) continue;
    const name = JSON.parse(quoted!) as string;
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}
