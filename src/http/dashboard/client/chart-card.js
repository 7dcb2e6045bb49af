/* The series of a stream as a chart or table, with its sums and states (loading, empty, failed). */

import { Chart } from "./chart.js";
import { byId, element, setText } from "./dom.js";
import { changeText, clockText, NOTHING, secondsText, spanText, stepText } from "./format.js";
import { METRICS } from "./metrics.js";
import { ALL_STREAMS } from "./view-state.js";

export class ChartCard {
  #chart;
  #state;
  #found;
  #isTable = false;
  /** Whether the chart had the focus, so that a keyboard user continues in the next chart. */
  #hadFocus = false;

  constructor(handlers) {
    this.#chart = new Chart(byId("plot"), byId("spoken"), handlers);
    byId("table-toggle").addEventListener("click", () => {
      this.#isTable = !this.#isTable;
      byId("table-toggle").setAttribute("aria-pressed", String(this.#isTable));
      this.#render();
    });
    byId("copy").addEventListener("click", () => copy(byId("empty-command"), byId("copy")));
  }

  /** Another series was requested: the one that is shown does not belong to this state. */
  load(state) {
    this.#state = state;
    this.#found = undefined;
    this.#hadFocus ||= document.activeElement === byId("plot");
    byId("chart-card").setAttribute("aria-busy", "true");
    this.#title();
    setText(byId("chart-span"), "");
    byId("chart-sums").replaceChildren();
    this.#show("loading");
  }

  /** Shows the same numbers by another metric. */
  restate(state) {
    this.#state = state;
    this.#title();
    this.#render();
  }

  /**
   * `now` and `before`: the series of the period and of the earlier one. `compared`: their totals by whole hours, up to
   * `wholeTo`; undefined if no hour is over. `earlier(at)`: the earlier time that `at` is compared with.
   */
  found(found) {
    const { now, before, earlier } = found;
    const earlierRows = new Map(before.rows.map((row) => [Date.parse(row.from), row]));
    // Weeks of different years begin on different dates; hours that clocks skip have no counterpart.
    const inOrder = this.#state.step === "hour" ? [] : before.rows;
    const rows = now.rows.map((row, i) => {
      const [fromMs, toMs] = [Date.parse(row.from), Date.parse(row.to)];
      return { ...row, fromMs, toMs, before: earlierRows.get(earlier(fromMs)) ?? inOrder[i] };
    });
    this.#found = { ...found, rows };
    byId("chart-card").setAttribute("aria-busy", "false");
    const note = "Acknowledged events may be missing from these counts.";
    setText(byId("chart-fault"), found.isDegraded ? note : "");
    this.#render();
  }

  failed(error) {
    byId("chart-card").setAttribute("aria-busy", "false");
    if (this.#found === undefined) {
      setText(byId("error-text"), error.message);
      return this.#show("error");
    }
    const at = this.#state.zone.localOf(this.#found.atMs);
    setText(byId("chart-fault"), `${error.message} (these are the numbers of ${secondsText(at)})`);
  }

  /** Updates the current hour. */
  update({ stream, hour }) {
    if (this.#found === undefined || hour === null || this.#state.step !== "hour") return;
    if (stream !== this.#state.stream) return;
    const last = this.#found.rows.at(-1);
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

  #span(from, to) {
    const { zone } = this.#state;
    return spanText(zone.localOf(from), zone.localOf(to));
  }

  #sums() {
    const { now, compared, wholeTo, earlier, from, to } = this.#found;
    const { label, of, text, isRate } = METRICS[this.#state.metric];
    setText(byId("chart-span"), `${this.#span(from, to)} (${this.#state.zone.name})`);
    const legend = (name, ...parts) => element("span", { className: `legend legend-${name}` }, ...parts);
    const total = text(of(now.total));
    const place = byId("chart-sums");
    if (compared === undefined) {
      place.replaceChildren(legend("now", element("b", {}, total)));
      return place.setAttribute("aria-label", `${label}: ${total}`);
    }
    const [nowSum, thenSum] = [of(compared.now), of(compared.before)];
    const then = this.#span(earlier(from), earlier(wholeTo));
    const until = wholeTo < to ? `, up to ${clockText(this.#state.zone.localOf(wholeTo))}` : "";
    const change = changeText(nowSum, thenSum, isRate);
    place.replaceChildren(
      legend("now", element("b", {}, total)),
      ...(change === "" ? [] : [element("span", { className: "change" }, `${change}${until}`)]),
      legend("before", element("b", {}, text(thenSum)), ` ${then}`),
    );
    place.setAttribute("aria-label", `${label}: ${total}${until}: ${text(nowSum)}, and ${text(thenSum)} ${then}`);
  }

  #render() {
    if (this.#found === undefined) return;
    const { rows, before, now, from, to, wholeTo } = this.#found;
    this.#sums();
    const isEmpty = [now, before].every(({ total }) => total.clicks + total.impressions === 0);
    if (isEmpty) return this.#showEmpty();
    this.#show(this.#isTable ? "table" : "chart");
    if (this.#isTable) return this.#fillTable();
    if (this.#hadFocus && document.activeElement === document.body) byId("plot").focus();
    this.#hadFocus = false;
    const { metric, step, stream, zone } = this.#state;
    this.#chart.show({ rows, metric, step, zone, isOpen: wholeTo < to });
    const { noun, of, text } = METRICS[metric];
    const name = stream === ALL_STREAMS ? "all streams" : stream;
    byId("plot").setAttribute(
      "aria-label",
      `Chart: ${noun} of ${name} per ${step}, ${this.#span(from, to)}, total ${text(of(now.total))}`,
    );
  }

  #showEmpty() {
    const { stream } = this.#state;
    const name = stream === ALL_STREAMS ? "" : ` of ${stream}`;
    setText(byId("empty-text"), `No events${name} in this period or the one before.`);
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
    const { rows, wholeTo } = this.#found;
    const { metric, step, zone } = this.#state;
    const { label, of, text } = METRICS[metric];
    const cell = (value) => element("td", {}, value);
    const metrics = Object.values(METRICS);
    const titles = [step, ...metrics.map((each) => each.label), `${label} before`];
    byId("chart-table-head").replaceChildren(...titles.map((title) => element("th", { scope: "col" }, title)));
    const lines = rows.map((row) => {
      const name = stepText(zone.localOf(row.fromMs), zone.localOf(row.toMs), step);
      return element(
        "tr",
        {},
        element("th", { scope: "row" }, row.toMs > wholeTo ? `${name}, so far` : name),
        ...metrics.map((each) => cell(each.text(each.of(row)))),
        cell(row.before === undefined ? NOTHING : text(of(row.before))),
      );
    });
    // The newest row is read most.
    byId("chart-table-body").replaceChildren(...lines.reverse());
  }
}

async function copy(source, button) {
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // Without HTTPS there is no clipboard: select the text, to be copied by hand.
    getSelection().selectAllChildren(source);
    return setText(button, "Selected");
  }
  setText(button, "Copied");
}
