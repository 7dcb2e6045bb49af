/**
 * Reads the query of an event in one pass, if it is plain: known parameters, each once, in any order, nothing encoded.
 * Nearly all are, and it takes 0.1 µs instead of the 0.5 of from-query.ts, which reads all others.
 *
 * Invariant: it returns what from-query.ts returns, or undefined. A test compares the two.
 */
import type { Event, Kind } from "../../domain/event.ts";
import { DEFAULT_STREAM, isStreamName, STREAM_MAX_CHARS } from "../../domain/stream-name.ts";
import { USER_MAX_BYTES } from "../../domain/user-text.ts";
import { FUTURE_MAX_MS } from "./query-rules.ts";

const AMPERSAND = 38;
const ZERO = 48;
const TIMESTAMP_MAX_DIGITS = 15;

/** 1: stands for itself in a value. 2: is allowed in names of streams, too. */
const CHARACTERS = new Uint8Array(128);
for (let code = 33; code < 127; code++) CHARACTERS[code] = 1;
for (const special of '%+&#"<>') CHARACTERS[special.charCodeAt(0)] = 0;
for (let code = 33; code < 127; code++) if (isStreamName(String.fromCharCode(code))) CHARACTERS[code] = 2;

/** Where the value that begins at `start` ends; -1 if a character in it is below `least`. */
function valueEnd(url: string, start: number, least: number): number {
  let end = start;
  for (; end < url.length; end++) {
    const code = url.charCodeAt(end);
    if (code === AMPERSAND) break;
    if (code > 127 || CHARACTERS[code]! < least) return -1;
  }
  return end;
}

/** The number from `start` to `end`; -1 if it is not one, or has leading zeros. */
export function digits(url: string, start: number, end: number): number {
  const length = end - start;
  if (length < 1 || length > TIMESTAMP_MAX_DIGITS) return -1;
  if (length > 1 && url.charCodeAt(start) === ZERO) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = url.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Undefined if the query is not plain, or its time is too early or too late. */
export function plainEvent(url: string, earliest: number, now: number): Event | undefined {
  const latest = now + FUTURE_MAX_MS;
  let at = -1;
  let kind: Kind | undefined;
  let user: string | undefined;
  let stream: string | undefined;
  let id: string | undefined;
  let start = url.indexOf("?") + 1;
  if (start === 0) return undefined;
  while (start < url.length) {
    let end: number;
    if (url.startsWith("timestamp=", start)) {
      end = valueEnd(url, start + 10, 2);
      if (end === -1 || at !== -1) return undefined;
      at = digits(url, start + 10, end);
      if (at === -1 || at < earliest || at > latest) return undefined;
    } else if (url.startsWith("user=", start)) {
      end = valueEnd(url, start + 5, 1);
      if (end === -1 || user !== undefined || !isLengthOf(USER_MAX_BYTES, start + 5, end)) return undefined;
      user = url.slice(start + 5, end);
    } else if (url.startsWith("click", start)) {
      end = start + 5;
      if (kind !== undefined || !isEnd(url, end)) return undefined;
      kind = "click";
    } else if (url.startsWith("impression", start)) {
      end = start + 10;
      if (kind !== undefined || !isEnd(url, end)) return undefined;
      kind = "impression";
    } else if (url.startsWith("stream=", start)) {
      end = valueEnd(url, start + 7, 2);
      if (end === -1 || stream !== undefined || !isLengthOf(STREAM_MAX_CHARS, start + 7, end)) return undefined;
      stream = url.slice(start + 7, end);
    } else if (url.startsWith("id=", start)) {
      end = valueEnd(url, start + 3, 1);
      if (end === -1 || id !== undefined || !isLengthOf(USER_MAX_BYTES, start + 3, end)) return undefined;
      id = url.slice(start + 3, end);
    } else {
      return undefined;
    }
    start = end + 1;
  }
  if (user === undefined || kind === undefined) return undefined;
  return { stream: stream ?? DEFAULT_STREAM, at: at === -1 ? now : at, kind, user, id };
}

function isEnd(url: string, position: number): boolean {
  return position === url.length || url.charCodeAt(position) === AMPERSAND;
}

function isLengthOf(max: number, start: number, end: number): boolean {
  return end > start && end - start <= max;
}
