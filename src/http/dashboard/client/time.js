/*
 * The shown period, and the earlier one that it is compared with; and the clocks of time zones. A local time is written
 * as the ms since the epoch that it would be in UTC.
 * Invariants: the total of a range does not depend on the step. Only whole hours are compared, each with the same
 * hour of an earlier day.
 */
const QUARTER_HOUR_MS = 900_000;
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
const WEEK_MS = 7 * DAY_MS;
const MONTH_MIN_MS = 28 * DAY_MS;
/** More hours than this are too many to see. */
const HOURLY_MAX_MS = 62 * DAY_MS;

/** `months`: calendar months including the current one; `days` likewise. With neither: the last 24 hours. */
export const RANGES = {
  "24h": { step: "hour" },
  "7d": { days: 7, step: "hour" },
  "30d": { days: 30, step: "day" },
  "12mo": { months: 12, step: "month" },
};

const STEP_MIN_MS = { day: DAY_MS, week: WEEK_MS, month: MONTH_MIN_MS };

export const floorHour = (at) => at - (at % HOUR_MS);

/** UTC hours if the steps are hours, else hours of the zone, which its days consist of. */
const startOfHour = ({ step, zone }, at) => (step === "hour" ? floorHour(at) : at - (zone.localOf(at) % HOUR_MS));

/** Ends with the current hour. `zoom`: {from, to}, or undefined for the range. */
export function periodOf({ range, zoom, zone, step }, now) {
  if (zoom !== undefined) return zoom;
  const to = startOfHour({ step, zone }, now) + HOUR_MS;
  const { days, months } = RANGES[range];
  if (days !== undefined) return { from: zone.instantOf(startOfDay(zone.localOf(now)) - (days - 1) * DAY_MS), to };
  if (months === undefined) return { from: to - DAY_MS, to };
  return { from: zone.instantOf(plusMonths(startOfMonth(zone.localOf(now)), 1 - months)), to };
}

const startOfDay = (local) => Math.floor(local / DAY_MS) * DAY_MS;

function startOfMonth(local) {
  const date = new Date(local);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth());
}

function plusMonths(local, months) {
  const date = new Date(local);
  const month = date.getUTCMonth() + months;
  // In a shorter month, its last day.
  const lastDay = new Date(Date.UTC(date.getUTCFullYear(), month + 1, 0)).getUTCDate();
  const day = Math.min(date.getUTCDate(), lastDay);
  return Date.UTC(date.getUTCFullYear(), month, day) + (local % DAY_MS);
}

/** The end of the completed hours. None is within the current UTC hour: its parts are known only once it is flushed. */
export function wholeHoursTo(state, { to }, now) {
  return Math.min(to, startOfHour(state, floorHour(now)));
}

/**
 * Maps a time to the same hour on an earlier day: earlier by the period's length in days, or by choice in whole weeks,
 * so that the two do not overlap. With monthly steps, earlier by months.
 */
export function earlierBy(state, { from, to }) {
  const { zone, step, compare, range, zoom } = state;
  if (zoom === undefined && range === "12mo") return (at) => zone.instantOf(plusMonths(zone.localOf(at), -12));
  const [first, last] = [zone.localOf(from), zone.localOf(to - 1)];
  if (step === "month") {
    const monthsOf = (local) => new Date(local).getUTCFullYear() * 12 + new Date(local).getUTCMonth();
    const months = monthsOf(last) - monthsOf(first) + 1;
    return (at) => zone.instantOf(plusMonths(zone.localOf(at), -months));
  }
  const unit = compare === "week" || step === "week" ? WEEK_MS : DAY_MS;
  const shift = Math.ceil((last + 1 - first) / unit) * unit;
  return (at) => zone.instantOf(zone.localOf(at) - shift);
}

export function defaultStep(range, zoom) {
  if (zoom === undefined) return RANGES[range].step;
  const lengthMs = zoom.to - zoom.from;
  if (lengthMs <= 10 * DAY_MS) return "hour";
  return lengthMs <= 100 * DAY_MS ? "day" : "month";
}

export function isStepFitting(step, state, now) {
  const { from, to } = periodOf(state, now);
  if (step === "hour") return to - from <= HOURLY_MAX_MS;
  if (!(step in STEP_MIN_MS)) throw new Error(`unknown step: ${step}`);
  return to - from > STEP_MIN_MS[step];
}

const OFFSET = /^GMT(?:([+-])(\d\d):(\d\d))?/;

export class Zone {
  #format;
  /** Indexed by quarter of an hour. */
  #offsets = new Map();

  /** Throws RangeError if there is no such zone. */
  constructor(name) {
    this.name = name;
    this.#format = new Intl.DateTimeFormat("en", { timeZone: name, timeZoneName: "longOffset" });
  }

  static named(name) {
    try {
      return new Zone(name);
    } catch {
      return undefined;
    }
  }

  offsetAt(at) {
    const quarter = Math.floor(at / QUARTER_HOUR_MS);
    let offset = this.#offsets.get(quarter);
    if (offset === undefined) {
      const { value } = this.#format.formatToParts(at).find(({ type }) => type === "timeZoneName");
      const [, sign, hours = 0, minutes = 0] = OFFSET.exec(value);
      offset = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
      this.#offsets.set(quarter, offset);
    }
    return offset;
  }

  localOf(at) {
    return at + this.offsetAt(at);
  }

  /** A skipped local time moves forward by the length of the gap; of two equal ones, the first is meant. */
  instantOf(local) {
    const guesses = [this.offsetAt(local - DAY_MS), this.offsetAt(local + DAY_MS)];
    const fitting = guesses.map((offset) => local - offset).filter((at) => this.localOf(at) === local);
    return fitting.length > 0 ? Math.min(...fitting) : local - guesses[0];
  }
}
