/** `hourglass import`: sends the events of files to a running service. */
import { existsSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { DEFAULT_STREAM } from "../../domain/stream-rules.ts";
import { TimeZone } from "../../domain/time-zone.ts";
import { OLDEST_MS } from "../../protocol/event/query-rules.ts";
import { onStopSignal } from "../../runtime/signals.ts";
import type { Config } from "../../settings/settings.ts";
import { exitWith, oneOf, secondsArgument, streamArgument, URL_HELP, urlArgument } from "../arguments.ts";
import { print } from "../shared/output.ts";
import { ServiceClient } from "../shared/service-client.ts";
import { type Following, type Source, sourcesOf } from "./content.ts";
import { importSource, type Job, type Tally } from "./content-import.ts";
import { type Filters, LOG_KINDS, type LogKind, refuseFilters } from "./event-reader.ts";
import { customLogReader } from "./formats/custom-log.ts";
import { type FieldMap, JSON_FIELDS } from "./formats/json-log.ts";
import { FORMAT_NAMES, FORMATS_HELP, type KnownName } from "./formats/known-formats.ts";
import { LogTimes } from "./formats/log-line.ts";
import { ImportError } from "./import-error.ts";
import { type Report, reportTo } from "./report.ts";
import { rotatedFiles } from "./rotated-files.ts";
import { Sender } from "./sender.ts";
import { StateFile } from "./state-file.ts";
import { newTally, summaryText, withTotals } from "./summary.ts";

interface ImportOptions extends Filters {
  readonly url: string | undefined;
  readonly format: KnownName | "auto";
  readonly logFormat: string | undefined;
  readonly fields: FieldMap;
  readonly stream: string;
  readonly kind: LogKind;
  readonly tz: TimeZone | undefined;
  readonly follow: boolean;
  readonly lastLine: boolean;
  readonly newIds: boolean;
  readonly old: boolean;
  readonly state: string | undefined;
  readonly doubtful: "send" | "skip" | undefined;
  readonly retryFor: number | undefined;
  readonly strict: boolean;
  readonly json: boolean;
}

const STATE_FILE = "import.sqlite";
const RETRY_FOR_S = 120;
const POLL_MS = 500;
const HELP = `
Formats, detected from the first lines unless --format names one:
${FORMATS_HELP}
  --log-format describes any other format, like nginx' log_format or Apache's LogFormat:
          '$remote_addr [$time_local] "$request" $status "$http_referer"'   '%h [%t] "%r" %>s "%{Referer}i"'

The user is the client's address. Files may be gzipped, and CSV in UTF-16. See docs/import.md.`;

export function addImport(program: Command): void {
  program
    .command("import")
    .description(
      "send the events of files to a running service: access logs, CSV and NDJSON. If run again, it continues. " +
        "Exits with 1 if lines were bad or a file was the copy of another, with 2 on failure",
    )
    .argument("[files...]", "'-' or none: standard input, for which no progress is recorded")
    .option("--url <url>", URL_HELP, urlArgument)
    .addOption(oneOf("--format <format>", "input format", ["auto", ...FORMAT_NAMES]))
    .option("--log-format <string>", "input format of other logs, as the server's own format string", logFormatArgument)
    .option(
      "--fields <map>",
      `where a JSON log has ${JSON_FIELDS.join(", ")}: time=ts,user=client.ip`,
      fieldsArgument,
      {},
    )
    .option("--stream <name>", "stream for events that name none", streamArgument, DEFAULT_STREAM)
    .addOption(
      oneOf(
        "--kind <kind>",
        "what a log line counts as; referrer: a click if the line has a referrer, else an impression",
        LOG_KINDS,
      ),
    )
    .option("--tz <zone>", "time zone of times without an offset, such as Europe/Berlin", zoneArgument)
    .option("--skip-bots", "skip requests from bots, by their User-Agent", false)
    .option("--skip-assets", "skip stylesheets, scripts, images, fonts and the like", false)
    .option("--status <list>", "only requests with these statuses, such as 200,3xx", statusesArgument)
    .option("--method <list>", "only requests with these methods, such as GET,POST", methodsArgument)
    .option("--path <list>", "only requests for these paths, such as /,/shop/*", pathsArgument)
    .option("--skip-path <list>", "skip requests for these paths, such as /health", pathsArgument)
    .option("--follow", "keep importing appended lines, like tail -F, until Ctrl-C", false)
    .option("--last-line", "import the last line of a log even without a line break", false)
    .option("--new-ids", "ignore ids in the files: each line counts once, by its position", false)
    .option("--old", "accept times before 2001 (which otherwise look like seconds written as milliseconds)", false)
    .option("--state <file>", "file that records progress (default: DATA_DIR/import.sqlite)")
    .addOption(
      new Option(
        "--doubtful <what>",
        "events sent a day ago and not answered: send again, or skip (default: stop with an error)",
      ).choices(["send", "skip"]),
    )
    .option(
      "--retry-for <seconds>",
      `how long to retry while the service accepts no events (default: ${RETRY_FOR_S}; with --follow no limit)`,
      secondsArgument,
    )
    .option("--strict", "stop at the first bad line; if run again, continue there", false)
    .option("--json", "print the summary as a JSON object", false)
    .addHelpText("after", HELP)
    .action(exitWith(importFiles));
}

function logFormatArgument(text: string): string {
  try {
    customLogReader(text, new LogTimes(undefined));
    return text;
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function fieldsArgument(text: string): FieldMap {
  const entries = text.split(",").map((entry) => entry.split("=", 2).map((part) => part.trim()));
  const isKnown = ([field, member]: string[]) => member && (JSON_FIELDS as string[]).includes(field!);
  if (!entries.every(isKnown))
    throw new InvalidArgumentError(`Expected ${JSON_FIELDS.join(", ")}, each with = and the name of a member.`);
  return Object.fromEntries(entries);
}

function zoneArgument(text: string): TimeZone {
  const zone = TimeZone.named(text);
  if (zone === undefined) throw new InvalidArgumentError("Expected a time zone such as Europe/Berlin or UTC.");
  return zone;
}

const statusesArgument = listArgument(/^[1-5](\d\d|xx)$/, "statuses such as 200 or 3xx");
const methodsArgument = listArgument(/^[A-Z]+$/, "methods such as GET");
const pathsArgument = listArgument(/^\/[^*]*\*?$/, "paths such as /, or prefixes with a star: /shop/*");

function listArgument(entry: RegExp, expected: string): (text: string) => readonly string[] {
  return (text) => {
    const entries = text.split(",").map((each) => each.trim());
    if (!entries.every((each) => entry.test(each))) throw new InvalidArgumentError(`Expected ${expected}.`);
    return entries;
  };
}

/** Returns the exit code: 0 if everything was imported, 1 if lines were bad or a file is a copy, 2 on failure. */
async function importFiles(config: Config, paths: readonly string[], options: ImportOptions): Promise<number> {
  const startedMs = performance.now();
  const report = reportTo(process.stderr, options.follow);
  const files: Tally[] = [];
  const service = new ServiceClient(config, options.url);
  const error = await importAll(config, paths, { options, service, report }, files);
  report.end();
  if (error !== undefined) report.note(`hourglass import: ${error}`);
  const seconds = (performance.now() - startedMs) / 1_000;
  const summary = { files, seconds, error, url: service.url };
  print(options.json ? JSON.stringify(withTotals(summary)) : summaryText(summary));
  if (error !== undefined) return 2;
  const isWhole = ({ bad, badBefore, status }: Tally) =>
    bad === 0 && status !== "copy" && (status !== "known" || badBefore === 0);
  return files.every(isWhole) ? 0 : 1;
}

interface Surroundings {
  readonly options: ImportOptions;
  readonly service: ServiceClient;
  readonly report: Report;
}

/** Returns why it could not finish, or undefined. */
async function importAll(
  config: Config,
  paths: readonly string[],
  surroundings: Surroundings,
  tallies: Tally[],
): Promise<string | undefined> {
  const { options, report } = surroundings;
  let state: StateFile | undefined;
  try {
    refuseContradictions(options);
    const sources = sourcesOf(paths, options.follow);
    if (options.follow && !sources.every(({ isRepeatable }) => isRepeatable))
      throw new ImportError("--follow takes files: standard input and pipes are read to their end without it");
    for (const { name, isRepeatable, sizeBytes } of sources) {
      if (isRepeatable && sizeBytes === undefined) report.note(`${name} does not exist yet: waiting for it`);
    }
    const isRecorded = sources.some(({ isRepeatable }) => isRepeatable);
    if (isRecorded) state = new StateFile(resolve(options.state ?? join(config.dataDir, STATE_FILE)));
    const resolved = new Set(sources.flatMap(({ path }) => (path === undefined ? [] : [resolve(path)])));
    const job = jobOf(surroundings, state, resolved);
    if (job.following !== undefined) await followAll(sources, job, tallies);
    else await importEach(sources, job, tallies);
    return undefined;
  } catch (error) {
    if (error instanceof ImportError) return error.message;
    throw error;
  } finally {
    state?.close();
  }
}

function refuseContradictions({ format, logFormat, ...filters }: ImportOptions): void {
  if (logFormat !== undefined && format !== "auto")
    throw new ImportError("--log-format describes the format: omit --format");
  // A format that is detected is checked with its file.
  if (format !== "auto") refuseFilters(format, filters);
}

/** Returns whether it stopped at a bad line. */
async function importEach(sources: readonly Source[], job: Job, tallies: Tally[]): Promise<boolean> {
  for (const source of sources) {
    const tally = newTally(source.name);
    tallies.push(tally);
    await importSource(source, job, tally);
    if (tally.status === "stopped") return true;
  }
  return false;
}

/** Runs until all are stopped or one fails. With --strict, a bad line stops only the file with it. */
async function followAll(sources: readonly Source[], job: Job, tallies: Tally[]): Promise<void> {
  const { stopped, pollMs } = job.following!;
  const follow = async ({ path = "" }: Source) => {
    for (let isFirst = true; !stopped.aborted; isFirst = false) {
      const { open, older } = await rotatedFiles(path, job.state!.records(job.target));
      if (isFirst && older.length > 0) job.report.note(notRead(path, older));
      if (await importEach(open, { ...job, following: undefined }, tallies)) return;
      if (existsSync(path) && (await importEach(sourcesOf([path]), job, tallies))) return;
      while (!stopped.aborted && !existsSync(path)) await Bun.sleep(pollMs);
    }
  };
  await Promise.all(sources.map(follow));
}

function notRead(path: string, older: readonly string[]): string {
  const names = older.map((each) => basename(each)).join(", ");
  return `${path}: --follow does not read rotated files older than what it imported: ${names}. To count one, import it`;
}

function jobOf(surroundings: Surroundings, state: StateFile | undefined, paths: ReadonlySet<string>): Job {
  const { options, service, report } = surroundings;
  const { stream, format, kind, newIds, old, strict, doubtful, fields, logFormat, tz } = options;
  const retryForS = options.retryFor ?? (options.follow ? Number.POSITIVE_INFINITY : RETRY_FOR_S);
  const sender = new Sender({
    service,
    isOld: old,
    retryForMs: retryForS * 1_000,
    now: Date.now,
    sleep: Bun.sleep,
    onSetback: (reason) => report.setback(reason),
  });
  return {
    target: { url: service.url, stream },
    paths,
    sender,
    state,
    format: logFormat === undefined ? format : "custom",
    reading: {
      ...{ stream, fields, logFormat, filters: options },
      ...{ logKind: kind, isIdNew: newIds, zone: tz, earliest: old ? 0 : OLDEST_MS },
    },
    options: optionsText(options),
    isStrict: strict,
    isLastLineWhole: options.lastLine,
    following: options.follow ? followingUntilSignal() : undefined,
    doubtful,
    report,
    now: Date.now,
    startedAt: Date.now(),
  };
}

/** --kind decides about no line. */
function optionsText({ newIds, format, logFormat, fields, tz, old, ...options }: ImportOptions): string {
  const { skipBots, skipAssets, status, method, path, skipPath } = options;
  const filters = { skipBots, skipAssets, status, method, path, skipPath };
  return JSON.stringify({ newIds, format, logFormat, fields, zone: tz?.name, old, ...filters });
}

function followingUntilSignal(): Following {
  const controller = new AbortController();
  onStopSignal(() => controller.abort());
  return { pollMs: POLL_MS, stopped: controller.signal };
}
