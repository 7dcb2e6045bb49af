/**
 * The charts of the report, drawn in the browser by uPlot from the results that the page brings along. Plain
 * JavaScript, since the project's types know nothing of a browser.
 */
import uPlot from "uplot";

const WIDTH = 960;
const HEIGHT = 380;
/** Told apart by those who see no red or green, too (P. Tol's "muted", and three more). */
const COLOURS = [
  "#332288",
  "#88ccee",
  "#44aa99",
  "#117733",
  "#999933",
  "#ddcc77",
  "#cc6677",
  "#882255",
  "#aa4499",
  "#555555",
  "#ee7733",
];

const { results, percentiles } = JSON.parse(document.getElementById("data").textContent);
const ran = results.candidates.filter(({ rounds }) => rounds.some(Boolean));

function medianOf(candidate, figure) {
  const found = candidate.rounds.flatMap((trial) => (trial ? (figure(trial) ?? []) : []));
  if (found.length === 0) return null;
  const sorted = found.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

function draw(title, options, data) {
  const place = document.createElement("div");
  place.className = "chart";
  document.getElementById("charts").append(place);
  new uPlot({ title, width: WIDTH, height: HEIGHT, ...options }, data, place);
}

/** Candidates along the x axis, by their number. */
function candidateAxis() {
  const splits = ran.map((_, n) => n);
  return {
    splits: () => splits,
    values: () => ran.map(({ name }) => name),
    rotate: -30,
    size: 110,
    grid: { show: false },
  };
}

function barOptions(label, series) {
  return {
    scales: {
      x: { time: false, range: () => [-0.6, ran.length - 0.4] },
      y: { range: (_, __, max) => [0, max * 1.05] },
    },
    axes: [candidateAxis(), { label, size: 80 }],
    // The last label reaches beyond its bar.
    padding: [null, 100, null, null],
    cursor: { show: false },
    legend: { live: false },
    series: [{}, ...series],
  };
}

function bars(width, align) {
  return uPlot.paths.bars({ size: [width, 100], align });
}

function drawThroughput() {
  const mixes = results.parameters.mixes;
  const width = 0.8 / mixes.length;
  // Each mix has its own x, a little beside the candidate's: uPlot wants all series on one, so gaps are null.
  const xs = ran.flatMap((_, n) => mixes.map((__, m) => n + (m - (mixes.length - 1) / 2) * width));
  const series = mixes.map((mix, m) =>
    ran.flatMap((one) =>
      mixes.map((_, k) => (k === m ? medianOf(one, ({ maximum }) => maximum[mix]?.requestsPerS) : null)),
    ),
  );
  const options = mixes.map((label, m) => ({
    label,
    fill: COLOURS[m * 2],
    paths: bars(0.95, 0),
    points: { show: false },
  }));
  draw("Maximum, by mix of POST:GET", barOptions("requests/s", options), [xs, ...series]);
}

/** One on top of the other: the highest sum is drawn first, and the lower ones over it. */
function drawCpu() {
  const parts = ["server", "redis", "mysql"];
  const of = (one, part) => medianOf(one, ({ maximum }) => maximum["100:0"]?.cpuUsPerRequest[part]) ?? 0;
  const sums = parts.map((_, n) =>
    ran.map((one) => parts.slice(0, n + 1).reduce((sum, part) => sum + of(one, part), 0)),
  );
  const options = parts.map((part, n) => ({
    label: { server: "server", redis: "+ Redis", mysql: "+ MySQL" }[part],
    fill: COLOURS[n * 2],
    paths: bars(0.6, 0),
    points: { show: false },
  }));
  const xs = ran.map((_, n) => n);
  draw("CPU per event, posts alone", barOptions("µs", options.reverse()), [xs, ...sums.reverse()]);
}

/** Along x: how many requests there are to one that took longer, on a logarithmic scale. */
function drawLatencies(share, requestClass) {
  const shown = percentiles.filter((percent) => percent > 0 && percent < 100);
  const xs = shown.map((percent) => 1 / (1 - percent / 100));
  const curves = ran.map((one) =>
    shown.map((percent) =>
      medianOf(one, ({ latencies }) => {
        const found = latencies.find((latency) => latency.share === share)?.classes[requestClass];
        if (!found || found.count * (1 - percent / 100) < 1) return null;
        return found.ms[percentiles.indexOf(percent)];
      }),
    ),
  );
  if (curves.every((curve) => curve.every((point) => point === null))) return;
  const options = {
    height: 460,
    scales: { x: { time: false, distr: 3 }, y: { distr: 3 } },
    axes: [
      {
        splits: () => [2, 10, 100, 1000, 10000],
        // Or those that are no powers of ten would have no label.
        filter: (_, splits) => splits,
        values: (_, splits) => splits.map((split) => `p${Number((100 - 100 / split).toPrecision(6))}`),
      },
      { label: "ms", size: 70 },
    ],
    series: [
      {
        label: "percentile",
        value: (_, x) => (x === null ? "" : `p${Number((100 - 100 / x).toPrecision(6))}`),
      },
      ...ran.map(({ title }, n) => ({
        label: title,
        stroke: COLOURS[n % COLOURS.length],
        width: title.startsWith("Hourglass") ? 3 : 1.5,
        value: (_, ms) => (ms === null ? "–" : `${ms.toFixed(2)} ms`),
      })),
    ],
  };
  draw(`Latency at ${share * 100} % of each one's maximum: ${requestClass}`, options, [xs, ...curves]);
}

drawThroughput();
drawCpu();
for (const share of results.parameters.latencyShares) {
  for (const requestClass of ["POST current", "POST older", "GET current", "GET older"]) {
    drawLatencies(share, requestClass);
  }
}
