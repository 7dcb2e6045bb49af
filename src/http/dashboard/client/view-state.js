/* The state of the page, stored in its address: everybody who opens the address sees the same. */
import { choicesOf } from "./dom.js";
import { count } from "./format.js";
import { METRICS } from "./metrics.js";
import { defaultStep, floorHour, HOUR_MS, isStepFitting, RANGES, Zone } from "./time.js";

export const ALL_STREAMS = "*";
/** The service sends its rules with the page. */
const STREAM = new RegExp(document.body.dataset.streamPattern);
export const PERIOD_MAX_HOURS = Number(document.body.dataset.rangeMaxHours);
const STEPS = choicesOf("step");
const CHOICES = {
  range: Object.keys(RANGES),
  metric: Object.keys(METRICS),
  order: Object.keys(METRICS),
  compare: choicesOf("compare"),
  week_start: choicesOf("week_start"),
};
const DEFAULTS = { stream: ALL_STREAMS, tz: "UTC" };
for (const [name, [first]] of Object.entries(CHOICES)) DEFAULTS[name] = first;

/** `zoom`: {from, to}, or undefined for the range. `faults`: ignored parameters, each explained in a sentence. */
export function readState(query) {
  const given = new URLSearchParams(query);
  const faults = [];
  const refuse = (name, expected) => {
    faults.push(`${name}=${given.get(name)} is not ${expected}.`);
  };
  const state = {};
  for (const [name, values] of Object.entries(CHOICES)) {
    const value = given.get(name);
    if (value !== null && !values.includes(value)) refuse(name, `one of ${values.join(", ")}`);
    state[name] = values.includes(value) ? value : DEFAULTS[name];
  }
  const stream = given.get("stream") ?? DEFAULTS.stream;
  if (!STREAM.test(stream)) refuse("stream", "the name of a stream or a branch");
  state.stream = STREAM.test(stream) ? stream : DEFAULTS.stream;
  const zone = Zone.named(given.get("tz") ?? DEFAULTS.tz);
  if (zone === undefined) refuse("tz", "a time zone");
  state.zone = zone ?? Zone.named(DEFAULTS.tz);
  state.zoom = zoomOf(given.get("from"), given.get("to"));
  if (state.zoom === undefined && given.has("from"))
    refuse("from", `a time before to, by at most ${count(PERIOD_MAX_HOURS)} hours`);
  const step = given.get("step");
  if (step !== null && !STEPS.includes(step)) refuse("step", `one of ${STEPS.join(", ")}`);
  state.step = STEPS.includes(step) ? step : defaultStep(state.range, state.zoom);
  return { ...withFittingStep(state), faults };
}

function zoomOf(fromText, toText) {
  const from = floorHour(Date.parse(fromText ?? ""));
  const to = floorHour(Date.parse(toText ?? "") + HOUR_MS - 1);
  return from >= 0 && to > from && to - from <= PERIOD_MAX_HOURS * HOUR_MS ? { from, to } : undefined;
}

export function queryOf(state) {
  const query = new URLSearchParams();
  const texts = { ...state, tz: state.zone.name };
  for (const name of ["stream", "metric", "order", "compare", "week_start", "tz"])
    if (texts[name] !== DEFAULTS[name]) query.set(name, texts[name]);
  if (state.zoom !== undefined) {
    query.set("from", isoMinute(state.zoom.from));
    query.set("to", isoMinute(state.zoom.to));
  }
  if (state.range !== DEFAULTS.range) query.set("range", state.range);
  if (state.step !== defaultStep(state.range, state.zoom)) query.set("step", state.step);
  const text = query.toString().replaceAll("%3A", ":").replaceAll("*", "%2A").replaceAll("%2F", "/");
  return text === "" ? "" : `?${text}`;
}

export const isoMinute = (at) => `${new Date(at).toISOString().slice(0, 16)}Z`;

export function withFittingStep(state) {
  if (isStepFitting(state.step, state, Date.now())) return state;
  return { ...state, step: defaultStep(state.range, state.zoom) };
}
