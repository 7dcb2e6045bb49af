/* Formats numbers and times for people. Times are local times: see time.js. */
import { DAY_MS, HOUR_MS } from "./time.js";

export const NOTHING = "–";
/** A larger change is shown as a factor. */
const PERCENT_MAX = 10;
const YEAR_SHOWN_MS = 100 * DAY_MS;

const whole = new Intl.NumberFormat("en");
const compact = { notation: "compact", minimumFractionDigits: 1, maximumFractionDigits: 1 };
const short = new Intl.NumberFormat("en", compact);
const percents = [0, 1, 2].map(
  (digits) =>
    new Intl.NumberFormat("en", {
      style: "percent",
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    }),
);
const signed = { maximumFractionDigits: 1, signDisplay: "exceptZero" };
const change = new Intl.NumberFormat("en", { ...signed, style: "percent" });
const points = new Intl.NumberFormat("en", { ...signed, maximumFractionDigits: 2 });

const orNothing = (value, format) => (value === null || value === undefined ? NOTHING : format(value));

export function count(value) {
  return orNothing(value, whole.format);
}

/** Numbers of 1,000 and more all have one decimal, so that "4.0K" lines up with "4.1K". */
export function shortCount(value) {
  return orNothing(value, (number) => (number < 1_000 ? whole : short).format(number));
}

export function ratio(value) {
  return orNothing(value, percents[2].format);
}

/** The change between two numbers, such as "+4.0%", "+0.12 points" or "12 times as many"; "" if that means nothing. */
export function changeText(now, before, isRate) {
  if (now === null || now === undefined || before === null || before === undefined) return "";
  if (isRate) return `${points.format((now - before) * 100)} points`;
  if (before === 0) return now === 0 ? "" : "none before";
  const factor = now / before;
  return factor >= PERCENT_MAX ? `${whole.format(Math.round(factor))} times as many` : change.format(factor - 1);
}

export function perSecond(rate) {
  const digits = rate >= 100 || rate === 0 ? 0 : 1;
  return `${rate.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits })} / s`;
}

export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < HOUR_MS) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  return `${Math.floor(ms / HOUR_MS)} h ${Math.floor((ms % HOUR_MS) / 60_000)} min`;
}

const dateFormat = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const dayMonth = { day: "numeric", month: "short" };
const formats = {
  date: dateFormat(dayMonth),
  weekday: dateFormat({ ...dayMonth, weekday: "short" }),
  month: dateFormat({ month: "long", year: "numeric" }),
  year: dateFormat({ ...dayMonth, year: "numeric" }),
  shortMonth: dateFormat({ month: "short", year: "numeric" }),
};

export const dateText = (local) => formats.date.format(local);
export const shortMonthText = (local) => formats.shortMonth.format(local);
const weekdayText = (local) => formats.weekday.format(local);
export const clockText = (local) => new Date(local).toISOString().slice(11, 16);
export const secondsText = (local) => new Date(local).toISOString().slice(11, 19);

export function stepText(from, to, step) {
  if (step === "hour") return `${weekdayText(from)}, ${clockText(from)}–${clockText(to)}`;
  if (step === "day") return weekdayText(from);
  return step === "month" ? formats.month.format(from) : spanText(from, to);
}

export function spanText(from, to) {
  if (to - from > YEAR_SHOWN_MS) return `${formats.year.format(from)} – ${formats.year.format(to - 1)}`;
  const time = (local) => (local % DAY_MS === 0 ? "" : `, ${clockText(local)}`);
  // A whole day is named by itself, not by the midnight after it.
  const last = to % DAY_MS === 0 ? to - 1 : to;
  if (dateText(from) === dateText(last) && last - from < DAY_MS)
    return time(from) === "" && time(to) === ""
      ? weekdayText(from)
      : `${weekdayText(from)}, ${clockText(from)}–${clockText(to)}`;
  return `${weekdayText(from)}${time(from)} – ${weekdayText(last)}${time(to)}`;
}
