/* Numbers and times for people. Times are UTC throughout, as the hours that are counted by are. */
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const NOTHING = "–";

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat("en", {
  style: "percent",
  minimumFractionDigits: 2,
  maximumFractionDigits: 2,
});
const roughPercent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const change = new Intl.NumberFormat("en", {
  style: "percent",
  maximumFractionDigits: 1,
  signDisplay: "exceptZero",
});

export const METRICS = {
  clicks: { label: "Clicks", noun: "clicks", of: (sums) => sums.clicks, text: count, axis: shortCount },
  impressions: {
    label: "Impressions",
    noun: "impressions",
    of: (sums) => sums.impressions,
    text: count,
    axis: shortCount,
  },
  ctr: { label: "CTR", noun: "CTR", of: (sums) => sums.ctr, text: ratio, axis: roughRatio },
  unique_users: {
    label: "Unique users",
    noun: "unique users",
    of: (sums) => sums.unique_users,
    text: count,
    axis: shortCount,
  },
};

export function count(value) {
  return value === null || value === undefined ? NOTHING : whole.format(value);
}

export function shortCount(value) {
  return value === null || value === undefined ? NOTHING : short.format(value);
}

export function ratio(value) {
  return value === null || value === undefined ? NOTHING : percent.format(value);
}

export function roughRatio(value) {
  return value === null || value === undefined ? NOTHING : roughPercent.format(value);
}

/** From one number to another: "+12 %", or nothing if there was nothing before. */
export function changeText(now, before) {
  if (!before || now === null || now === undefined) return "";
  return change.format(now / before - 1);
}

export function perSecond(rate) {
  if (rate === null) return "";
  const digits = rate >= 100 || rate === 0 ? 0 : 1;
  return `${rate.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits })} / s`;
}

export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  if (ms < HOUR_MS) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  return `${Math.floor(ms / HOUR_MS)} h ${Math.floor((ms % HOUR_MS) / 60_000)} min`;
}

const dateFormat = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });
const weekdayFormat = new Intl.DateTimeFormat("en-GB", {
  timeZone: "UTC",
  weekday: "short",
  day: "numeric",
  month: "short",
});

export const dateText = (at) => dateFormat.format(at);
export const weekdayText = (at) => weekdayFormat.format(at);
export const clockText = (at) => new Date(at).toISOString().slice(11, 16);
export const secondsText = (at) => new Date(at).toISOString().slice(11, 19);

/** A step of a series. */
export function stepText(from, to, step) {
  if (step === "day") return weekdayText(from);
  return `${weekdayText(from)}, ${clockText(from)}–${clockText(to)}`;
}

export function spanText(from, to) {
  const time = (at) => (at % DAY_MS === 0 ? "" : `, ${clockText(at)}`);
  // A day that is whole is named by itself, not by the midnight after it.
  const last = to % DAY_MS === 0 ? to - 1 : to;
  return `${dateText(from)}${time(from)} – ${dateText(last)}${time(to)} UTC`;
}
