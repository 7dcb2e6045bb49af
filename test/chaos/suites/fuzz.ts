/**
 * Whatever arrives over the socket: no crash, no 5xx except a truthful 503, an answer to every real request, and counts
 * equal to the acknowledged events.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hourOf } from "../../../src/domain/event.ts";
import { ACKNOWLEDGED, readOutcomes, UNKNOWN } from "../../harness/load/outcomes.ts";
import { readHour } from "../../harness/service/analytics-client.ts";
import { startChild } from "../load/child-program.ts";
import { FUZZ_STREAMS, VALID_PREFIX } from "../load/fuzz-requests.ts";
import type { FuzzerOptions, FuzzerResult } from "../load/fuzzer.ts";
import { type NumberedTally, rowsArrived, tallyProblems, tallyRows } from "../load/numbered-rows.ts";
import { type ChaosSite, openSite, type SiteMode } from "../site/chaos-site.ts";
import { type Report, type Say, tallyText } from "../verdict/report.ts";
import { Sampler } from "../verdict/sampler.ts";
import { aggregateProblems } from "../verdict/verdict.ts";

export interface FuzzOptions {
  readonly mode: SiteMode;
  readonly requests: number;
  readonly seed: number;
  readonly say: Say;
}

const CONNECTIONS = 512;
const SAMPLE_MS = 1_000;
const DRAIN_STALL_MS = 30_000;
/** The log line of a request that met an internal error. */
const FAULT_IN_LOG = '"msg":"request failed"';

export async function runFuzz(options: FuzzOptions): Promise<Report> {
  const site = await openSite({ mode: options.mode, instances: 1 });
  const folder = mkdtempSync(join(tmpdir(), "hourglass-chaos-fuzz-"));
  try {
    return await fuzz(site, join(folder, "outcomes"), options);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await site.close();
  }
}

async function fuzz(site: ChaosSite, outcomesPath: string, options: FuzzOptions): Promise<Report> {
  const { mode, requests, seed } = options;
  const { service } = site.instances[0]!;
  const { pid, port } = service;
  const hour = hourOf(Date.now());
  const connections = Math.min(CONNECTIONS, requests);
  const sampler = new Sampler(pid, SAMPLE_MS);
  const fuzzer = startChild<FuzzerOptions, FuzzerResult>("fuzzer.ts", {
    ...{ port, requests, connections, seed, hour, outcomesPath },
  });
  const result = await fuzzer.result.finally(() => fuzzer.stop());
  sampler.stop();
  const perS = Math.round(result.requests / result.seconds);
  const problems = [...result.surprises];
  if (service.pid !== pid || service.exitCode !== null) problems.push("the service has ended");
  if (service.log().includes(FAULT_IN_LOG)) problems.push(`faults in the service's log:\n${service.log()}`);
  const stored = await storedAsTold(site, result, outcomesPath);
  problems.push(...stored.problems, ...(await countProblems(site, hour)), ...(await rowProblems(site)));
  return {
    name: `fuzz, ${mode}`,
    seed,
    figures: {
      requests: `${result.requests} in ${Math.round(result.seconds)} s (${perS}/s)`,
      outcomes: tallyText(new Map(Object.entries(result.outcomes))),
      "valid events acknowledged": stored.acknowledged,
      "rows of those": stored.valid.rows,
      lost: stored.valid.lost,
      doubled: stored.valid.doubled,
      "other requests acknowledged": result.otherAcknowledged,
      "rows of those, and of raw ones without an answer": stored.others,
      "RSS of the service": sampler.rssText,
    },
    problems,
  };
}

interface Stored {
  readonly acknowledged: number;
  readonly valid: NumberedTally;
  readonly others: number;
  readonly problems: readonly string[];
}

async function storedAsTold(site: ChaosSite, result: FuzzerResult, outcomesPath: string): Promise<Stored> {
  const outcomes = await readOutcomes(outcomesPath);
  const acknowledged = outcomes.count(ACKNOWLEDGED);
  const problems: string[] = [];
  const { otherAcknowledged, otherUnknown } = result;
  if (!(await rowsArrived(site, acknowledged + otherAcknowledged, DRAIN_STALL_MS))) {
    problems.push("it does not drain");
  }
  const valid = (await tallyRows(site, new Map([[VALID_PREFIX, outcomes]]))).get(VALID_PREFIX)!;
  const others = (await site.cold.countEvents()) - valid.rows;
  problems.push(...tallyProblems("valid events", valid));
  if (outcomes.count(UNKNOWN) > 0) problems.push(`${outcomes.count(UNKNOWN)} valid events were not answered`);
  if (others < otherAcknowledged || others > otherAcknowledged + otherUnknown) {
    const told = `${otherAcknowledged} were acknowledged, and ${otherUnknown} not answered`;
    problems.push(`other requests have ${others} rows, of which ${told}`);
  }
  return { acknowledged, valid, others, problems };
}

/** Compares the reads of the busiest hours with their rows. */
async function countProblems(site: ChaosSite, hour: number): Promise<string[]> {
  const stored = await site.cold.hours();
  const problems: string[] = [];
  for (const stream of FUZZ_STREAMS) {
    const { clicks, impressions } = await readHour(site.instances[0]!.service.port, hour, stream);
    const row = stored.find((each) => each.stream === stream && each.hour === hour);
    if (Number(row?.clicks ?? 0) !== clicks || Number(row?.impressions ?? 0) !== impressions) {
      const read = `${clicks} clicks and ${impressions} impressions are read in ${stream}`;
      problems.push(`${read}, and ${row?.clicks} and ${row?.impressions} are stored`);
    }
  }
  return problems;
}

async function rowProblems(site: ChaosSite): Promise<string[]> {
  return await aggregateProblems(site, await site.cold.events());
}
