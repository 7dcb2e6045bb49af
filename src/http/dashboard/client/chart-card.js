/* The series of a stream: as a chart or a table, with its sums, and its states (none yet, none at all, failed). */
import { Chart } from "./chart.js";
import { byId, element, setText } from "./dom.js";
import { changeText, count, METRICS, ratio, secondsText, spanText, stepText } from "./format.js";
import { ALL_STREAMS } from "./view-state.js";

const PROBLEMS = {
  hot_store_away: "The hot store is away, and the cold store can't tell.",
  cold_store_away: "The cold store is away: what is older than the hot store's hours can't be read now.",
  overloaded: "Many ask at the same time just now.",
  unreachable: "The service does not answer.",
};

export class ChartCard {
  #chart;
  #state;
  #found;
  #isTable = false;
  /** Who reads the chart by keys goes on in the next one. */
  #hadFocus = false;

  constructor(handlers) {
    this.#chart = new Chart(byId("plot"), byId("spoken"), handlers);
    byId("table-toggle").addEventListener("click", () => {
      this.#isTable = !this.#isTable;
      byId("table-toggle").setAttribute("aria-pressed", String(this.#isTable));
      this.#render();
    });
  }

  /** Of another question: what is shown is not its answer. */
  load(state) {
    this.#state = state;
    this.#found = undefined;
    this.#hadFocus ||= document.activeElement === byId("plot");
    byId("chart-card").setAttribute("aria-busy", "true");
    this.#title();
    this.#sums("");
    this.#show("loading");
  }

  /** The same numbers by another metric. */
  restate(state) {
    this.#state = state;
    this.#title();
    if (this.#found !== undefined) this.#render();
  }

  /** `now`: the period; `before`: the one before it. */
  found({ now, before, isDegraded, atMs }) {
    this.#found = { rows: rowsOf(now), before: rowsOf(before), now, earlier: before, atMs };
    byId("chart-card").setAttribute("aria-busy", "false");
    setText(byId("chart-fault"), isDegraded ? "Events that are not in the cold store yet may be missing." : "");
    this.#render();
  }

  failed(error) {
    byId("chart-card").setAttribute("aria-busy", "false");
    const text = PROBLEMS[error.code] ?? error.message;
    if (this.#found === undefined) {
      setText(byId("error-text"), text);
      return this.#show("error");
    }
    setText(byId("chart-fault"), `${text} These are the numbers of ${secondsText(this.#found.atMs)} UTC.`);
  }

  /** The hour that is still open, as it is now. */
  update({ stream, hour }) {
    if (this.#found === undefined || hour === null || this.#state.step !== "hour") return;
    if (stream !== this.#state.stream) return;
    const { rows } = this.#found;
    const last = rows.at(-1);
    const isSame = last.clicks === hour.clicks && last.impressions === hour.impressions;
    if (last.fromMs !== Date.parse(hour.from) || (isSame && last.unique_users === hour.unique_users)) return;
    const { clicks, impressions, ctr, unique_users } = hour;
    const total = this.#found.now.total;
    const more = {
      clicks: total.clicks + clicks - last.clicks,
      impressions: total.impressions + impressions - last.impressions,
    };
    Object.assign(total, more, { ctr: more.impressions === 0 ? null : more.clicks / more.impressions });
    Object.assign(last, { clicks, impressions, ctr, unique_users });
    this.#render();
  }

  #title() {
    const { metric, step } = this.#state;
    setText(byId("chart-title"), `${METRICS[metric].label} per ${step}`);
  }

  #sums(span) {
    setText(byId("chart-span"), span || "\u00a0");
    const place = byId("chart-sums");
    if (this.#found === undefined) return place.replaceChildren("\u00a0");
    const { label, of, text } = METRICS[this.#state.metric];
    const [now, then] = [of(this.#found.now.total), of(this.#found.earlier.total)];
    const change = changeText(now, then);
    const legend = (name, value) =>
      element("span", { className: `legend legend-${name}` }, element("b", {}, value), name === "now" ? "" : " before");
    place.replaceChildren(
      legend("now", text(now)),
      legend("before", text(then)),
      ...(change === "" ? [] : [element("span", { className: "change" }, change)]),
    );
    place.setAttribute("aria-label", `${label}: ${text(now)}, ${text(then)} in the period before`);
  }

  #render() {
    if (this.#found === undefined) return;
    const { rows, before, now } = this.#found;
    const [from, to] = [Date.parse(now.from), Date.parse(now.to)];
    this.#sums(spanText(from, to));
    const isEmpty = rows.every(({ clicks, impressions }) => clicks + impressions === 0);
    const wasEmpty = before.every(({ clicks, impressions }) => clicks + impressions === 0);
    if (isEmpty && wasEmpty) return this.#showEmpty();
    this.#show(this.#isTable ? "table" : "chart");
    if (this.#isTable) return this.#fillTable();
    if (this.#hadFocus && document.activeElement === document.body) byId("plot").focus();
    this.#hadFocus = false;
    const { metric, step, stream } = this.#state;
    this.#chart.show({ rows, before, metric, step, isOpen: to > this.#found.atMs });
    const { noun, of, text } = METRICS[metric];
    const name = stream === ALL_STREAMS ? "all streams" : stream;
    byId("plot").setAttribute(
      "aria-label",
      `Chart: ${noun} of ${name} per ${step}, ${spanText(from, to)}, in all ${text(of(now.total))}`,
    );
  }

  #showEmpty() {
    const { stream } = this.#state;
    const name = stream === ALL_STREAMS ? "any stream" : stream.replace(/\*$/, "…");
    setText(byId("empty-text"), `No events of ${name} in this time, or in as long before it.`);
    const parameter = stream.endsWith("*") ? "" : `&stream=${stream}`;
    const address = `${new URL("analytics", document.baseURI)}?timestamp=$(date +%s000)&user=ann&click${parameter}`;
    setText(byId("empty-command"), `curl -i -X POST "${address}"`);
    this.#show("empty");
  }

  #show(state) {
    byId("chart-card").dataset.state = state;
    for (const name of ["loading", "empty", "error", "table"]) byId(`chart-${name}`).hidden = name !== state;
    byId("plot").hidden = state !== "chart";
  }

  #fillTable() {
    const { rows, before } = this.#found;
    const { metric, step } = this.#state;
    const { label, of, text } = METRICS[metric];
    const cell = (value) => element("td", {}, value);
    const header = (value) => element("th", { scope: "col" }, value);
    byId("chart-table-head").replaceChildren(
      ...[step === "day" ? "Day" : "Hour", "Clicks", "Impressions", "CTR", "Unique users", `${label} before`].map(
        header,
      ),
    );
    const lines = rows.map((row, i) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, stepText(row.fromMs, row.toMs, step)),
        ...[count(row.clicks), count(row.impressions), ratio(row.ctr), count(row.unique_users)].map(cell),
        cell(before[i] === undefined ? "–" : text(of(before[i]))),
      ),
    );
    // What is newest is asked for most.
    byId("chart-table-body").replaceChildren(...lines.reverse());
  }
}

function rowsOf({ rows }) {
  return rows.map((row) => ({ ...row, fromMs: Date.parse(row.from), toMs: Date.parse(row.to) }));
}
