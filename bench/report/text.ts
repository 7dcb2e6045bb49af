/** A run's results for a terminal, the verdict first. */
import { failures, type Results } from "../results.ts";
import { judgementOf } from "../verdict.ts";
import { machineLines, resultTables, type Table, verdictTables } from "./tables.ts";

export function resultsText(results: Results): string {
  const judgement = judgementOf(results);
  const failed = failures(results).map((failure) => ({ cells: [failure] }));
  const tables = [...verdictTables(judgement), ...resultTables(results), { title: "Failures", head: [], rows: failed }];
  const sections = tables.filter(({ rows }) => rows.length > 0).flatMap((table) => ["", ...tableLines(table)]);
  return [judgement.text, ...machineLines(results), ...sections].join("\n");
}

/** The first column to the left, the others to the right. */
function tableLines({ title, head, rows }: Table): string[] {
  const lines = [head, ...rows.map(({ cells }) => cells)];
  const columns = Math.max(...lines.map((line) => line.length));
  const widths = Array.from({ length: columns }, (_, column) => {
    return Math.max(...lines.map((line) => line[column]?.length ?? 0));
  });
  const aligned = lines.map((line) => {
    const cells = line.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!)));
    return `  ${cells.join("  ").trimEnd()}`;
  });
  return [title, ...aligned];
}
