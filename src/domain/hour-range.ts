/**
 * Hours of one stream or of many, and what is read of each of them.
 * Invariant: a range is half open and begins and ends at a UTC hour, as whatever is counted does.
 */
import { HOUR_MS, type HourKey } from "./event.ts";
import type { UserSketches } from "./user-sketches.ts";

/** Over a year. It bounds the rows of an answer, and what one question may cost. */
export const RANGE_MAX_HOURS = 10_000;

/** One stream, or all whose names begin with `text` (which may be empty). */
export interface StreamSelection {
  readonly text: string;
  readonly isPrefix: boolean;
}

export interface HourRange {
  readonly from: number;
  readonly to: number;
  readonly streams: StreamSelection;
}

export interface HourRecord extends HourKey {
  readonly clicks: number;
  readonly impressions: number;
  /** To be read while it is shown: it may be the store's own, and grow. */
  readonly users: UserSketches;
}

/** Above every stream that begins with the prefix, since a stream is printable ASCII. */
export function endOfPrefix(prefix: string): string {
  return `${prefix}\x7f`;
}

export function selects({ text, isPrefix }: StreamSelection, stream: string): boolean {
  return isPrefix ? stream.startsWith(text) : stream === text;
}

export function includes({ from, to, streams }: HourRange, { hour, stream }: HourKey): boolean {
  return hour >= from && hour < to && selects(streams, stream);
}

export function hoursIn({ from, to }: Pick<HourRange, "from" | "to">): number {
  return (to - from) / HOUR_MS;
}
