/**
 * Cuts a range into steps: hours, days, weeks or months of a time zone, or one total.
 *
 * Invariants: steps tile the range. Each begins when the zone's clocks show the start of an hour, a day and so on, so
 * days on which the clocks change have 23 or 25 hours. The range cuts off the first and the last step. In a zone that
 * is not whole hours from UTC, a step may begin within a UTC hour: that hour is cut, and belongs to no single step.
 *
 * The dashboard has its own names and lengths of steps: http/dashboard/page.ts, and in its client time.js, format.js,
 * main.js (weeks, hours) and chart.js (months).
 */
import { DAY_MS, HOUR_MS, hourOf } from "./event.ts";
import { QUARTER_HOUR_MS, type TimeZone } from "./time-zone.ts";

export const STEPS = ["hour", "day", "week", "month", "total"] as const;
export type Step = (typeof STEPS)[number];

/** How many days into its week 1970-01-01, a Thursday, was; by the first day of the week. */
const DAYS_INTO_WEEK = { monday: 3, sunday: 4, saturday: 5 } as const;
export type WeekStart = keyof typeof DAYS_INTO_WEEK;
/** The first is the one of ISO 8601. */
export const WEEK_STARTS = Object.keys(DAYS_INTO_WEEK) as [WeekStart, ...WeekStart[]];

const CUT = -1;

interface StepsOptions {
  readonly from: number;
  readonly to: number;
  readonly step: Step;
  readonly zone: TimeZone;
  readonly weekStart?: WeekStart;
}

export class Steps {
  readonly starts: readonly number[];
  readonly from: number;
  readonly to: number;
  /** The UTC hours that contain the range. */
  readonly hours: { readonly from: number; readonly to: number };
  readonly #stepOfHour: Int32Array;
  readonly #numberOf: (at: number) => number;
  readonly #zone: TimeZone;

  /** `from` and `to` must be whole hours on the zone's clocks. */
  constructor({ from, to, step, zone, weekStart = WEEK_STARTS[0] }: StepsOptions) {
    this.from = from;
    this.to = to;
    this.hours = { from: hourOf(from), to: hourOf(to + HOUR_MS - 1) };
    this.#zone = zone;
    this.#numberOf = (at) => stepNumber(at, step, zone, weekStart);
    this.#stepOfHour = new Int32Array((this.hours.to - this.hours.from) / HOUR_MS);
    const starts: number[] = [];
    for (let i = 0; i < this.#stepOfHour.length; i++) {
      const hour = this.hours.from + i * HOUR_MS;
      const isWhole = this.#addStarts(hour, starts) && hour >= from && hour + HOUR_MS <= to;
      this.#stepOfHour[i] = isWhole ? starts.length - 1 : CUT;
    }
    this.starts = starts;
  }

  /** Appends the steps that begin in this hour. False if one begins inside it. */
  #addStarts(hour: number, starts: number[]): boolean {
    const unitMs = this.#zone.hasWholeHours(hour, hour + HOUR_MS) ? HOUR_MS : QUARTER_HOUR_MS;
    let isWhole = true;
    for (let at = hour; at < hour + HOUR_MS; at += unitMs) {
      if (at < this.from || at >= this.to) continue;
      const last = starts.at(-1);
      if (last !== undefined && this.#numberOf(at) === this.#numberOf(last)) continue;
      starts.push(at);
      if (at > hour) isWhole = false;
    }
    return isWhole;
  }

  /** Undefined if a step begins or ends within this hour. */
  indexOfHour(hour: number): number | undefined {
    const index = this.#stepOfHour[(hour - this.hours.from) / HOUR_MS]!;
    return index === CUT ? undefined : index;
  }

  indexAt(at: number): number | undefined {
    if (at < this.from || at >= this.to) return undefined;
    let [low, high] = [0, this.starts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.starts[middle]! <= at) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  endOf(index: number): number {
    return this.starts[index + 1] ?? this.to;
  }

  /** Whether the step begins and ends with a UTC hour. */
  isOfWholeHours(index: number): boolean {
    const [start, end] = [this.starts[index]!, this.endOf(index)];
    return hourOf(start) === start && hourOf(end) === end;
  }

  /** Whether the step contains no whole UTC hour. */
  isOfParts(index: number): boolean {
    const firstWhole = hourOf(this.starts[index]! + HOUR_MS - 1);
    return firstWhole + HOUR_MS > this.endOf(index);
  }
}

/** Two instants are in the same step if their numbers are equal. */
function stepNumber(at: number, step: Step, zone: TimeZone, weekStart: WeekStart): number {
  switch (step) {
    case "total":
      return 0;
    case "hour":
      return zone.floorHour(at);
    case "day":
      return dayOf(at, zone);
    case "week":
      return Math.floor((dayOf(at, zone) + DAYS_INTO_WEEK[weekStart]) / 7);
    case "month": {
      const local = new Date(at + zone.offsetMsAt(at));
      return local.getUTCFullYear() * 12 + local.getUTCMonth();
    }
  }
}

function dayOf(at: number, zone: TimeZone): number {
  return Math.floor((at + zone.offsetMsAt(at)) / DAY_MS);
}
