/* Draws a series and the earlier one with uPlot: with a tooltip, zoom by dragging, and keys. */
import { element, setText } from "./dom.js";
import { clockText, dateText, shortMonthText, stepText } from "./format.js";
import { METRICS } from "./metrics.js";
import { DAY_MS } from "./time.js";

const DRAG_MIN_PX = 8;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const ZOOM_STEPS = 4;
const TOOLTIP_GAP_PX = 14;
const LINE_SPACE_PX = 56;
const MONTH_MIN_S = 28 * 86_400;
const COUNT_STEP_MIN = 1;
const RATE_STEP_MIN = 0.0001;
const { uPlot } = globalThis;

export class Chart {
  #place;
  #onZoom;
  #onZoomOut;
  #tooltip = element("div", { className: "tooltip", "aria-hidden": "true", hidden: true });
  #soFar = element("div", { className: "so-far", "aria-hidden": "true" }, "so far");
  #spoken;
  #plot;
  #shown;
  #index;

  /** `place`: takes keys. `spoken`: where screen readers read the point selected with a key. */
  constructor(place, spoken, { onZoom, onZoomOut }) {
    this.#place = place;
    this.#spoken = spoken;
    this.#onZoom = onZoom;
    this.#onZoomOut = onZoomOut;
    place.addEventListener("keydown", (event) => this.#key(event));
    place.addEventListener("blur", () => this.#point(undefined));
    new ResizeObserver(() => this.#isSeen && this.#plot?.setSize(this.#size())).observe(place);
    addEventListener("themechange", () => this.#draw());
  }

  /** `rows`: each with the earlier row that it is compared with. `isOpen`: the last row is not over yet. */
  show(shown) {
    const isSameShape =
      this.#plot !== undefined &&
      this.#shown.metric === shown.metric &&
      this.#shown.step === shown.step &&
      this.#shown.zone === shown.zone &&
      this.#shown.rows.length === shown.rows.length;
    this.#shown = shown;
    if (isSameShape) this.#plot.setData(dataOf(shown));
    else this.#draw();
    if (this.#index !== undefined) this.#point(this.#index);
  }

  get #isSeen() {
    return this.#place.clientWidth > 0;
  }

  #size() {
    return { width: this.#place.clientWidth, height: this.#place.clientHeight };
  }

  #draw() {
    if (this.#shown === undefined) return;
    this.#plot?.destroy();
    this.#plot = new uPlot(this.#options(), dataOf(this.#shown), this.#place);
    this.#plot.over.append(this.#soFar, this.#tooltip);
  }

  #options() {
    const { zone } = this.#shown;
    const metric = METRICS[this.#shown.metric];
    const colours = coloursOf(this.#place);
    return {
      ...this.#size(),
      // On the right, leaves room for half of the widest time label.
      padding: [12, 32, 0, 0],
      legend: { show: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), zone.name),
      cursor: {
        y: false,
        // Snaps to the nearest row, which the tooltip describes.
        move: (plot, left, top) => [left < 0 ? left : plot.valToPos(plot.data[0][plot.posToIdx(left)], "x"), top],
        drag: { x: true, y: false, setScale: false, dist: DRAG_MIN_PX },
        points: {
          size: 9,
          width: 2,
          stroke: (_, series) => (series === 1 ? colours.before : colours.accent),
          fill: colours.card,
        },
      },
      scales: { y: { range: (plot, _, max) => [0, axisValues(max ?? 0, metric, linesMax(plot)).at(-1)] } },
      axes: [timeAxis(colours, zone), valueAxis(colours, metric)],
      series: seriesOf(colours),
      hooks: {
        setSelect: [(plot) => this.#select(plot)],
        setCursor: [({ cursor: { idx, left } }) => this.#describe(left < 0 ? undefined : idx)],
        draw: [() => this.#markOpen()],
      },
    };
  }

  #select(plot) {
    const { left, width } = plot.select;
    if (width < DRAG_MIN_PX) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    const { rows } = this.#shown;
    const first = plot.posToIdx(left);
    const last = plot.posToIdx(left + width);
    this.#zoomTo(rows[first].fromMs, rows[last].toMs);
  }

  #zoomTo(from, to) {
    const { rows } = this.#shown;
    if (from === rows[0].fromMs && to === rows.at(-1).toMs) return;
    this.#point(undefined);
    this.#onZoom(from, to);
  }

  #name({ fromMs, toMs }) {
    const { zone, step } = this.#shown;
    return stepText(zone.localOf(fromMs), zone.localOf(toMs), step);
  }

  #positionOf(row) {
    const x = this.#plot.valToPos(row.fromMs / 1_000, "x");
    return { x, y: this.#plot.valToPos(METRICS[this.#shown.metric].of(row) ?? 0, "y") };
  }

  /** Draws the step that is not over yet as a separate point: a line to it would look like a decline. */
  #markOpen() {
    const { rows, isOpen } = this.#shown;
    this.#soFar.hidden = !isOpen || rows.length < 2;
    if (this.#soFar.hidden) return;
    const { x, y } = this.#positionOf(rows.at(-1));
    this.#soFar.style.transform = `translate(calc(${x}px - 100% - 8px), calc(${y}px - 100%))`;
  }

  #describe(index) {
    const row = index === undefined || index === null ? undefined : this.#shown.rows[index];
    this.#tooltip.hidden = row === undefined;
    if (row === undefined) return;
    const { noun, of, text } = METRICS[this.#shown.metric];
    const isOpen = this.#shown.isOpen && index === this.#shown.rows.length - 1;
    const lines = [
      element("b", {}, this.#name(row)),
      element("span", { className: "tooltip-now" }, `${text(of(row))} ${noun}${isOpen ? " so far" : ""}`),
    ];
    if (row.before !== undefined) {
      const [from, to] = [Date.parse(row.before.from), Date.parse(row.before.to)];
      const then = this.#name({ fromMs: from, toMs: to });
      lines.push(element("span", { className: "tooltip-before" }, `${text(of(row.before))} ${then}`));
    }
    this.#tooltip.replaceChildren(...lines);
    this.#placeTooltip(this.#positionOf(row));
  }

  /** Keeps it within the plot and off the point that it describes. */
  #placeTooltip({ x, y }) {
    const { clientWidth, clientHeight } = this.#plot.over;
    const { offsetWidth, offsetHeight } = this.#tooltip;
    const isRight = x > clientWidth / 2;
    const left = isRight ? x - offsetWidth - TOOLTIP_GAP_PX : x + TOOLTIP_GAP_PX;
    const within = Math.max(0, Math.min(left, clientWidth - offsetWidth));
    const top = y > clientHeight / 2 ? TOOLTIP_GAP_PX : clientHeight - offsetHeight - TOOLTIP_GAP_PX;
    this.#tooltip.style.transform = `translate(${within}px, ${top}px)`;
  }

  #point(index) {
    this.#index = index;
    if (this.#plot === undefined) return;
    if (index === undefined) return this.#plot.setCursor({ left: -10, top: -10 });
    const { rows } = this.#shown;
    this.#index = Math.max(0, Math.min(index, rows.length - 1));
    this.#plot.setCursor({ left: this.#plot.valToPos(rows[this.#index].fromMs / 1_000, "x"), top: 10 });
  }

  #key(event) {
    if (this.#shown === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    const { rows } = this.#shown;
    const at = this.#index ?? rows.length;
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1 };
    if (event.key in moves) {
      this.#point(moves[event.key]);
      this.#speak();
    } else if (event.key === "+") this.#zoomAround(this.#index ?? rows.length - 1);
    else if (event.key === "-" || event.key === "Escape") this.#onZoomOut();
    else return;
    event.preventDefault();
  }

  #zoomAround(index) {
    const { rows } = this.#shown;
    const half = Math.max(1, Math.floor(rows.length / ZOOM_STEPS));
    const first = Math.max(0, Math.min(index - half, rows.length - 2 * half));
    this.#zoomTo(rows[first].fromMs, rows[Math.min(first + 2 * half, rows.length) - 1].toMs);
  }

  #speak() {
    const { rows, metric } = this.#shown;
    const { noun, of, text } = METRICS[metric];
    const row = rows[this.#index];
    const then = row.before === undefined ? "" : `, ${text(of(row.before))} in the period before`;
    setText(this.#spoken, `${this.#name(row)}: ${text(of(row))} ${noun}${then}`);
  }
}

function dataOf({ rows, metric, isOpen }) {
  const { of } = METRICS[metric];
  const values = rows.map((row) => of(row));
  const last = rows.length - 1;
  const over = isOpen ? values.with(last, null) : values;
  const open = values.map((value, i) => (isOpen && i === last ? value : null));
  const earlier = rows.map((row) => (row.before === undefined ? null : of(row.before)));
  return [rows.map(({ fromMs }) => fromMs / 1_000), earlier, over, open];
}

function seriesOf({ accent, before, fillTop, fillBottom, card }) {
  const fill = (plot) => {
    const { top, height } = plot.bbox;
    const gradient = plot.ctx.createLinearGradient(0, top, 0, top + height);
    gradient.addColorStop(0, fillTop);
    gradient.addColorStop(1, fillBottom);
    return gradient;
  };
  const points = { show: false };
  return [
    {},
    { stroke: before, width: 1.5, points },
    // A single row has no line, so it needs a point.
    { stroke: accent, width: 2, fill, points: { show: (plot) => plot.data[0].length === 1, size: 8 } },
    { stroke: accent, width: 0, points: { show: true, size: 9, width: 2, fill: card } },
  ];
}

function timeAxis({ muted, line }, zone) {
  return {
    stroke: muted,
    font: FONT,
    grid: { show: false },
    ticks: { stroke: line, width: 1, size: 5 },
    border: { show: true, stroke: line, width: 1 },
    size: 34,
    gap: 6,
    space: 72,
    incrs: [1, 2, 3, 6, 12, 24, 48, 72, 120, 168, 336, 720, 1_440].map((hours) => hours * 3_600),
    values: (_, splits, __, ___, incr) =>
      splits.map((seconds) => {
        const local = zone.localOf(seconds * 1_000);
        if (incr >= MONTH_MIN_S) return shortMonthText(local);
        return (local % DAY_MS === 0 ? dateText : clockText)(local);
      }),
  };
}

const linesMax = (plot) => Math.max(2, Math.floor(plot.height / LINE_SPACE_PX));

function valueAxis({ muted, line }, metric) {
  return {
    splits: (plot, _, __, max) => axisValues(max, metric, linesMax(plot)),
    stroke: muted,
    font: FONT,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    size: 54,
    gap: 8,
    values: (_, splits) => axisTexts(splits, metric),
  };
}

/** Colours from the style sheet, since a canvas takes no variables. */
function coloursOf(place) {
  const style = getComputedStyle(place);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    accent: of("accent"),
    before: of("before"),
    fillTop: of("fill-top"),
    fillBottom: of("fill-bottom"),
    muted: of("muted"),
    line: of("line"),
    card: of("card"),
  };
}

/** The values on an axis: from 0 to the first round number that reaches the highest value. */
export function axisValues(max, { isRate }, linesMax) {
  const rough = Math.max(isRate ? RATE_STEP_MIN : COUNT_STEP_MIN, max / linesMax);
  const power = 10 ** Math.floor(Math.log10(rough));
  // Rounding: 2.9999999 lines of a step count as three.
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough * (1 - 1e-9));
  const count = Math.max(1, Math.ceil(max / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

/** Uses as few decimals as distinguish all values, the same number for each. */
export function axisTexts(values, { isRate }) {
  const sets = [0, 1, 2].map((digits) => values.map((value) => textOf(value, digits, isRate)));
  return sets.find((texts, digits) => texts.every((text, i) => isExact(values[i], text, digits, isRate))) ?? sets[2];
}

function textOf(value, digits, isRate) {
  const decimals = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  if (isRate) return value.toLocaleString("en", value === 0 ? { style: "percent" } : { style: "percent", ...decimals });
  return value.toLocaleString("en", value < 1_000 ? {} : { notation: "compact", ...decimals });
}

function isExact(value, text, digits, isRate) {
  return Number.parseFloat(text) === Number.parseFloat(textOf(value, digits + 2, isRate));
}
