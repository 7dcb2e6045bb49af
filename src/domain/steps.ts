/**
 * A range cut into steps: hours, days or weeks of a time zone, or none.
 *
 * Invariants: steps tile the range, and each begins at a UTC hour. An hour belongs to the day that the zone's
 * clocks show at its start, so that days on which they change have 23 or 25 hours. Weeks are those of ISO
 * 8601: they begin on Monday. The first and the last step are cut off where the range is.
 */
import { DAY_MS, HOUR_MS } from "./event.ts";
import type { TimeZone } from "./time-zone.ts";

export const STEPS = ["hour", "day", "week", "total"] as const;
export type Step = (typeof STEPS)[number];

/** 1970-01-01 was a Thursday. */
const DAYS_FROM_MONDAY = 3;

export class Steps {
  readonly starts: readonly number[];
  readonly from: number;
  readonly to: number;
  /** The step of each hour of the range. */
  readonly #stepOfHour: Uint16Array;

  /** `from` and `to` are UTC hours. */
  constructor(from: number, to: number, step: Step, zone: TimeZone) {
    this.from = from;
    this.to = to;
    this.#stepOfHour = new Uint16Array((to - from) / HOUR_MS);
    const starts: number[] = [];
    let last: number | undefined;
    for (let i = 0; i < this.#stepOfHour.length; i++) {
      const hour = from + i * HOUR_MS;
      const number = stepNumber(hour, step, zone);
      if (number !== last) starts.push(hour);
      last = number;
      this.#stepOfHour[i] = starts.length - 1;
    }
    this.starts = starts;
  }

  indexOf(hour: number): number {
    return this.#stepOfHour[(hour - this.from) / HOUR_MS]!;
  }

  endOf(index: number): number {
    return this.starts[index + 1] ?? this.to;
  }
}

/** Two hours are of the same step if they have the same number. */
function stepNumber(hour: number, step: Step, zone: TimeZone): number {
  switch (step) {
    case "total":
      return 0;
    case "hour":
      return hour;
    case "day":
      return dayOf(hour, zone);
    case "week":
      return Math.floor((dayOf(hour, zone) + DAYS_FROM_MONDAY) / 7);
  }
}

function dayOf(hour: number, zone: TimeZone): number {
  return Math.floor((hour + zone.offsetMsAt(hour)) / DAY_MS);
}
