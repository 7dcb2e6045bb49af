/** All import formats: their names for --format, help and readers. */
import { TimeZone } from "../../../domain/time-zone.ts";
import { accessLogReader, albReader, w3cReader } from "./access-logs.ts";
import { customLogReader } from "./custom-log.ts";
import { type FieldMap, jsonLogReader } from "./json-log.ts";
import { LogTimes, type ReadLine } from "./log-line.ts";

export interface LogOptions {
  /** Applies to times without an offset; undefined: refuse them. */
  readonly zone?: TimeZone | undefined;
  readonly fields?: FieldMap | undefined;
  readonly logFormat?: string | undefined;
}

interface KnownFormat {
  readonly name: string;
  readonly help: string;
  /** Reads logs, whose lines are requests. Undefined if the records are events. */
  readonly reader?: (options: LogOptions, columns: readonly string[]) => ReadLine;
  /** Recognized by its header, not by its other lines. */
  readonly hasHeader?: true;
}

const UTC = TimeZone.named("UTC");

const KNOWN_FORMATS = [
  {
    name: "log",
    help: "access logs in the common or combined format (Apache, nginx, Caddy, HAProxy …), also behind a virtual host",
    reader: ({ zone }) => accessLogReader(new LogTimes(zone)),
  },
  {
    name: "json",
    help: "JSON logs: Caddy, Traefik, nginx with its variables as names; others by --fields",
    reader: ({ zone, fields = {} }) => jsonLogReader(new LogTimes(zone), fields),
  },
  {
    name: "alb",
    help: "AWS Application Load Balancer",
    reader: ({ zone }) => albReader(new LogTimes(zone)),
  },
  {
    name: "w3c",
    help: "W3C extended: IIS, CloudFront",
    // The format is defined in UTC.
    reader: ({ zone = UTC }, columns) => w3cReader(columns, new LogTimes(zone)),
    hasHeader: true,
  },
  {
    name: "csv",
    help: "with a header of timestamp, user, event, optionally stream, id; separated by comma, semicolon or tab",
    hasHeader: true,
  },
  { name: "ndjson", help: "one JSON object per line, with those members" },
] as const satisfies readonly KnownFormat[];

export type KnownName = (typeof KNOWN_FORMATS)[number]["name"];
/** custom: described by --log-format. */
export type Format = KnownName | "custom";

const FORMATS: readonly (KnownFormat & { readonly name: KnownName })[] = KNOWN_FORMATS;
export const FORMAT_NAMES = FORMATS.map(({ name }) => name);
export const FORMATS_HELP = FORMATS.map(({ name, help }) => `  ${name.padEnd(8)}${help}`).join("\n");

/** Undefined if the format's records are events, not requests. Throws ImportError. */
export function logReaderOf(
  { format, columns }: { readonly format: Format; readonly columns: readonly string[] },
  options: LogOptions,
): ReadLine | undefined {
  if (format === "custom") return customLogReader(options.logFormat ?? "", new LogTimes(options.zone));
  return FORMATS.find(({ name }) => name === format)?.reader?.(options, columns);
}

export function isLog(format: Format): boolean {
  return format === "custom" || FORMATS.some(({ name, reader }) => name === format && reader !== undefined);
}

export function headerlessLogs(options: LogOptions): readonly (readonly [KnownName, ReadLine])[] {
  return FORMATS.flatMap(({ name, reader, hasHeader }) =>
    reader === undefined || hasHeader ? [] : [[name, reader(options, [])] as const],
  );
}
