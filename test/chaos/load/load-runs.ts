/**
 * Runs one load after the other on a site, and judges all that they sent: each acknowledged event has one row, each
 * refused one none. Events are numbered, and users' names end with the number.
 */
import { Latencies } from "../../../src/runtime/latencies.ts";
import { type LoadResult, type Requests, type RunningLoad, startLoad } from "../../harness/load/http-load.ts";
import { ACKNOWLEDGED, Outcomes } from "../../harness/load/outcomes.ts";
import { type ChaosSite, portsOf } from "../site/chaos-site.ts";
import { tallyProblems, tallyRows } from "./numbered-rows.ts";

export interface LoadRunOptions {
  readonly connections: number;
  readonly seconds: number;
  /** If it is left out, each connection sends as soon as it can. */
  readonly ratePerS?: number;
}

export interface LoadRun extends LoadResult {
  /** Latencies of acknowledgements. */
  readonly latencies: Latencies;
}

/** How long requests in flight may take at the end. */
const LAST_ANSWERS_S = 30;
const TIME_DIGITS = "0".repeat(13);
const NUMBER_DIGITS = "0".repeat(10);

export class LoadRuns {
  readonly #site: ChaosSite;
  readonly #hour: number;
  readonly #outcomes = new Map<string, Outcomes>();
  #load: RunningLoad | undefined;

  constructor(site: ChaosSite, hour: number) {
    this.#site = site;
    this.#hour = hour;
  }

  async run({ connections, seconds, ratePerS }: LoadRunOptions): Promise<LoadRun> {
    const prefix = `${String.fromCharCode(97 + this.#outcomes.size)}-`;
    this.#load = startLoad({
      ports: portsOf(this.#site),
      ...{ connections, seconds, ratePerS, graceS: LAST_ANSWERS_S, isOverload: true },
      requests: numberedRequests(prefix, this.#hour),
    });
    const result = await this.#load.result;
    this.#outcomes.set(prefix, new Outcomes(result.outcomes));
    const latencies = new Latencies();
    for (let number = 0; number < result.sent; number++) {
      if (result.outcomes[number] === ACKNOWLEDGED) latencies.add(result.latenciesMs[number]!);
    }
    return { ...result, latencies };
  }

  /** Once all is drained. */
  async judge(): Promise<{ rows: number; problems: string[] }> {
    const tallies = await tallyRows(this.#site, this.#outcomes);
    const problems = [...tallies].flatMap(([prefix, tally]) => tallyProblems(`run ${prefix}`, tally));
    const rows = tallies.values().reduce((sum, tally) => sum + tally.rows, 0);
    const stored = await this.#site.cold.countEvents();
    if (stored !== rows) problems.push(`${stored - rows} rows are of nobody's events`);
    return { rows, problems };
  }

  async close(): Promise<void> {
    this.#load?.stop();
    await this.#load?.result.catch(() => {});
  }
}

/** One click and two impressions, in turn. */
function numberedRequests(prefix: string, firstTime: number): Requests {
  const texts = ["click", "impression", "impression"].map((kind) => {
    const target = `/analytics?timestamp=${TIME_DIGITS}&user=${prefix}${NUMBER_DIGITS}&${kind}`;
    return `POST ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
  });
  const starts = new Uint32Array(texts.length + 1);
  for (const [n, text] of texts.entries()) starts[n + 1] = starts[n]! + text.length;
  const behind = (name: string) => Uint32Array.from(texts, (text, n) => starts[n]! + text.indexOf(name) + name.length);
  return {
    bytes: Buffer.from(texts.join("")),
    starts,
    timeAt: behind("timestamp="),
    numberAt: behind(`user=${prefix}`),
    firstTime,
  };
}
