/**
 * Reads the parameters shared by /series and /streams into a range of hours, or explains what is wrong with them.
 * Invariant: a range has at least one hour and at most RANGE_MAX_HOURS.
 */
import { HOUR_MS, hourOf } from "../../../domain/event.ts";
import { hoursIn, RANGE_MAX_HOURS } from "../../../domain/hour-range.ts";
import { TimeZone } from "../../../domain/time-zone.ts";
import { InvalidParameterError } from "../../../protocol/input-error.ts";
import type { Query } from "../../../protocol/query-string.ts";
import { EXPECTS_TIME, expectedTime, timeOf } from "../../../protocol/time-text.ts";
import { DEFAULT_ZONE, EXPECTS_WHOLE_QUARTERS, EXPECTS_ZONE } from "./schemas.ts";

export interface Period {
  readonly from: number;
  readonly to: number;
  readonly zone: TimeZone;
}

type FloorHour = (at: number, zone: TimeZone) => number;

export const UTC_HOURS: FloorHour = hourOf;
/** Differ from UTC hours in zones that are not whole hours from UTC. */
export const HOURS_OF_ZONE: FloorHour = (at, zone) => zone.floorHour(at);

/**
 * Rounds `from` down and `to` up to whole hours. `to` defaults to the end of the current hour, `from` to `defaultHours`
 * before `to`. Throws InvalidParameterError.
 */
export function periodOf(query: Query, now: number, defaultHours: number, floorHour: FloorHour): Period {
  const { tz = DEFAULT_ZONE } = query;
  const zone = TimeZone.named(tz);
  if (zone === undefined) throw new InvalidParameterError("tz", tz, EXPECTS_ZONE);
  const [start, end = now + 1] = [timeIn(query, "from", zone), timeIn(query, "to", zone)];
  const to = floorHour(end + HOUR_MS - 1, zone);
  const from = start === undefined ? Math.max(0, to - defaultHours * HOUR_MS) : floorHour(start, zone);
  checkLength(query, from, to);
  if (!zone.hasWholeQuarters(from, to)) throw new InvalidParameterError("tz", tz, EXPECTS_WHOLE_QUARTERS);
  return { from, to, zone };
}

function timeIn(query: Query, field: "from" | "to", zone: TimeZone): number | undefined {
  const text = query[field];
  if (text === undefined) return undefined;
  const at = timeOf(text, zone);
  if (at === undefined) throw new InvalidParameterError(field, text, expectedTime(text, EXPECTS_TIME));
  return at;
}

function checkLength(query: Query, from: number, to: number): void {
  const field = query["from"] === undefined ? "to" : "from";
  const got = query[field] ?? null;
  const hours = hoursIn({ from, to });
  if (hours <= 0) {
    const end = query["to"] === undefined ? "now, the default of to" : "to";
    throw new InvalidParameterError(field, got, `a time before ${end}`);
  }
  if (hours > RANGE_MAX_HOURS) {
    const expected = `at most ${RANGE_MAX_HOURS} hours before to (these are ${hours})`;
    throw new InvalidParameterError(field, got, expected);
  }
}
