/**
 * An event, and the hour it is counted in. Times are integers: milliseconds since the epoch (UTC).
 * Invariant: an hour is half-open, [hour, hour + HOUR_MS), and `hour` is a multiple of HOUR_MS.
 */
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

export type Kind = "click" | "impression";

export interface Event {
  readonly stream: string;
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
  /** Idempotency key: an id counts once per stream within `ID_TTL_MS`. */
  readonly id?: string | undefined;
}

/** How long an event id is remembered after its commit. */
export const ID_TTL_MS = DAY_MS;

export interface HourKey {
  readonly stream: string;
  readonly hour: number;
}

export interface HourCounts {
  readonly clicks: number;
  readonly impressions: number;
  readonly uniqueUsers: number;
}

export function hourOf(at: number): number {
  return at - (at % HOUR_MS);
}

/** A key for maps. Stream names contain no space, so keys are unique. */
export function hourKeyName(stream: string, hour: number): string {
  return `${hour} ${stream}`;
}
