/** Times as files and options give them: ISO 8601, or milliseconds since the epoch. */
import { existingTime, instantAt } from "../domain/iso-time.ts";

export const EXPECTS_INSTANT =
  "ISO 8601 with its offset from UTC, such as 2026-01-31T12:30:00Z, or milliseconds since the epoch";
export const EXPECTS_BOUND =
  "2026-01-31, 2026-01-31T12:30 (UTC, if no offset is given), or ms since the epoch";

const MS = /^\d{1,15}$/;
const ISO =
  /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?(?:Z|([+-])([01]\d|2[0-3]):?([0-5]\d))$/;
const DATE = /^\d{4}-\d\d-\d\d$/;
const HOUR = /^\d{4}-\d\d-\d\dT\d\d$/;

/**
 * Undefined if there is no such time. One without an offset is none: which zone is meant can't be known, and in
 * another one all would be counted in the wrong hours.
 */
export function instantOf(text: string): number | undefined {
  if (MS.test(text)) return Number(text);
  const [found, date, time, seconds = "00", fraction = "", sign = "", hours = "", minutes = ""] =
    ISO.exec(text) ?? [];
  if (found === undefined) return undefined;
  const local = existingTime(`${date}T${time}:${seconds}.${fraction.slice(0, 3).padEnd(3, "0")}Z`);
  return local === undefined ? undefined : instantAt(local, sign, hours, minutes);
}

/** Where a range begins or ends, as somebody typed it. */
export function boundOf(text: string): number | undefined {
  if (DATE.test(text)) return instantOf(`${text}T00:00Z`);
  return instantOf(text) ?? instantOf(HOUR.test(text) ? `${text}:00Z` : `${text}Z`);
}
