/**
 * A run's results as one HTML file that works offline: data, program and charting library (uPlot) are in it.
 * Invariant: it refers to nothing outside of itself.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PERCENTILES } from "../load/percentiles.ts";
import type { Results } from "../results.ts";
import { judge, verdictText } from "../targets.ts";
import { resultsText } from "./text.ts";

export async function resultsHtml(results: Results): Promise<string> {
  const styles = [textOf(Bun.resolveSync("uplot/dist/uPlot.min.css", import.meta.dir)), textOf(local("page.css"))];
  const data = { results, percentiles: PERCENTILES };
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hourglass benchmarks, ${escaped(results.startedAt)}</title>
<style>${styles.join("\n")}</style>
</head>
<body>
<h1>Hourglass benchmarks</h1>
<p>${escaped(results.startedAt)}. Medians of the rounds.</p>
<main id="charts"></main>
<h2>Targets</h2>
<ul id="targets">${judge(results).map(targetItem).join("")}</ul>
<h2>Tables</h2>
<pre>${escaped(resultsText(results))}</pre>
<script type="application/json" id="data">${JSON.stringify(data).replaceAll("<", "\\u003c")}</script>
<script type="module">${await pageProgram()}</script>
</body>
</html>
`;
}

function targetItem(verdict: ReturnType<typeof judge>[number]): string {
  return `<li class="${verdict.isMet ? "met" : "missed"}">${escaped(verdictText(verdict))}</li>`;
}

async function pageProgram(): Promise<string> {
  const built = await Bun.build({ entrypoints: [local("page.js")], target: "browser", minify: true });
  const program = await built.outputs[0]!.text();
  return program.replaceAll("</script", "<\\/script");
}

function local(name: string): string {
  return join(import.meta.dir, name);
}

function textOf(path: string): string {
  return readFileSync(path, "utf8");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
