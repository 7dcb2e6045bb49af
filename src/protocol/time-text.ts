/** Times in parameters, files and options: ISO 8601, or milliseconds since the epoch. */
import type { TimeZone } from "../domain/time-zone.ts";

export const ISO_INSTANT_PATTERN =
  "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}(:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?)?(Z|[+ -][0-9]{2}:?[0-9]{2})";
export const TIME_PATTERN =
  "^([0-9]{1,15}|[0-9]{4}-[0-9]{2}-[0-9]{2}" +
  "(T[0-9]{2}(:[0-9]{2}(:[0-9]{2}([.][0-9]{1,3})?)?)?(Z|[+ -][0-9]{2}:?[0-9]{2})?)?)$";
export const EXPECTS_TIME =
  "ISO 8601 from 1970 to 9999, such as 2026-01-31, 2026-01-31T12:30 (both local to tz) or " +
  "2026-01-31T12:30:00+01:00, or milliseconds since the epoch";

export const EXPECTS_INSTANT =
  "ISO 8601 with its offset from UTC, such as 2026-01-31T12:30:00Z, or milliseconds since the epoch";

const ZERO = 48;
const TIMESTAMP_MAX_DIGITS = 15;

const ISO = new RegExp(
  "^(\\d{4}-\\d\\d-\\d\\d)(?:[T ](\\d\\d)(?::(\\d\\d)(?::(\\d\\d)(?:[.,](\\d{1,9}))?)?)?" +
    "(?:(Z)|([+ -])([01]\\d|2[0-3]):?([0-5]\\d))?)?$",
);
/** A day before the end of the year 9999, so that no zone's clocks show the year 10000. */
const TIME_MAX = Date.UTC(9999, 11, 31);

/** Texts such as 2026 and 20260131 are refused: read as milliseconds, they would be shortly after the epoch. */
const YEAR_OR_DATE = /^(\d{4}|\d{8})$/;

/**
 * Undefined if there is no such time. A time without an offset is local to `zone`. Without a zone it is refused: a
 * wrong guess would put every event in the wrong hour.
 */
export function timeOf(text: string, zone: TimeZone | undefined): number | undefined {
  const isNumber = /^\d+$/.test(text) && !YEAR_OR_DATE.test(text);
  const at = isNumber ? Number(text) : isoTime(text, zone);
  return at !== undefined && at >= 0 && at <= TIME_MAX ? at : undefined;
}

/** Completes the error about a refused text, which may look like a time: 2026-02-30. */
export function expectedTime(text: string, expected: string): string {
  const parts = ISO.exec(text);
  return parts !== null && localTime(parts) === undefined ? `a day and time that exist: ${expected}` : expected;
}

function isoTime(text: string, zone: TimeZone | undefined): number | undefined {
  const parts = ISO.exec(text);
  const local = parts === null ? undefined : localTime(parts);
  const [, , , , , , utc, sign, ...offset] = parts ?? [];
  if (local === undefined || utc !== undefined) return local;
  if (sign === undefined) return zone?.instantOf(local);
  // A plus that was not percent-encoded has become a space in a query.
  return instantAt(local, sign, offset[0]!, offset[1]!);
}

function localTime([, date, hour = "00", minute = "00", second = "00", fraction = ""]: RegExpExecArray) {
  return existingTime(`${date}T${hour}:${minute}:${second}.${fraction.slice(0, 3).padEnd(3, "0")}Z`);
}

/**
 * `whole`: in the form of toISOString(). Undefined if there is no such time: Date.parse reads 30 February as 2 March.
 */
export function existingTime(whole: string): number | undefined {
  const at = Date.parse(whole);
  return Number.isNaN(at) || new Date(at).toISOString() !== whole ? undefined : at;
}

/** The instant at which clocks this far ahead of UTC (behind, if `sign` is "-") show `local`. */
export function instantAt(local: number, sign: string, hours: string, minutes: string): number {
  const offsetMs = (Number(hours) * 60 + Number(minutes)) * 60_000;
  return sign === "-" ? local + offsetMs : local - offsetMs;
}

/** The number in `text` from `start` to `end`; -1 if there is none, or it has leading zeros. */
export function digits(text: string, start: number, end: number): number {
  const length = end - start;
  if (length < 1 || length > TIMESTAMP_MAX_DIGITS) return -1;
  if (length > 1 && text.charCodeAt(start) === ZERO) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = text.charCodeAt(i) - ZERO;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
