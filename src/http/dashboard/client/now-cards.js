/* The current hour in four cards, each with a graph of the last minute. */
import { byId, setText } from "./dom.js";
import { clockText, count, perSecond } from "./format.js";
import { METRICS } from "./metrics.js";
import { HOUR_MS } from "./time.js";

const SPARK_POINTS = 60;
const SPARK_WIDTH = 120;
const SPARK_HEIGHT = 28;
/** Rates average over these seconds: those of single seconds jump too much to be read. */
const RATE_SECONDS = 5;

export class NowCards {
  #history = [];

  reset() {
    this.#history = [];
    for (const metric of Object.keys(METRICS)) {
      setText(byId(`now-${metric}`), "–");
      setText(byId(`now-${metric}-note`), "");
      byId(`spark-${metric}`).setAttribute("points", "");
    }
    byId("now").dataset.state = "loading";
  }

  show({ at, hour, history = [] }, zone) {
    byId("now").dataset.state = hour === null ? "away" : "ready";
    if (hour === null) return;
    const atMs = Date.parse(at);
    const fromMs = Date.parse(hour.from);
    const earlier = history.map((point) => ({ atMs: Date.parse(point.at), hour: { ...hour, ...point } }));
    if (this.#history.length === 0) this.#history = earlier;
    const last = this.#history.at(-1);
    if (last !== undefined && last.hour.from !== hour.from) this.#history = [];
    this.#history.push({ atMs, hour });
    if (this.#history.length > SPARK_POINTS + 1) this.#history.shift();
    const local = zone.localOf(fromMs);
    setText(byId("now-span"), `${clockText(local)}–${clockText(local + HOUR_MS)}`);
    const passed = Math.min(1, (atMs - fromMs) / HOUR_MS);
    byId("hour-progress").value = passed;
    const left = Math.max(1, Math.ceil(((1 - passed) * HOUR_MS) / 60_000));
    setText(byId("hour-left"), `${left} min left`);
    for (const [metric, { of, text }] of Object.entries(METRICS)) {
      setText(byId(`now-${metric}`), text(of(hour)));
      setText(byId(`now-${metric}-note`), this.#noteOf(metric, hour));
      byId(`spark-${metric}`).setAttribute("points", this.#sparkOf(metric));
    }
  }

  #noteOf(metric, { clicks, impressions }) {
    if (metric === "ctr" && impressions === 0) return "no impressions";
    if (metric === "ctr") return `${count(clicks)} of ${count(impressions)}`;
    const rate = this.#rateOf(metric);
    if (rate === null) return "";
    return metric === "unique_users" ? `${perSecond(rate)} new` : perSecond(rate);
  }

  #rateOf(metric) {
    const now = this.#history.at(-1);
    const before = this.#history.at(-1 - RATE_SECONDS) ?? this.#history[0];
    if (before === now) return null;
    const { of } = METRICS[metric];
    return Math.max(0, ((of(now.hour) - of(before.hour)) * 1_000) / (now.atMs - before.atMs));
  }

  /** Counts are plotted as arrivals per second, ratios unchanged. */
  #sparkOf(metric) {
    const { of, isRate } = METRICS[metric];
    const values = this.#history.map(({ hour }) => of(hour) ?? 0);
    const shown = isRate ? values : values.slice(1).map((value, i) => Math.max(0, value - values[i]));
    if (shown.length < 2) return "";
    const [low, high] = isRate ? [Math.min(...shown), Math.max(...shown)] : [0, Math.max(...shown)];
    const yOf = (value) => (high === low ? 0 : (value - low) / (high - low)) * (SPARK_HEIGHT - 4);
    const xOf = (i) => SPARK_WIDTH - ((shown.length - 1 - i) * SPARK_WIDTH) / (SPARK_POINTS - 1);
    return shown.map((value, i) => `${xOf(i).toFixed(1)},${(SPARK_HEIGHT - 2 - yOf(value)).toFixed(1)}`).join(" ");
  }
}
