/** Parses PromQL with Prometheus' own grammar: the metrics and labels that it asks for. */
import type { LRParser } from "@lezer/lr";

export interface Selector {
  readonly metric: string;
  /** That it matches, or that are grouped by around it. */
  readonly labels: readonly string[];
}

/** Made by functions, and by no metric. */
const MADE = new Set(["le"]);

/** Throws if it is no PromQL. */
export function selectorsOf(parser: LRParser, expr: string): Selector[] {
  const found: { metric: string; labels: string[]; from: number; to: number }[] = [];
  const groups: { labels: string[]; from: number; to: number }[] = [];
  parser.parse(expr).iterate({
    enter: ({ type, node, from, to }) => {
      if (type.isError) throw new Error(`'${expr}' is no PromQL: at character ${from}`);
      const names = (of: string) => labelsBelow(node, of, expr);
      if (type.name === "VectorSelector") {
        const metric = node.getChild("Identifier");
        if (metric === null) throw new Error(`'${expr}' asks for no metric by its name`);
        found.push({ metric: expr.slice(metric.from, metric.to), labels: names("LabelMatchers"), from, to });
      }
      // "without" may name labels that not all have.
      const isBy = type.name === "AggregateExpr" && node.getChild("AggregateModifier")?.getChild("By");
      if (isBy) groups.push({ labels: names("AggregateModifier"), from, to });
    },
  });
  for (const { labels, from, to } of groups) {
    for (const selector of found) if (selector.from >= from && selector.to <= to) selector.labels.push(...labels);
  }
  return found.map(({ metric, labels }) => ({ metric, labels: labels.filter((label) => !MADE.has(label)) }));
}

interface Node {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  getChild(name: string): Node | null;
  readonly firstChild: Node | null;
  readonly nextSibling: Node | null;
}

function labelsBelow(node: Node, name: string, text: string): string[] {
  const top = node.getChild(name);
  return top === null ? [] : labelsIn(top, text);
}

function labelsIn(node: Node, text: string): string[] {
  if (node.name === "LabelName") return [text.slice(node.from, node.to)];
  const labels: string[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) labels.push(...labelsIn(child, text));
  return labels;
}
