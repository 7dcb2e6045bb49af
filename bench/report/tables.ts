/** A run's results as tables, for the terminal, the HTML page and docs/performance.md. */
import { APPROACH_1, APPROACH_4, BARE, CLUSTERED, EMBEDDED } from "../candidates.ts";
import { cpuAt } from "../criteria.ts";
import { percentileMs } from "../load/percentiles.ts";
import type { RequestClass } from "../load/workload.ts";
import { at, byRound, type Figure, type Parts, type RateResult, type Results, sumOf } from "../results.ts";
import { figureText, medianText, ratios, spreadText, textOf } from "../statistics.ts";
import type { Judgement } from "../verdict.ts";

export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly Row[];
}

export interface Row {
  readonly cells: readonly string[];
  /** How it stands out, if it does. */
  readonly mark?: "hourglass" | "met" | "missed" | undefined;
}

export function verdictTables({ noise, gate, aims }: Judgement): Table[] {
  const bound = (value: number | undefined, isUpperBound: boolean) =>
    value === undefined ? "" : `${isUpperBound ? "≤" : "≥"} ${figureText(value)}`;
  return [
    {
      title: "The machine's own noise",
      head: ["", "measured", "bound"],
      rows: noise.map(({ name, text, bound: most, isTooNoisy }) => {
        return { cells: [name, text, most], mark: isTooNoisy ? "missed" : undefined };
      }),
    },
    {
      title: "The gate",
      head: ["", "measured", "bound", ""],
      rows: gate.map(({ criterion: { name, unit, isUpperBound, bounds }, found, isMet }) => ({
        cells: [name, measured(found, unit), bound(bounds.gate, isUpperBound), isMet ? "met" : "MISSED"],
        mark: isMet ? "met" : "missed",
      })),
    },
    {
      title: "Aims beyond the gate: they fail nothing",
      head: ["", "measured", "aim", "gap"],
      rows: aims.map(({ criterion: { name, unit, isUpperBound, bounds }, found, gap }) => ({
        cells: [name, measured(found, unit), bound(bounds.aim, isUpperBound), gapText(gap)],
        mark: gap === 0 ? "met" : undefined,
      })),
    },
  ];
}

function measured(found: Judgement["gate"][number]["found"], unit: string): string {
  return found === undefined ? "not measured" : `${spreadText(found)} ${unit}`;
}

function gapText(gap: number | undefined): string {
  if (gap === undefined) return "–";
  return gap === 0 ? "reached" : `${Math.round(gap * 100)} %`;
}

export function resultTables(results: Results): Table[] {
  const tables = [
    rateTable(results),
    maximumTable(results),
    flushTable(results),
    workTable(results),
    storageTable(results),
    killTable(results),
  ];
  return tables.filter(({ rows }) => rows.length > 0);
}

type Ran = Pick<Results["candidates"][number], "name" | "title">;

/** Includes only candidates that have the figure. */
function tableOf(
  results: Results,
  title: string,
  head: readonly string[],
  has: Figure,
  cells: (one: Ran) => readonly string[],
): Table {
  const ran = results.candidates.filter(({ name }) =>
    byRound(results, name, has).some((figure) => figure !== undefined),
  );
  return { title, head: ["", ...head], rows: ran.map((one) => rowOf(one.name, [one.title, ...cells(one)])) };
}

function rowOf(name: string, cells: readonly string[]): Row {
  return { cells, mark: name.startsWith("hourglass") ? "hourglass" : undefined };
}

export function rateTable(results: Results): Table {
  const { ratesPerS } = results.parameters;
  const rows = ratesPerS.flatMap((ratePerS) =>
    results.candidates.flatMap(({ name, title }) => {
      const of = (figure: (rate: RateResult) => number | undefined) =>
        byRound(results, name, (trial) => {
          const found = at(ratePerS, trial);
          return found && figure(found);
        });
      if (of(() => 1).every((found) => found === undefined)) return [];
      const ms = (requestClass: RequestClass, percent: 50 | 95 | 99) =>
        of(({ latencies }) => percentileMs(latencies[requestClass], percent));
      const cpu = (figure: (parts: Parts) => number) => of(({ cpuUsPerEvent }) => figure(cpuUsPerEvent));
      return rowOf(name, [
        ratePerS.toLocaleString("en-US"),
        title,
        medianText(ms("POST current", 50)),
        medianText(ms("POST current", 95)),
        textOf(ms("POST current", 99)),
        medianText(ms("POST older", 99)),
        partsText(cpu),
        textOf(cpu(sumOf)),
        textOf(ratios(cpu(sumOf), byRound(results, BARE, cpuAt(ratePerS)))),
      ]);
    }),
  );
  return {
    title: "POST at constant rates: latency from the moment each request was due, and CPU time per event",
    head: [
      ...["events/s", "server", "p50 ms", "p95", "p99", "p99, older hours"],
      ...["CPU µs: server + Redis + MySQL", "sum", "to bare"],
    ],
    rows,
  };
}

function partsText(figures: (figure: (parts: Parts) => number) => readonly (number | undefined)[]): string {
  return [({ server }: Parts) => server, ({ redis }: Parts) => redis, ({ mysql }: Parts) => mysql]
    .map((part) => medianText(figures(part)))
    .join(" + ");
}

export function maximumTable(results: Results): Table {
  const head = ["POST events/s", "to bare", "CPU µs: server + Redis + MySQL", "GET/s, current hour", "p99 of GET ms"];
  const posts: Figure = ({ maximum }) => maximum.perS;
  return tableOf(
    results,
    `The maximum, over ${results.parameters.connections} connections`,
    head,
    posts,
    ({ name }) => {
      const of = (figure: Figure) => byRound(results, name, figure);
      return [
        textOf(of(posts)),
        textOf(ratios(of(posts), byRound(results, BARE, posts))),
        partsText((part) => of(({ maximum }) => part(maximum.cpuUsPerEvent))),
        textOf(of(({ reads }) => reads?.maximumPerS)),
        textOf(of(({ reads }) => percentileMs(reads?.latencies["GET current"], 99))),
      ];
    },
  );
}

function flushTable(results: Results): Table {
  const head = ["events behind the rows", "as seconds of the load", "ms until all are rows"];
  const backlog: Figure = ({ maximum }) => maximum.flush?.backlogEvents;
  return tableOf(results, "The flush behind the maximum", head, backlog, ({ name }) => [
    textOf(byRound(results, name, backlog)),
    textOf(byRound(results, name, ({ maximum }) => maximum.flush?.lagS)),
    textOf(byRound(results, name, ({ maximum }) => maximum.flush?.drainMs)),
  ]);
}

export function workTable(results: Results): Table {
  const { manyUsers, manyStreams, batchEvents } = results.parameters;
  const number = (value: number) => value.toLocaleString("en-US");
  const head = [
    `${number(manyUsers)} users`,
    `${number(manyStreams)} streams`,
    `in batches of ${number(batchEvents)}`,
    "… until all are rows",
    "bulk insert alone, rows/s",
  ];
  const any: Figure = ({ growth, batches }) => growth?.users ?? batches?.acceptedPerS;
  return tableOf(results, "As the work grows, events/s", head, any, ({ name }) => [
    textOf(byRound(results, name, ({ growth }) => growth?.users)),
    textOf(byRound(results, name, ({ growth }) => growth?.streams)),
    textOf(byRound(results, name, ({ batches }) => batches?.acceptedPerS)),
    textOf(byRound(results, name, ({ batches }) => batches?.storedPerS)),
    textOf(byRound(results, name, ({ batches }) => batches?.bulkRowsPerS)),
  ]);
}

function storageTable(results: Results): Table {
  const parts = ["server", "redis", "mysql"] as const;
  const stores = ["redis", "mysql", "files"] as const;
  const head = [...parts.map((part) => `${part} RSS MB`), ...stores.map((store) => `${store} MB per M events`)];
  return tableOf(
    results,
    "Memory after the maximum, and storage",
    head,
    () => 1,
    ({ name }) => [
      ...parts.map((part) => medianText(byRound(results, name, ({ residentMb }) => residentMb[part]))),
      ...stores.map((store) => medianText(byRound(results, name, (trial) => trial.bytesPerMEvents[store] / 1e6))),
    ],
  );
}

function killTable(results: Results): Table {
  const head = ["acknowledged", "in doubt", "counted", "rows", "lost", "ready again after ms"];
  return tableOf(
    results,
    "Killed under load (kill -9), all rounds",
    head,
    ({ kill }) => kill?.lost,
    ({ name }) => {
      const sum = (figure: Figure) => {
        const found = byRound(results, name, figure).filter((one) => one !== undefined);
        return found.length === 0 ? "–" : found.reduce((total, one) => total + one, 0).toLocaleString("en-US");
      };
      return [
        sum(({ kill }) => kill?.acknowledged),
        sum(({ kill }) => kill?.inDoubt),
        sum(({ kill }) => kill?.counted),
        sum(({ kill }) => kill?.rows),
        sum(({ kill }) => kill?.lost),
        textOf(byRound(results, name, ({ kill }) => kill?.restartMs)),
      ];
    },
  );
}

/** Where it was measured, a line each. */
export function machineLines({ machine, parameters, durationS, startedAt, commit }: Results): string[] {
  const { rounds, phaseMs, connections } = parameters;
  const roundsText = rounds === 1 ? "one round" : `medians of ${rounds} rounds (least … most)`;
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, ${machine.system}`,
    `Bun ${machine.bun}, Redis ${machine.redis}, MariaDB ${machine.mariaDb}`,
    `${startedAt.slice(0, 10)}, commit ${commit}, ${Math.round(durationS / 60)} minutes; ` +
      `${roundsText}, ${phaseMs / 1_000} s a measurement, ${connections} connections`,
  ];
}

const KEEPS: Readonly<Record<string, string>> = {
  [BARE]: "nothing",
  [EMBEDDED]: "rows, counts, users; exactly once",
  [CLUSTERED]: "rows, counts, users; exactly once",
  [APPROACH_4]: "counts and users of 24 hours",
  [APPROACH_1]: "rows, which each read counts",
};
/** For readers who do not know the candidates. */
const SUMMARY_TITLES: Readonly<Record<string, string>> = { [APPROACH_4]: "comparison: counters and sketches in Redis" };
const SUMMARY_RATE_PER_S = 5_000;

/** The few figures that README shows. */
export function summaryTable(results: Results): Table {
  const rows = Object.entries(KEEPS).flatMap(([name, keeps]) => {
    const of = (figure: Figure) => byRound(results, name, figure);
    const ran = results.candidates.find((one) => one.name === name);
    if (ran === undefined) return [];
    const ms = (percent: 50 | 99): Figure => {
      return (trial) => percentileMs(at(SUMMARY_RATE_PER_S, trial)?.latencies["POST current"], percent);
    };
    const maximum = medianText(of((trial) => trial.maximum.perS));
    const cpu = medianText(of(cpuAt(SUMMARY_RATE_PER_S)));
    const title = SUMMARY_TITLES[name] ?? ran.title;
    return rowOf(name, [title, medianText(of(ms(50))), medianText(of(ms(99))), cpu, maximum, keeps]);
  });
  const head = ["server", "p50 ms", "p99 ms", "CPU µs per event", "maximum events/s", "keeps"];
  return { title: "At 5,000 events/s", head, rows };
}
