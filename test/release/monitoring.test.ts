/** The alerts and the dashboard only use metrics and labels that /metrics has. */
import { beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parser } from "@prometheus-io/lezer-promql";
import { createApp } from "../../src/http/app.ts";
import { ClientAddresses } from "../../src/http/requests/client-address.ts";
import { BrokerSource } from "../../src/intake/broker-source.ts";
import type { MessageIntake } from "../../src/intake/message-intake.ts";
import { Metrics } from "../../src/runtime/metrics.ts";
import { readConfig } from "../../src/settings/read-config.ts";
import { ColdUnavailableError } from "../../src/store/cold.ts";
import { StoreWatch } from "../../src/store/store-watch.ts";
import { pipelineModes } from "../harness/pipeline/pipeline-harness.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { selectorsOf } from "../harness/project/promql.ts";

const DEPLOY = join(PROJECT_ROOT, "deploy");
/** Prometheus' own. */
const OF_PROMETHEUS = new Map([
  ["up", new Set<string>()],
  ["ALERTS", new Set(["alertname", "alertstate", "severity"])],
]);
/** Added to each sample where it is scraped, or by several workers. */
const OF_EACH = ["job", "instance", "worker"];

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
}

const rules = await alertRules();
const dashboard = (await Bun.file(join(DEPLOY, "grafana/dashboards/hourglass.json")).json()) as Dashboard;

async function alertRules(): Promise<readonly Rule[]> {
  const file = Bun.YAML.parse(await Bun.file(join(DEPLOY, "prometheus/alerts.yml")).text());
  return (file as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules);
}

/** The query of each alert and panel, with Grafana's variables filled in. */
function questions(): Map<string, string> {
  const filled = (expr: string) => expr.replaceAll("$__rate_interval", "5m");
  const targets = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }, i) => [`${title}, ${i}`, filled(expr)] as const),
  );
  const annotations = dashboard.annotations.list.map(({ expr }) => ["annotation", expr] as const);
  return new Map([...rules.map(({ alert, expr }) => [alert, expr] as const), ...targets, ...annotations]);
}

/** Labels by sample name, from a service in which everything has happened once. */
async function exportedLabels(): Promise<Map<string, Set<string>>> {
  const mode = pipelineModes()[0]!;
  const site = await mode.open();
  const { pipeline, log } = await site.start();
  const hot = new StoreWatch("hot", log);
  const broken = hot.watched({ read: () => Promise.reject(new ColdUnavailableError("away")) });
  await broken.read().catch(() => {});
  const siblings = { worker: 0, count: 1, share: () => {}, ask: async () => [] };
  const source = new BrokerSource({
    ...{ name: "kafka", description: "a topic", log, intake: {} as MessageIntake },
    newSession: () => Promise.reject(new Error("it is never started")),
  });
  const app = createApp({
    ...{ pipeline, log, siblings, stores: [hot], metrics: new Metrics(), now: site.clock.now },
    ...{
      sharesPort: false,
      idleTimeoutS: 30,
      sources: [source],
      browserSettings: readConfig({}),
      addresses: new ClientAddresses(0, log),
    },
  });
  const target = `http://localhost/analytics?timestamp=${site.clock.now()}&user=u&click`;
  expect((await app.handle(new Request(target, { method: "POST" }))).status).toBe(204);
  const text = await (await app.handle(new Request("http://localhost/metrics"))).text();
  await site.close();
  await mode.end();
  return labelsIn(text);
}

function labelsIn(text: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const line of text.split("\n")) {
    const [, name, labels = ""] = /^([a-z]\w*)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === undefined) continue;
    const names = found.get(name) ?? new Set();
    found.set(name, names);
    for (const [, label] of labels.matchAll(/(\w+)="[^"]*"/g)) names.add(label!);
  }
  return found;
}

describe("alerts and dashboard", () => {
  let exported: Map<string, Set<string>>;

  beforeAll(async () => {
    exported = new Map([...(await exportedLabels()), ...OF_PROMETHEUS]);
  });

  function faultsOf(expr: string): string[] {
    return selectorsOf(parser, expr).flatMap(({ metric, labels }) => {
      const known = exported.get(metric);
      if (known === undefined) return [`no metric ${metric}`];
      const strange = labels.filter((label) => !known.has(label) && !OF_EACH.includes(label));
      return strange.map((label) => `${metric} has no label ${label}`);
    });
  }

  test("ask for what is exported", () => {
    const faults = Array.from(questions(), ([what, expr]) => faultsOf(expr).map((fault) => `${what}: ${fault}`));
    expect(faults.flat()).toEqual([]);
    expect(questions().size).toBeGreaterThan(40);
  });

  test("would be found out if they did not", () => {
    expect(faultsOf("rate(hourglass_events_acceptd_total[5m])")).toEqual(["no metric hourglass_events_acceptd_total"]);
    expect(faultsOf('hourglass_store_up{shop="hot"}')).toEqual(["hourglass_store_up has no label shop"]);
    expect(faultsOf("sum by (route, colour) (hourglass_http_requests_total)")).toEqual([
      "hourglass_http_requests_total has no label colour",
    ]);
    expect(() => faultsOf("sum by (instance (up)")).toThrow("is no PromQL");
  });

  test("say what is wrong and what to do", () => {
    for (const { alert, labels, annotations } of rules) {
      expect([alert, labels.severity]).toEqual([alert, expect.stringMatching(/^(page|ticket)$/)]);
      for (const text of [annotations.summary, annotations.description]) expect(text.length).toBeGreaterThan(20);
    }
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
  });

  test("are all listed for operators, and so are the metrics", async () => {
    const page = (name: string) => Bun.file(join(PROJECT_ROOT, "docs", name)).text();
    const [docs, ofSources] = [await page("operations.md"), await page("queue.md")];
    for (const { alert } of rules) expect(docs).toContain(`\`${alert}\``);
    const own = Array.from(exported.keys(), (name) => name.replace(/_(bucket|sum|count)$/, ""));
    const missing = own
      .filter((name) => name.startsWith("hourglass_"))
      .filter((name) => {
        if (name.startsWith("hourglass_source_")) return !ofSources.includes(`\`${name}{`);
        return !docs.includes(`\`${name}\``) && !docs.includes(`\`…${name.slice("hourglass".length)}\``);
      });
    expect(Array.from(new Set(missing))).toEqual([]);
  });

  test("the panels say what they show, and lie beside each other", () => {
    const taken = new Set<string>();
    for (const { title, type, description, gridPos, targets = [] } of dashboard.panels) {
      if (type !== "row") expect([title, description?.length ?? 0, targets.length]).not.toContain(0);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect([title, taken.has(`${x} ${y}`), x < 24]).toEqual([title, false, true]);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });
});

interface Mounts {
  readonly services: Readonly<Record<string, { readonly volumes: readonly string[]; readonly profiles?: string[] }>>;
}

describe("the profile for monitoring", async () => {
  const text = await Bun.file(join(PROJECT_ROOT, "docker-compose.yml")).text();
  const { services } = Bun.YAML.parse(text) as Mounts;
  const { prometheus, grafana, kafka, ...others } = services;

  test("starts both, and only when it is asked for", () => {
    for (const service of [prometheus!, grafana!]) expect(service.profiles).toEqual(["monitoring"]);
    expect(kafka!.profiles).toEqual(["kafka"]);
    for (const service of Object.values(others)) expect(service.profiles).toBeUndefined();
  });

  test("puts files where they are looked for", async () => {
    const mounted = [prometheus!, grafana!].flatMap(({ volumes }) => volumes.filter((v) => v.startsWith("./")));
    for (const volume of mounted) expect(existsSync(join(PROJECT_ROOT, volume.split(":")[0]!))).toBe(true);
    const provider = await Bun.file(join(DEPLOY, "grafana/provisioning/dashboards/hourglass.yml")).text();
    const [{ options }] = (Bun.YAML.parse(provider) as { providers: [{ options: { path: string } }] }).providers;
    expect(grafana!.volumes).toContain(`./deploy/grafana/dashboards:${options.path}:ro`);
    const scrapes = Bun.YAML.parse(await Bun.file(join(DEPLOY, "prometheus/prometheus.yml")).text());
    expect(scrapes).toMatchObject({
      rule_files: ["alerts.yml"],
      scrape_configs: [{ job_name: "hourglass", static_configs: [{ targets: ["hourglass:7777"] }] }, {}],
    });
  });
});
