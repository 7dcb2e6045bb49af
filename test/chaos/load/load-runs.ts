/**
 * One run of the load generator after the other on a site, and the verdict over all that they sent: each event
 * that was acknowledged has one row, each that was refused none.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Latencies } from "../../../src/runtime/latencies.ts";
import { type ChaosSite, portsOf } from "../site/chaos-site.ts";
import { type Outcomes, readOutcomes } from "../verdict/outcomes.ts";
import { type ChildProgram, startChild } from "./child-program.ts";
import type { LoadGeneratorOptions, LoadGeneratorResult } from "./load-generator.ts";
import { tallyProblems, tallyRows } from "./numbered-rows.ts";

export interface LoadRunOptions {
  readonly connections: number;
  readonly seconds: number;
  /** If it is left out, each connection sends as soon as it can. */
  readonly ratePerS?: number;
}

export interface LoadRun extends Omit<LoadGeneratorResult, "latencies"> {
  readonly latencies: Latencies;
}

export class LoadRuns {
  readonly #site: ChaosSite;
  readonly #hour: number;
  readonly #folder = mkdtempSync(join(tmpdir(), "hourglass-chaos-load-"));
  readonly #outcomes = new Map<string, Outcomes>();
  #generator: ChildProgram<LoadGeneratorResult> | undefined;

  constructor(site: ChaosSite, hour: number) {
    this.#site = site;
    this.#hour = hour;
  }

  async run({ connections, seconds, ratePerS }: LoadRunOptions): Promise<LoadRun> {
    const prefix = `${String.fromCharCode(97 + this.#outcomes.size)}-`;
    const outcomesPath = join(this.#folder, prefix);
    const ports = portsOf(this.#site);
    const options = { ports, connections, seconds, ratePerS, hour: this.#hour, prefix, outcomesPath };
    this.#generator = startChild<LoadGeneratorOptions, LoadGeneratorResult>("load-generator.ts", options);
    const result = await this.#generator.result;
    this.#outcomes.set(prefix, await readOutcomes(outcomesPath));
    const latencies = new Latencies();
    for (const [ms, count] of result.latencies) latencies.add(ms, count);
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
    await this.#generator?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
