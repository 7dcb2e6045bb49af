/**
 * Writes a run's results into the project's documents: each table goes between the comments that name it, such as
 * `<!-- bench: rates -->` and `<!-- /bench -->`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROJECT_ROOT } from "../../test/harness/project/project-files.ts";
import type { Results } from "../results.ts";
import { judgementOf } from "../verdict.ts";
import { machineLines, maximumTable, rateTable, summaryTable, type Table, verdictTables, workTable } from "./tables.ts";

export const PAGES = ["docs/performance.md", "README.md"];
const ENVIRONMENT = { ...process.env, PATH: `${join(PROJECT_ROOT, "node_modules", ".bin")}:${process.env["PATH"]}` };
const SECTION = /(<!-- bench: ([a-z]+) -->\n).*?(<!-- \/bench -->)/gs;

/** Answers the pages that it has written. */
export function writePages(results: Results): string[] {
  for (const page of PAGES) {
    const path = join(PROJECT_ROOT, page);
    writeFileSync(path, withSections(readFileSync(path, "utf8"), results));
  }
  // Aligns the tables.
  Bun.spawnSync(["biome", "format", "--write", ...PAGES], { cwd: PROJECT_ROOT, stdout: "ignore", env: ENVIRONMENT });
  return PAGES;
}

export function withSections(page: string, results: Results): string {
  const sections = sectionsOf(results);
  return page.replace(SECTION, (_, start, name, end) => {
    const section = sections[name];
    if (section === undefined) throw new Error(`<!-- bench: ${name} --> names no section`);
    return `${start}\n${section}\n\n${end}`;
  });
}

function sectionsOf(results: Results): Readonly<Record<string, string>> {
  const judgement = judgementOf(results);
  const [noise, gate, aims] = verdictTables(judgement).map(markdownTable);
  return {
    machine: [...machineLines(results), `${judgement.text}.`].map((line) => `- ${line}`).join("\n"),
    noise: noise!,
    gate: gate!,
    aims: aims!,
    rates: markdownTable(rateTable(results)),
    maximum: markdownTable(maximumTable(results)),
    work: markdownTable(workTable(results)),
    summary: markdownTable(summaryTable(results)),
  };
}

function markdownTable({ head, rows }: Table): string {
  const lines = rows.map(({ cells }) => cells.map((cell) => cell.replace(/^Hourglass.*/, "**$&**")));
  return [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
