/** `hourglass import`: sends the events of files to a running service. */
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { DEFAULT_STREAM } from "../../domain/stream-name.ts";
import type { Config } from "../../settings/settings.ts";
import { exitWith, oneOf, secondsArgument, streamArgument, URL_HELP, urlArgument } from "../arguments.ts";
import { ServiceClient } from "../service/client.ts";
import { sourcesOf } from "./content.ts";
import { importSource, type Job, type Tally } from "./content-import.ts";
import { LOG_KINDS, type LogKind } from "./event-reader.ts";
import { ImportError } from "./import-error.ts";
import { FORMATS, type Format } from "./layout.ts";
import { grouped, Report } from "./report.ts";
import { Sender } from "./sender.ts";
import { StateFile } from "./state-file.ts";

interface ImportOptions {
  /** Of the service; undefined: the one of this machine's settings. */
  readonly url: string | undefined;
  readonly format: Format | "auto";
  /** Of events that name none. */
  readonly stream: string;
  readonly kind: LogKind;
  readonly newIds: boolean;
  readonly state: string | undefined;
  readonly doubtful: "send" | "skip" | undefined;
  readonly retryFor: number;
  readonly strict: boolean;
  readonly json: boolean;
}

interface Summary {
  readonly files: readonly Tally[];
  readonly seconds: number;
  /** Why it came to no end. */
  readonly error: string | undefined;
}

const STATE_FILE = "import.sqlite";

export function addImport(program: Command): void {
  program
    .command("import")
    .description(
      "send the events of files to a running service: access logs (common or combined), CSV (its header names " +
        "timestamp, user, event, and perhaps stream and id), NDJSON (objects with those members), plain or gzipped. " +
        "Run again, it continues. Exits with 1 if lines were bad, with 2 if it could not",
    )
    .argument("[files...]", "'-', or none: standard input, of which no progress is recorded")
    .option("--url <url>", URL_HELP, urlArgument)
    .addOption(oneOf("--format <format>", "of the files; auto: found from the content", ["auto", ...FORMATS]))
    .option("--stream <name>", "of events that name none", streamArgument, DEFAULT_STREAM)
    .addOption(oneOf("--kind <kind>", "of a log's lines; referrer: a click if there is one", LOG_KINDS))
    .option("--new-ids", "ignore the ids in the files: each line counts once by its place", false)
    .option("--state <file>", "records how far files are imported (default: DATA_DIR/import.sqlite)")
    .addOption(
      new Option("--doubtful <what>", "what to do with events sent a day ago and not answered").choices([
        "send",
        "skip",
      ]),
    )
    .option(
      "--retry-for <seconds>",
      "how long to retry while the service takes no events",
      secondsArgument,
      120,
    )
    .option("--strict", "stop at the first bad line; run again, it continues there", false)
    .option("--json", "the summary as a JSON object", false)
    .action(exitWith(importFiles));
}

/** Answers the exit code: 0 if all is imported, 1 if lines were bad, 2 if it could not. */
async function importFiles(
  config: Config,
  paths: readonly string[],
  options: ImportOptions,
): Promise<number> {
  const startedMs = performance.now();
  const report = new Report({
    write: (text) => process.stderr.write(text),
    isTerminal: process.stderr.isTTY === true,
    now: Date.now,
  });
  const files: Tally[] = [];
  const error = await importAll(config, paths, options, report, files);
  report.end();
  if (error !== undefined) report.note(`hourglass import: ${error}`);
  const summary = { files, seconds: (performance.now() - startedMs) / 1_000, error };
  console.log(options.json ? JSON.stringify(withTotals(summary)) : summaryText(summary));
  if (error !== undefined) return 2;
  return files.some(({ bad }) => bad > 0) ? 1 : 0;
}

/** Answers why it came to no end. */
async function importAll(
  config: Config,
  paths: readonly string[],
  options: ImportOptions,
  report: Report,
  tallies: Tally[],
): Promise<string | undefined> {
  let state: StateFile | undefined;
  try {
    const sources = sourcesOf(paths);
    const isKept = sources.some(({ isRepeatable }) => isRepeatable);
    if (isKept) state = new StateFile(resolve(options.state ?? join(config.dataDir, STATE_FILE)));
    const job = jobOf(config, options, report, state);
    for (const source of sources) {
      const tally = newTally(source.name);
      tallies.push(tally);
      await importSource(source, job, tally);
      if (tally.status === "stopped") break;
    }
    return undefined;
  } catch (error) {
    if (error instanceof ImportError) return error.message;
    throw error;
  } finally {
    state?.close();
  }
}

function jobOf(config: Config, options: ImportOptions, report: Report, state: StateFile | undefined): Job {
  const { stream, format, kind, newIds, strict, doubtful, retryFor } = options;
  const service = new ServiceClient(config, options.url);
  const { url } = service;
  const sender = new Sender({
    service,
    retryForMs: retryFor * 1_000,
    now: Date.now,
    sleep: Bun.sleep,
    onSetback: (reason) => report.setback(reason),
  });
  return {
    target: { url, stream },
    sender,
    state,
    format,
    reading: { stream, logKind: kind, isIdNew: newIds },
    isStrict: strict,
    doubtful,
    report,
    now: Date.now,
  };
}

function newTally(file: string): Tally {
  const counts = { lines: 0, accepted: 0, duplicates: 0, bad: 0, skipped: 0 };
  return { file, status: "failed", fromLine: 1, ...counts };
}

function withTotals({ files, seconds, error }: Summary) {
  const sum = (name: "lines" | "accepted" | "duplicates" | "bad" | "skipped") =>
    files.reduce((total, file) => total + file[name], 0);
  return {
    lines: sum("lines"),
    accepted: sum("accepted"),
    duplicates: sum("duplicates"),
    bad: sum("bad"),
    skipped: sum("skipped"),
    seconds: Number(seconds.toFixed(3)),
    ...(error === undefined ? {} : { error }),
    files,
  };
}

function summaryText(summary: Summary): string {
  const { accepted, duplicates, bad, lines, seconds } = withTotals(summary);
  const rate = grouped(Math.round(lines / summary.seconds));
  const total =
    `${grouped(accepted)} events accepted, ${grouped(duplicates)} duplicates, ${grouped(bad)} bad lines; ` +
    `${grouped(lines)} lines in ${seconds.toFixed(1)} s, ${rate}/s`;
  return [...summary.files.map(fileText), total].join("\n");
}

function fileText({ file, status, fromLine, lines, accepted, duplicates, bad, skipped }: Tally): string {
  if (status === "known") return `${file}: was imported before, to its end: skipped`;
  if (status === "empty") return `${file}: is empty`;
  const counts = `${grouped(accepted)} accepted, ${grouped(duplicates)} duplicates, ${grouped(bad)} bad`;
  const notes = [
    ...(fromLine > 1 ? [`went on at line ${fromLine}`] : []),
    `${grouped(lines)} lines: ${counts}`,
    ...(skipped > 0 ? [`${grouped(skipped)} left out`] : []),
    ...(status === "stopped" ? ["stopped at a bad line"] : []),
    ...(status === "failed" ? ["not to its end"] : []),
  ];
  return `${file}: ${notes.join("; ")}`;
}
