/* What is shown, as the address says it: so that whoever gets the address sees the same. */
import { DAY_MS, HOUR_MS, METRICS } from "./format.js";

export const ALL_STREAMS = "*";
/** The service states the rule with the page. */
const STREAM = new RegExp(document.body.dataset.streamPattern);
const DAYS = { "24h": 1, "7d": 7, "30d": 30 };
const DEFAULT_STEPS = { "24h": "hour", "7d": "hour", "30d": "day" };
const DEFAULTS = { stream: ALL_STREAMS, range: "24h", metric: "clicks", order: "clicks" };
const ORDERS = ["clicks", "impressions", "ctr", "uniques"];
/** As many as the service answers. */
const ZOOM_MAX_MS = 5_000 * HOUR_MS;

/** `zoom`: {from, to}, or undefined for the range. What is not right is left out. */
export function readState(query) {
  const given = new URLSearchParams(query);
  const oneOf = (name, values) => (values.includes(given.get(name)) ? given.get(name) : DEFAULTS[name]);
  const range = oneOf("range", Object.keys(DAYS));
  const zoom = zoomOf(given.get("from"), given.get("to"));
  const step = ["hour", "day"].includes(given.get("step")) ? given.get("step") : defaultStep(range, zoom);
  const stream = STREAM.test(given.get("stream") ?? "") ? given.get("stream") : DEFAULTS.stream;
  const metric = oneOf("metric", Object.keys(METRICS));
  return withFittingStep({ stream, range, zoom, step, metric, order: oneOf("order", ORDERS) });
}

function zoomOf(fromText, toText) {
  const from = floorHour(Date.parse(fromText ?? ""));
  const to = floorHour(Date.parse(toText ?? ""));
  return from >= 0 && to > from && to - from <= ZOOM_MAX_MS ? { from, to } : undefined;
}

const floorHour = (at) => at - (at % HOUR_MS);

export function queryOf(state) {
  const query = new URLSearchParams();
  for (const name of ["stream", "metric", "order"]) if (state[name] !== DEFAULTS[name]) query.set(name, state[name]);
  if (state.zoom !== undefined) {
    query.set("from", isoHour(state.zoom.from));
    query.set("to", isoHour(state.zoom.to));
  }
  if (state.range !== DEFAULTS.range) query.set("range", state.range);
  if (state.step !== defaultStep(state.range, state.zoom)) query.set("step", state.step);
  const text = query.toString().replaceAll("%3A", ":").replaceAll("*", "%2A");
  return text === "" ? "" : `?${text}`;
}

export const isoHour = (at) => `${new Date(at).toISOString().slice(0, 16)}Z`;

export function defaultStep(range, zoom) {
  if (zoom === undefined) return DEFAULT_STEPS[range];
  return zoom.to - zoom.from > 10 * DAY_MS ? "day" : "hour";
}

/** A day is no step of a day. */
export function isDayStepFitting({ range, zoom }) {
  return zoom === undefined ? range !== "24h" : zoom.to - zoom.from >= 2 * DAY_MS;
}

export function withFittingStep(state) {
  return state.step === "day" && !isDayStepFitting(state) ? { ...state, step: "hour" } : state;
}

/** The hours that are shown, and as many before them. By days the range begins with a day. */
export function periodOf({ range, zoom, step }, now) {
  if (zoom !== undefined) return { ...zoom, before: zoom.from - (zoom.to - zoom.from) };
  const lengthMs = DAYS[range] * DAY_MS;
  const to = floorHour(now) + HOUR_MS;
  const from = step === "day" ? now - (now % DAY_MS) + DAY_MS - lengthMs : to - lengthMs;
  return { from, to, before: from - lengthMs };
}
