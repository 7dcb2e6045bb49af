/** `hourglass export`: the events of a range, from the cold store, as `hourglass import` takes them again. */
import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Config } from "../config.ts";
import { errorText } from "../count/deadline.ts";
import { type Event, type HourKey, hourOf } from "../count/event.ts";
import type { ColdStore, RowKey } from "../store/cold.ts";
import { csvRecord } from "./csv.ts";
import { withColdStore } from "./with-stores.ts";

export interface ExportOptions {
  /** In ms since the epoch, the first included; all if undefined. */
  readonly from: number | undefined;
  /** Not included. */
  readonly to: number | undefined;
  readonly stream: string | undefined;
  readonly format: "csv" | "ndjson";
  /** Undefined: standard output. */
  readonly out: string | undefined;
}

/** Some 20 ms of reading, and 2 MB. */
const ROWS_PER_READ = 10_000;
const CSV_HEADER = "timestamp,user,event,stream,id\n";

interface Exported {
  events: number;
  hours: number;
}

/** The exit code: 0 if all is written, 2 if it could not. */
export async function exportEvents(config: Config, options: ExportOptions): Promise<number> {
  const exported: Exported = { events: 0, hours: 0 };
  const { from = 0, to = Number.POSITIVE_INFINITY } = options;
  if (from >= to) {
    console.error("hourglass export: --from is not before --to: no event lies between them");
    return 2;
  }
  try {
    await withColdStore(config, async (cold) => {
      const texts = Readable.from(exportTexts(cold, options, exported));
      if (options.out === undefined) await pipeline(texts, process.stdout, { end: false });
      else await writeFile(texts, options.out);
    });
  } catch (error) {
    // Who reads it has had enough.
    if (isBrokenPipe(error)) return 0;
    if (!isFileError(error)) throw error;
    console.error(
      `hourglass export: cannot write ${options.out ?? "to standard output"}: ${errorText(error)}`,
    );
    return 2;
  }
  console.error(`${exported.events} events of ${exported.hours} hours (of a stream)`);
  return 0;
}

/** Under another name until it is whole: a part is never taken for all. */
async function writeFile(texts: Readable, path: string): Promise<void> {
  const partPath = `${path}.part`;
  try {
    const file: Writable = createWriteStream(partPath, { flush: true });
    await pipeline(texts, file);
    await rename(partPath, path);
  } catch (error) {
    await rm(partPath, { force: true });
    throw error;
  }
}

async function* exportTexts(
  cold: ColdStore,
  options: ExportOptions,
  exported: Exported,
): AsyncGenerator<string> {
  const textOf = options.format === "csv" ? csvText : ndjsonText;
  if (options.format === "csv") yield CSV_HEADER;
  const keys = (await cold.hourKeys()).filter((key) => isAsked(key, options));
  for (const key of keys) {
    let count = 0;
    for await (const page of pagesOf(cold, key)) {
      const events = page.filter(({ at }) => isWithin(at, options));
      count += events.length;
      if (events.length > 0) yield events.map(textOf).join("");
    }
    exported.events += count;
    exported.hours += Number(count > 0);
  }
}

function isAsked({ stream, hour }: HourKey, options: ExportOptions): boolean {
  const { from = 0, to = Number.POSITIVE_INFINITY } = options;
  return hour >= hourOf(from) && hour < to && (options.stream === undefined || stream === options.stream);
}

function isWithin(at: number, { from = 0, to = Number.POSITIVE_INFINITY }: ExportOptions): boolean {
  return at >= from && at < to;
}

async function* pagesOf(cold: ColdStore, key: HourKey): AsyncGenerator<readonly Event[]> {
  let after: RowKey | undefined;
  do {
    const { events, last } = await cold.rows(key, after, ROWS_PER_READ);
    yield events;
    after = last;
  } while (after !== undefined);
}

function csvText({ stream, at, kind, user, id = "" }: Event): string {
  return `${csvRecord([String(at), user, kind, stream, id])}\n`;
}

function ndjsonText({ stream, at, kind, user, id }: Event): string {
  return `${JSON.stringify({ timestamp: at, user, event: kind, stream, id })}\n`;
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPIPE";
}

function isFileError(error: unknown): boolean {
  return error instanceof Error && "syscall" in error;
}
