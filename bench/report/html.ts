/**
 * A run's results as one HTML file that works offline, the verdict first.
 * Invariant: it refers to nothing outside of itself and needs no script.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { percentileMs } from "../load/percentiles.ts";
import { at, byRound, type Figure, failures, type Parts, type Results } from "../results.ts";
import { figureText, spreadOf } from "../statistics.ts";
import { judgementOf } from "../verdict.ts";
import { machineLines, resultTables, type Table, verdictTables } from "./tables.ts";

export function resultsHtml(results: Results): string {
  const judgement = judgementOf(results);
  const [noise, ...verdicts] = verdictTables(judgement);
  const details = [...verdicts, ...resultTables(results)];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Hourglass benchmark, ${escaped(results.startedAt.slice(0, 10))}</title>
<style>${readFileSync(join(import.meta.dir, "page.css"), "utf8")}</style>
</head>
<body>
<main>
<h1>Hourglass benchmark</h1>
<p class="verdict ${judgement.outcome}">${escaped(judgement.text)}</p>
<p class="machine">${machineLines(results).map(escaped).join("<br>")}</p>
${failures(results)
  .map((failure) => `<p class="verdict failed">${escaped(failure)}</p>`)
  .join("\n")}
${tableHtml(noise!)}
${charts(results)}
${details.map(tableHtml).join("\n")}
</main>
</body>
</html>
`;
}

function tableHtml({ title, head, rows }: Table): string {
  const cells = (tag: "th" | "td", texts: readonly string[]) =>
    texts.map((text) => `<${tag}>${escaped(text)}</${tag}>`).join("");
  const body = rows.map(({ cells: texts, mark = "" }) => `<tr class="${mark}">${cells("td", texts)}</tr>`);
  return `<section><h2>${escaped(title)}</h2><div class="scroll"><table>
<thead><tr>${cells("th", head)}</tr></thead>
<tbody>${body.join("\n")}</tbody>
</table></div></section>`;
}

interface Bar {
  readonly name: string;
  readonly title: string;
  /** One behind the other. */
  readonly parts: readonly number[];
}

function charts(results: Results): string {
  const { ratesPerS } = results.parameters;
  const shown = ratesPerS.filter((ratePerS) => ratePerS >= 2_000 || ratesPerS.length < 3);
  const rateCharts = shown.flatMap((ratePerS) => {
    const rate = ratePerS.toLocaleString("en-US");
    const p99: Figure = (trial) => percentileMs(at(ratePerS, trial)?.latencies["POST current"], 99);
    const cpu =
      (part: keyof Parts): Figure =>
      (trial) =>
        at(ratePerS, trial)?.cpuUsPerEvent[part];
    return [
      barChart(`p99 of POST at ${rate} events/s, ms`, bars(results, [p99])),
      barChart(
        `CPU per event at ${rate} events/s, µs`,
        bars(results, [cpu("server"), cpu("redis"), cpu("mysql")]),
        PARTS,
      ),
    ];
  });
  const maximum = bars(results, [({ maximum: { perS } }) => perS]);
  return `<div class="charts">${[...rateCharts, barChart("The maximum, POST events/s", maximum)].join("\n")}</div>`;
}

const PARTS = ["server", "Redis", "MySQL"];

/** Medians. A candidate without the first figure has no bar. */
function bars(results: Results, figures: readonly Figure[]): Bar[] {
  return results.candidates.flatMap(({ name, title }) => {
    const parts = figures.map((figure) => spreadOf(byRound(results, name, figure))?.median);
    return parts[0] === undefined ? [] : { name, title, parts: parts.map((part) => part ?? 0) };
  });
}

function barChart(title: string, all: readonly Bar[], legend: readonly string[] = []): string {
  const total = ({ parts }: Bar) => parts.reduce((sum, part) => sum + part, 0);
  const largest = Math.max(...all.map(total), Number.MIN_VALUE);
  const rows = all.map((bar) => {
    const pieces = bar.parts.map((part, n) => {
      return `<span class="part-${n}" style="width:${((part / largest) * 100).toFixed(2)}%"></span>`;
    });
    const kind = bar.name.startsWith("hourglass") ? "hourglass" : "other";
    return `<div class="bar ${kind}"><span class="label">${escaped(bar.title)}</span>
<span class="track">${pieces.join("")}</span><span class="value">${figureText(total(bar))}</span></div>`;
  });
  const keys = legend.map((text, n) => `<span class="key"><i class="part-${n}"></i>${escaped(text)}</span>`);
  return `<section class="chart"><h2>${escaped(title)}</h2>
${rows.join("\n")}
<p class="legend">${keys.join("")}</p></section>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
