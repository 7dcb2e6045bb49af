/** A run's results as tables for a terminal. */
import { percentileMs } from "../load/percentiles.ts";
import { type MixName, REQUEST_CLASSES } from "../load/workload.ts";
import {
  type BatchRound,
  byRound,
  type CandidateResults,
  GROWTH_BASE,
  latencyAt,
  type Parts,
  type Results,
  sumOf,
  type TrialResult,
} from "../results.ts";
import { figureText, ratios, spreadOf, spreadText } from "../statistics.ts";
import { judge, verdictText } from "../targets.ts";

/** Above it something else ran, which took its share from whom it happened to hit. */
const QUIET_LOAD = 0.5;

type Figure = (trial: TrialResult) => number | undefined;

export function resultsText(results: Results): string {
  const { machine, parameters, drivers, durationS } = results;
  const { rounds, phaseMs, connections } = parameters;
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}`,
    `load average before it began: ${figureText(machine.loadAverage)}${busyNote(machine)}`,
    `Bun ${machine.bun}, Redis ${machine.redis}, MariaDB ${machine.mariaDb}`,
    `${rounds} rounds, ${phaseMs / 1_000} s a measurement, ${connections} connections; ${durationS} s in all`,
    `maximum by ${drivers.saturation}, latencies by ${drivers.constantRate}`,
    `medians of all rounds (least … most)`,
    ...section("Maximum, requests/s (POST:GET)", throughputTable(results)),
    ...section("CPU µs per event: server + Redis + MySQL", cpuTable(results)),
    ...parameters.latencyShares.flatMap((share) =>
      section(
        `Latency at ${share * 100} % of its own maximum, ms: p50 / p90 / p99 / p99.9`,
        latencyTable(results, share),
      ),
    ),
    ...section("Flush behind the answers", flushTable(results)),
    ...section("Memory and storage", storageTable(results)),
    ...section("Killed under load (kill -9), all rounds", killTable(results)),
    ...section("As the work grows, Hourglass on Redis + MySQL", growthTable(results)),
    ...section("Batches (POST /events), events/s", batchTable(results)),
    ...section(
      "Targets",
      judge(results).map((verdict) => [verdictText(verdict)]),
    ),
    ...section(
      "Failures",
      failures(results).map((failure) => [failure]),
    ),
  ].join("\n");
}

function busyNote({ loadAverage }: Results["machine"]): string {
  return loadAverage > QUIET_LOAD ? ": THE MACHINE WAS BUSY, these figures are not to be believed" : "";
}

function section(title: string, rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : ["", title, ...aligned(rows)];
}

/** The first column to the left, the others to the right. */
function aligned(rows: readonly (readonly string[])[]): string[] {
  const columns = Math.max(...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) => {
    return Math.max(...rows.map((row) => row[column]?.length ?? 0));
  });
  return rows.map((row) => {
    const cells = row.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!)));
    return `  ${cells.join("  ").trimEnd()}`;
  });
}

function cell(results: Results, name: string, figure: Figure): string {
  const found = spreadOf(byRound(results, name, figure));
  return found === undefined ? "–" : spreadText(found);
}

function median(results: Results, name: string, figure: Figure): string {
  const found = spreadOf(byRound(results, name, figure));
  return found === undefined ? "–" : figureText(found.median);
}

/** Of those that ran at all. */
function tableOf(results: Results, head: readonly string[], row: (one: CandidateResults) => readonly string[]) {
  const ran = results.candidates.filter(({ rounds }) => rounds.some(Boolean));
  return ran.length === 0 ? [] : [["", ...head], ...ran.map((one) => [one.title, ...row(one)])];
}

function throughputTable(results: Results) {
  const mixes = results.parameters.mixes;
  const of = (name: string, mix: MixName) => cell(results, name, ({ maximum }) => maximum[mix]?.requestsPerS);
  return tableOf(results, mixes, ({ name }) => mixes.map((mix) => of(name, mix)));
}

function cpuTable(results: Results) {
  const parts = ["server", "redis", "mysql"] as const;
  const cpu = ({ maximum }: TrialResult): Parts | undefined => maximum["100:0"]?.cpuUsPerRequest;
  return tableOf(results, ["sum", ...parts], ({ name }) => [
    cell(results, name, (trial) => cpu(trial) && sumOf(cpu(trial)!)),
    ...parts.map((part) => median(results, name, (trial) => cpu(trial)?.[part])),
  ]);
}

function latencyTable(results: Results, share: number) {
  return tableOf(results, ["rate/s", ...REQUEST_CLASSES], ({ name }) => [
    median(results, name, (trial) => latencyAt(trial, share)?.ratePerS),
    ...REQUEST_CLASSES.map((requestClass) => {
      const at = (percent: 50 | 90 | 99 | 99.9) =>
        median(results, name, (trial) => percentileMs(latencyAt(trial, share)?.classes[requestClass], percent));
      return [at(50), at(90), at(99), at(99.9)].join(" / ");
    }),
  ]);
}

function flushTable(results: Results) {
  const flush = ({ maximum }: TrialResult) => maximum["100:0"]?.flush;
  const flushing = { ...results, candidates: results.candidates.filter(hasFlush) };
  return tableOf(flushing, ["rows/s under load", "of events/s", "backlog", "drained in ms"], ({ name }) => [
    cell(results, name, (trial) => flush(trial)?.rowsPerS),
    cell(results, name, (trial) => flush(trial)?.shareOfRate),
    cell(results, name, (trial) => flush(trial)?.backlogEvents),
    cell(results, name, (trial) => flush(trial)?.drainMs),
  ]);
}

function hasFlush({ rounds }: CandidateResults): boolean {
  return rounds.some((trial) => trial?.maximum["100:0"]?.flush !== undefined);
}

function storageTable(results: Results) {
  const parts = ["server", "redis", "mysql"] as const;
  const stores = ["redis", "mysql", "files"] as const;
  const head = [...parts.map((part) => `${part} RSS MB`), ...stores.map((store) => `${store} MB per M events`)];
  return tableOf(results, head, ({ name }) => [
    ...parts.map((part) => median(results, name, ({ residentMb }) => residentMb[part])),
    ...stores.map((store) => median(results, name, ({ bytesPerMEvents }) => bytesPerMEvents[store] / 1_000_000)),
  ]);
}

function killTable(results: Results) {
  const storing = {
    ...results,
    candidates: results.candidates.filter(({ rounds }) => rounds.some((r) => r?.kill)),
  };
  return tableOf(storing, ["acknowledged", "in doubt", "counted", "rows", "lost"], ({ rounds }) => {
    const kills = rounds.flatMap((trial) => trial?.kill ?? []);
    const sum = (figure: (kill: (typeof kills)[number]) => number) => {
      return kills.reduce((total, kill) => total + figure(kill), 0).toLocaleString("en-US");
    };
    const rows = kills.some((kill) => kill.rows !== undefined) ? sum((kill) => kill.rows ?? 0) : "–";
    const columns = [sum((kill) => kill.acknowledged), sum((kill) => kill.inDoubt), sum((kill) => kill.counted)];
    return [...columns, rows, sum((kill) => kill.lost)];
  });
}

function growthTable({ growth }: Results): string[][] {
  const base = growth.find(({ name }) => name === GROWTH_BASE)?.eventsPerS ?? [];
  const rows = growth.map(({ title, eventsPerS }) => {
    const figures = eventsPerS.map((figure) => figure ?? undefined);
    const [speed, ratio] = [
      spreadOf(figures),
      spreadOf(
        ratios(
          figures,
          base.map((figure) => figure ?? undefined),
        ),
      ),
    ];
    return [title, speed ? spreadText(speed) : "–", ratio ? spreadText(ratio) : "–"];
  });
  return rows.length === 0 ? [] : [["", "events/s", "of the small case"], ...rows];
}

function batchTable({ batches }: Results): string[][] {
  const rows = batches.map(({ title, rounds }) => {
    const of = (figure: (round: BatchRound) => number | undefined) => {
      const found = spreadOf(rounds.map((round) => round && figure(round)));
      return found ? spreadText(found) : "–";
    };
    return [
      title,
      of(({ singlesPerS }) => singlesPerS),
      of(({ takenPerS }) => takenPerS),
      of(({ storedPerS }) => storedPerS),
      of(({ bulkRowsPerS }) => bulkRowsPerS),
    ];
  });
  const head = ["", "one in a request", "in batches", "until all are rows", "bulk insert alone, rows/s"];
  return rows.length === 0 ? [] : [head, ...rows];
}

export function failures({ candidates, growth, batches }: Results): string[] {
  return [...candidates, ...growth, ...batches].flatMap(({ title, failures: texts }) =>
    texts.map((text) => `${title}: ${text}`),
  );
}
