/**
 * Ranges of hours, for one stream or many, and the totals read for each hour.
 * Invariant: a range is half-open, and begins and ends on a UTC hour.
 */
import { HOUR_MS, type HourKey } from "./event.ts";
import { type StreamSelection, selects } from "./stream-rules.ts";
import { UserSketches } from "./unique-users/sketch.ts";

/** More than a year. Bounds the rows of an answer and the cost of a query. */
export const RANGE_MAX_HOURS = 10_000;

export interface HourRange {
  readonly from: number;
  readonly to: number;
  readonly streams: StreamSelection;
}

export interface HourTotals {
  readonly clicks: number;
  readonly impressions: number;
  readonly users: UserSketches;
}

/** Passed to a visitor. The store may own `users` and keep adding to it: read it only during the visit. */
export interface HourRecord extends HourKey, HourTotals {}

export function sumOfHours(parts: readonly HourTotals[]): HourTotals | undefined {
  const [first, ...others] = parts;
  if (first === undefined || others.length === 0) return first;
  const users = new UserSketches();
  let [clicks, impressions] = [0, 0];
  for (const part of parts) {
    clicks += part.clicks;
    impressions += part.impressions;
    users.merge(part.users);
  }
  return { clicks, impressions, users };
}

export function includes({ from, to, streams }: HourRange, { hour, stream }: HourKey): boolean {
  return hour >= from && hour < to && selects(streams, stream);
}

export function hoursIn({ from, to }: Pick<HourRange, "from" | "to">): number {
  return (to - from) / HOUR_MS;
}
