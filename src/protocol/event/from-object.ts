/**
 * Reads one event of a body, or explains what is wrong with it.
 *
 * Invariant: this accepts exactly what the schema and the additional rules accept. The generic validator is only asked
 * why an event was refused.
 *
 * The additional rules: a timestamp is at most a day ahead, and not older than retained rows; user and id satisfy
 * domain/user-text.ts; no member is given twice.
 */
import { Value } from "@sinclair/typebox/value";
import type { Event } from "../../domain/event.ts";
import { DEFAULT_STREAM, isStreamName } from "../../domain/stream-rules.ts";
import { EXPECTS_NO_REPLACEMENT, EXPECTS_USER, isUserText } from "../../domain/user-text.ts";
import { firstNonSpace } from "../body/pieces.ts";
import { InputError, InvalidParameterError } from "../input-error.ts";
import { digits, expectedTime, timeOf } from "../time-text.ts";
import { EVENT_MEMBERS, EventObjectSchema, expectsTime } from "./object-rules.ts";
import { FUTURE_MAX_MS } from "./query-rules.ts";

/** Not a JSON object with distinct members. */
export class MalformedEventError extends InputError {
  override readonly name = "MalformedEventError";
}

const EXPECTS_TEXT = `${EXPECTS_USER}, ${EXPECTS_NO_REPLACEMENT}`;

/** Quotes around the names and values of the required members, user and event. */
const FEWEST_QUOTES = 8;
const QUOTES_PER_MEMBER = 4;

const SPACE = 32;
const QUOTE = 34;
const COMMA = 44;
const ZERO = 48;
const NINE = 57;
const BACKSLASH = 92;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;
const DELETE = 127;
/** Indexed by first letter, which no two names share. */
const QUOTED_NAMES: string[] = [];
for (const name of EVENT_MEMBERS) QUOTED_NAMES[name.charCodeAt(0)] = `"${name}":`;

export interface TimeRules {
  readonly now: number;
  /** Older events are refused. */
  readonly earliest: number;
  /** The time of an event without a timestamp. Undefined: a timestamp is required. */
  readonly defaultAt: number | undefined;
}

/**
 * Undefined if it is not an event. `quoteCount`: the unescaped quotes in its text. If the known members account for all
 * of them, there is no other member, and no repeated one, which JSON.parse would hide.
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

/** Like eventOf(), but ignores unknown members. `text`: the source of `value`. */
export function eventWithOthers(value: unknown, text: string, rules: TimeRules): Event | undefined {
  if (typeof value !== "object" || value === null || repeatedName(text, EVENT_MEMBERS) !== undefined) return undefined;
  const known = knownMembers(value);
  const texts = Object.values(known).filter((member) => typeof member === "string");
  return eventOf(known, 2 * (Object.keys(known).length + texts.length), rules);
}

function knownMembers(value: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([name]) => EVENT_MEMBERS.includes(name)));
}

/** Undefined if it is not a time, too early or too late. */
function timeIn(value: unknown, { now, earliest, defaultAt }: TimeRules): number | undefined {
  if (value === undefined) return defaultAt !== undefined && defaultAt >= earliest ? defaultAt : undefined;
  const at = typeof value === "string" ? isoInstant(value) : value;
  return Number.isInteger(at) && (at as number) >= earliest && (at as number) <= now + FUTURE_MAX_MS
    ? (at as number)
    : undefined;
}

/** Refuses milliseconds in quotes. */
function isoInstant(text: string): number | undefined {
  return text.includes("-") ? timeOf(text, undefined) : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && isUserText(value);
}

/**
 * Reads an event in one pass, from an object of known members whose strings are printable ASCII without escapes. Nearly
 * all are: this takes 0.2 µs, JSON.parse and eventOf() 0.5. Undefined for any other text, even if it is an event.
 */
export function plainEvent(text: string, start: number, end: number, rules: TimeRules): Event | undefined {
  const place = { at: start };
  const event = plainEventAt(text, place, rules);
  // Beyond `end` another event may begin.
  return place.at <= end && firstNonSpace(text, place.at) >= end ? event : undefined;
}

/** Like plainEvent(), for an event that begins at `place.at`, whatever follows it. Moves `place` behind it. */
export function plainEventAt(text: string, place: { at: number }, rules: TimeRules): Event | undefined {
  let timestamp: number | undefined;
  let user: string | undefined;
  let event: string | undefined;
  let stream: string | undefined;
  let id: string | undefined;
  let quotes = 0;
  let i = firstNonSpace(text, place.at);
  if (text.charCodeAt(i) !== OPEN_OBJECT) return undefined;
  do {
    i = firstNonSpace(text, i + 1);
    const name = QUOTED_NAMES[text.charCodeAt(i + 1)];
    if (name === undefined || !text.startsWith(name, i)) return undefined;
    const from = firstNonSpace(text, i + name.length);
    i = name === '"timestamp":' ? digitsEnd(text, from) : plainStringEnd(text, from);
    if (i === -1) return undefined;
    // digits() is -1, and so too early, for what is not a JSON number.
    if (name === '"timestamp":') timestamp = digits(text, from, i);
    else if (name === '"user":') user = text.slice(from + 1, i - 1);
    else if (name === '"event":') event = text.slice(from + 1, i - 1);
    else if (name === '"stream":') stream = text.slice(from + 1, i - 1);
    else id = text.slice(from + 1, i - 1);
    quotes += name === '"timestamp":' ? 2 : QUOTES_PER_MEMBER;
    i = firstNonSpace(text, i);
  } while (text.charCodeAt(i) === COMMA);
  if (text.charCodeAt(i) !== CLOSE_OBJECT) return undefined;
  place.at = i + 1;
  return eventOf({ timestamp, user, event, stream, id }, quotes, rules);
}

function digitsEnd(text: string, start: number): number {
  let i = start;
  for (let code = text.charCodeAt(i); code >= ZERO && code <= NINE; code = text.charCodeAt(i)) i += 1;
  return i;
}

/** The position after the string that begins at `start`; -1 if none does, or if it is not plain. */
function plainStringEnd(text: string, start: number): number {
  if (text.charCodeAt(start) !== QUOTE) return -1;
  for (let i = start + 1; ; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i + 1;
    // At the end of the text, `code` is NaN.
    if (!(code >= SPACE && code < DELETE) || code === BACKSLASH) return -1;
  }
}

/** `text`: the source of `value`. `mayHaveOthers`: unknown members are ignored. */
export function whatIsWrongWith(value: unknown, text: string, rules: TimeRules, mayHaveOthers = false): InputError {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new MalformedEventError(undefined, text, "a JSON object");
  }
  const members = mayHaveOthers ? knownMembers(value) : (value as Record<string, unknown>);
  const problem = Value.Errors(EventObjectSchema, members).First();
  if (problem !== undefined) {
    const field = firstName(problem.path);
    const known = EventObjectSchema.properties[field as keyof typeof EventObjectSchema.properties];
    const expected = known?.["description"] ?? `no member but ${EVENT_MEMBERS.join(", ")}`;
    return new InvalidParameterError(field, shown(members[field]), expected);
  }
  return brokenRule(members, text, rules, mayHaveOthers ? EVENT_MEMBERS : undefined);
}

function brokenRule(
  members: Record<string, unknown>,
  text: string,
  rules: TimeRules,
  names: readonly string[] | undefined,
) {
  const { timestamp, user, id } = members;
  if (timeIn(timestamp, rules) === undefined) {
    const got = shown(timestamp ?? rules.defaultAt);
    return new InvalidParameterError("timestamp", got, expectedTime(got ?? "", expectsTime(rules.earliest)));
  }
  for (const [field, value] of Object.entries({ user, id })) {
    if (value === undefined || isText(value)) continue;
    return new InvalidParameterError(field, shown(value), EXPECTS_TEXT);
  }
  const name = repeatedName(text, names);
  return new MalformedEventError(name, text, "each member to be given once");
}

/** `path`: a JSON pointer. */
function firstName(path: string): string {
  const name = path.slice(1).split("/", 1)[0]!;
  return name.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Strings unchanged, other values as JSON, null if missing. */
function shown(value: unknown): string | null {
  if (value === undefined) return null;
  return typeof value === "string" ? value.toWellFormed() : JSON.stringify(value);
}

/** A bracket, or a string with the colon that makes it a name. */
const TOKEN = /[{}[\]]|("(?:[^"\\]|\\.)*")(\s*:)?/g;

/**
 * A name that the outermost object repeats. Each match begins where the last one ended, so a string is scanned once.
 */
function repeatedName(text: string, names?: readonly string[]): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (const [token, quoted, colon] of text.matchAll(TOKEN)) {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    if (quoted === undefined || colon === undefined || depth !== 1) continue;
    const name = JSON.parse(quoted) as string;
    if (names?.includes(name) === false) continue;
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}
