/* A series and the one before it, drawn by uPlot: with a tooltip, zoom by dragging, and keys. */
import { element, setText } from "./dom.js";
import { clockText, DAY_MS, dateText, METRICS, ratio, stepText } from "./format.js";

const DRAG_MIN_PX = 8;
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
const ZOOM_STEPS = 4;
const { uPlot } = globalThis;

export class Chart {
  #place;
  #onZoom;
  #onZoomOut;
  #tooltip = element("div", { className: "tooltip", "aria-hidden": "true", hidden: true });
  #spoken;
  #plot;
  #shown;
  #index;

  /** `place`: takes keys. `spoken`: where what a key leads to is told. `onZoom(from, to)`, `onZoomOut()`. */
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

  /** `rows` and `before`: of the same length; `isOpen`: the last row is not over yet. */
  show(shown) {
    const isSameShape =
      this.#plot !== undefined &&
      this.#shown.metric === shown.metric &&
      this.#shown.step === shown.step &&
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
    this.#plot.over.append(this.#tooltip);
  }

  #options() {
    const { metric } = this.#shown;
    const colours = coloursOf(this.#place);
    return {
      ...this.#size(),
      padding: [12, 20, 0, 0],
      legend: { show: false },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), "Etc/UTC"),
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: DRAG_MIN_PX },
        points: {
          size: 9,
          width: 2,
          stroke: (_, series) => (series === 1 ? colours.before : colours.accent),
          fill: colours.card,
        },
      },
      scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [timeAxis(colours), valueAxis(colours, METRICS[metric])],
      series: seriesOf(colours),
      hooks: {
        setSelect: [(plot) => this.#select(plot)],
        setCursor: [({ cursor: { idx, left } }) => this.#tell(left < 0 ? undefined : idx)],
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

  #tell(index) {
    const row = index === undefined || index === null ? undefined : this.#shown.rows[index];
    this.#tooltip.hidden = row === undefined;
    if (row === undefined) return;
    const { metric, step, before } = this.#shown;
    const { noun, of, text } = METRICS[metric];
    this.#tooltip.replaceChildren(
      element("b", {}, stepText(row.fromMs, row.toMs, step)),
      element("span", { className: "tooltip-now" }, `${text(of(row))} ${noun}`),
      element("span", { className: "tooltip-before" }, `${text(before[index] && of(before[index]))} before`),
    );
    const x = this.#plot.valToPos(row.fromMs / 1_000, "x");
    const isRight = x > this.#plot.over.clientWidth / 2;
    this.#tooltip.style.transform = `translate(calc(${x}px ${isRight ? "- 100% - 14px" : "+ 14px"}), 8px)`;
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
    const { rows, before, metric, step } = this.#shown;
    const { noun, of, text } = METRICS[metric];
    const row = rows[this.#index];
    const earlier = before[this.#index];
    const then = earlier === undefined ? "" : `, ${text(of(earlier))} in the period before`;
    setText(this.#spoken, `${stepText(row.fromMs, row.toMs, step)}: ${text(of(row))} ${noun}${then}`);
  }
}

/** The step that is not over yet has a line of its own, as it will still grow. */
function dataOf({ rows, before, metric, isOpen }) {
  const { of } = METRICS[metric];
  const values = rows.map((row) => of(row));
  const last = rows.length - 1;
  const over = isOpen && last > 0 ? values.with(last, null) : values;
  const open = values.map((value, i) => (isOpen && i >= last - 1 ? value : null));
  const earlier = rows.map((_, i) => (before[i] === undefined ? null : of(before[i])));
  return [rows.map(({ fromMs }) => fromMs / 1_000), earlier, over, open];
}

function seriesOf({ accent, before, fillTop, fillBottom }) {
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
    // A single row has no line.
    { stroke: accent, width: 2, fill, points: { show: (plot) => plot.data[0].length === 1, size: 8 } },
    { stroke: accent, width: 2, dash: [3, 4], fill, points },
  ];
}

function timeAxis({ muted, line }) {
  return {
    stroke: muted,
    font: FONT,
    grid: { show: false },
    ticks: { stroke: line, width: 1, size: 5 },
    border: { show: true, stroke: line, width: 1 },
    size: 34,
    gap: 6,
    space: 72,
    incrs: [1, 2, 3, 6, 12, 24, 48, 72, 120, 168, 336, 720].map((hours) => hours * 3_600),
    values: (_, splits) =>
      splits.map((seconds) => ((seconds * 1_000) % DAY_MS === 0 ? dateText : clockText)(seconds * 1_000)),
  };
}

/** A count has no half steps. */
const COUNT_STEPS = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();

function valueAxis({ muted, line }, { axis, text }) {
  return {
    ...(text === ratio ? {} : { incrs: COUNT_STEPS }),
    stroke: muted,
    font: FONT,
    grid: { stroke: line, width: 1 },
    ticks: { show: false },
    size: 54,
    gap: 8,
    space: 48,
    values: (_, splits) => splits.map((value) => axis(value)),
  };
}

/** As the style sheet has them: a canvas takes no variables. */
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
