/** `hourglass export`: writes a range of events from the cold store, in a format that `hourglass import` reads. */
import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { chmod, lstat, readlink, realpath, rename, rm, stat } from "node:fs/promises";
import { dirname, extname, resolve } from "node:path";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Command, Option } from "commander";
import { type Event, type HourKey, hourOf } from "../domain/event.ts";
import type { StreamSelection } from "../domain/stream-rules.ts";
import { csvRecord } from "../protocol/csv.ts";
import { EVENT_MEMBERS, eventJson } from "../protocol/event/object-rules.ts";
import { codeOf, errorText } from "../runtime/error-text.ts";
import type { Config } from "../settings/settings.ts";
import type { AuditStore, ErasureStore, RetentionStore, RowKey } from "../store/cold.ts";
import { EXPECTS_TIME_ARGUMENT, exitWith, streamArgument, timeArgument } from "./arguments.ts";
import { amount } from "./shared/amounts.ts";
import { withPast } from "./shared/with-stores.ts";

const FORMATS = ["csv", "ndjson"] as const;
/** As many as Linux follows. */
const LINKS_MAX = 40;
type ExportFormat = (typeof FORMATS)[number];

interface ExportOptions {
  /** Inclusive, in ms since the epoch. */
  readonly from: number;
  readonly to: number;
  readonly stream: string | undefined;
  readonly format: ExportFormat;
  /** Prevents spreadsheets from running fields as formulas. */
  readonly safe: boolean;
  readonly out: string | undefined;
}

type ExportStore = AuditStore & ErasureStore & RetentionStore;

/** About 20 ms and 2 MB. */
const ROWS_PER_READ = 10_000;
const HOURS_PER_READ = 5_000;

export function addExport(program: Command): void {
  program
    .command("export")
    .description("write the events in the cold store, in a format that import reads; exits with 2 on failure")
    .option("--from <time>", `the start: ${EXPECTS_TIME_ARGUMENT}`, timeArgument)
    .option("--to <time>", "the end (exclusive)", timeArgument)
    .option("--stream <name>", "only this stream", streamArgument)
    .addOption(
      new Option("--format <format>", "output format (default: by the extension of --out, else csv)").choices(FORMATS),
    )
    .option("--safe", "for spreadsheets: puts an apostrophe before formulas (import keeps it)", false)
    .option("--out <file>", "output file (default: standard output)")
    .action(
      exitWith((config, { format, ...options }, command: Command) => {
        const { from = 0, to = Number.POSITIVE_INFINITY, safe, out } = options as Partial<ExportOptions>;
        if (from >= to) command.error("error: --from is not before --to");
        const named = formatOfName(out, command);
        if (format !== undefined && named !== undefined && named !== format)
          command.error(`error: --format is ${format}, but --out ${out} is a name for ${named}: change either`);
        const chosen: ExportFormat = format ?? named ?? "csv";
        if (safe && chosen !== "csv") command.error(`error: --safe is for csv, but the format is ${chosen}`);
        return exportEvents(config, { ...options, from, to, format: chosen } as ExportOptions);
      }),
    );
}

/** Undefined if the name has no known extension. */
function formatOfName(out: string | undefined, command: Command): ExportFormat | undefined {
  const extension = extname(out ?? "").toLowerCase();
  if (/^\.(gz|zst|bz2|xz|zip)$/.test(extension))
    command.error(`error: --out ${out}: export does not compress; omit --out and pipe the output to a compressor`);
  if (/^\.(tsv|tab)$/.test(extension))
    command.error(`error: --out ${out}: export separates by commas, not tabs: give it a name that ends with .csv`);
  if (extension === ".csv") return "csv";
  return /^\.(ndjson|jsonl|json)$/.test(extension) ? "ndjson" : undefined;
}

interface Exported {
  events: number;
  readonly hours: Set<number>;
  readonly streams: Set<string>;
  /** Sentences about events that are missing from the output. */
  readonly missing: string[];
}

/** Returns the exit code: 0 if everything was written, 2 if writing failed. */
async function exportEvents(config: Config, options: ExportOptions): Promise<number> {
  const exported: Exported = { events: 0, hours: new Set(), streams: new Set(), missing: [] };
  try {
    await withPast(config, reportReplica, async ({ cold, pendingText }) => {
      const texts = Readable.from(exportTexts(cold, options, exported));
      if (options.out === undefined) await pipeline(texts, process.stdout, { end: false });
      else await writeFile(texts, options.out);
      const pending = await pendingText();
      if (pending !== undefined) exported.missing.push(pending);
    });
  } catch (error) {
    // The reader closed the pipe, as `head` does.
    if (codeOf(error) === "EPIPE") return 0;
    if (!isFileError(error)) throw error;
    console.error(`hourglass export: cannot write ${options.out ?? "to standard output"}: ${errorText(error)}`);
    return 2;
  }
  const { events, hours, streams } = exported;
  console.error(`${amount(events, "event")} in ${amount(hours.size, "hour")} of ${amount(streams.size, "stream")}`);
  for (const line of exported.missing) console.error(line);
  return 0;
}

function reportReplica(problem: string | undefined): void {
  const from = problem === undefined ? "the replica again" : `the primary: MYSQL_READ_URL can't be used: ${problem}`;
  console.error(`hourglass export: reads from ${from}`);
}

/**
 * Uses another name until the file is complete, so that a partial file is never taken for the whole; nobody else has
 * that name, so that two exports to one file do not mix. A file that it replaces keeps its permissions, which its part
 * has from the start: users are in it. A pipe or device is written to as it is.
 */
async function writeFile(texts: Readable, path: string): Promise<void> {
  const found = await unlessMissing(stat(path));
  if (found?.isFile() === false) return await pipeline(texts, createWriteStream(path));
  const target = found === undefined ? await endOfLinks(path) : await realpath(path);
  const partPath = `${target}.${randomUUID()}.part`;
  const mode = (found?.mode ?? 0o666) & 0o777;
  try {
    const file: Writable = createWriteStream(partPath, { flags: "wx", flush: true, mode });
    await pipeline(texts, file);
    // The umask may have taken some of them away.
    if (found !== undefined) await chmod(partPath, mode);
    await rename(partPath, target);
  } catch (error) {
    await rm(partPath, { force: true });
    throw error;
  }
}

/** Where a link leads to, though nothing is there yet. */
async function endOfLinks(path: string): Promise<string> {
  let end = path;
  for (let links = 0; links < LINKS_MAX; links++) {
    const found = await unlessMissing(lstat(end));
    if (found?.isSymbolicLink() !== true) return end;
    end = resolve(dirname(end), await readlink(end));
  }
  return end;
}

async function unlessMissing<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function* exportTexts(cold: ExportStore, options: ExportOptions, exported: Exported): AsyncGenerator<string> {
  const fieldOf = options.safe ? withoutFormula : (text: string) => text;
  const csvText = ({ stream, at, kind, user, id = "" }: Event) =>
    `${csvRecord([String(at), fieldOf(user), kind, fieldOf(stream), fieldOf(id)])}\n`;
  const textOf = options.format === "csv" ? csvText : (event: Event) => `${eventJson(event)}\n`;
  if (options.format === "csv") yield `${EVENT_MEMBERS.join()}\n`;
  const keys = (await cold.hourKeys()).filter((key) => isAsked(key, options));
  for (const key of keys) {
    let count = 0;
    for await (const page of pagesOf(cold, key)) {
      const events = page.filter(({ at }) => at >= options.from && at < options.to);
      count += events.length;
      if (events.length > 0) yield events.map(textOf).join("");
    }
    if (count === 0) continue;
    exported.events += count;
    exported.hours.add(key.hour);
    exported.streams.add(key.stream);
  }
  exported.missing.push(...(await missingFrom(cold, options, keys)));
}

/** Call it after reading the rows, to include what was dropped or erased meanwhile. */
async function missingFrom(
  cold: ExportStore,
  { from, stream = "" }: ExportOptions,
  keys: readonly HourKey[],
): Promise<string[]> {
  const missing: string[] = [];
  const { rowsFrom } = await cold.retained();
  if (from < rowsFrom) {
    const hours = keys.filter(({ hour }) => hour < rowsFrom).length;
    const day = new Date(rowsFrom).toISOString();
    const without = `${amount(hours, "earlier hour")} of a stream ${hours === 1 ? "has" : "have"} counts but no rows`;
    missing.push(`Missing: rows are retained from ${day} on; ${without}`);
  }
  const hours = [...new Set(keys.map(({ hour }) => hour))];
  const erased = await erasedIn(cold, hours, { text: stream, isPrefix: stream === "" });
  if (erased > 0) missing.push(`Missing: ${amount(erased, "event")} whose users were forgotten`);
  return missing;
}

async function erasedIn(cold: ErasureStore, hours: readonly number[], streams: StreamSelection): Promise<number> {
  let erased = 0;
  for (let i = 0; i < hours.length; i += HOURS_PER_READ) {
    const found = await cold.erasedRows({ hours: hours.slice(i, i + HOURS_PER_READ), streams });
    for (const { clicks, impressions } of found) erased += clicks + impressions;
  }
  return erased;
}

function isAsked({ stream, hour }: HourKey, options: ExportOptions): boolean {
  const { from, to } = options;
  return hour >= hourOf(from) && hour < to && (options.stream === undefined || stream === options.stream);
}

async function* pagesOf(cold: AuditStore, key: HourKey): AsyncGenerator<readonly Event[]> {
  let after: RowKey | undefined;
  do {
    const { events, last } = await cold.rows(key, after, ROWS_PER_READ);
    yield events;
    after = last;
  } while (after !== undefined);
}

/** Spreadsheets run such fields as formulas, even in quotes. */
function withoutFormula(text: string): string {
  return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
}

function isFileError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}
