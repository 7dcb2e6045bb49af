/**
 * Reads the event of a record, or explains why there is none. Filters leave requests out of the import of a log.
 *
 * Invariant: it accepts what POST /events accepts, by the same code.
 */
import { isbot } from "isbot";
import type { Event, Kind } from "../../domain/event.ts";
import type { TimeZone } from "../../domain/time-zone.ts";
import { quoteCountOf } from "../../protocol/body/pieces.ts";
import { csvFields } from "../../protocol/csv.ts";
import { eventOf, whatIsWrongWith } from "../../protocol/event/from-object.ts";
import { EXPECTS_INSTANT, expectedTime, timeOf } from "../../protocol/time-text.ts";
import { amount } from "../shared/amounts.ts";
import { type Format, isLog, type LogOptions, logReaderOf } from "./formats/known-formats.ts";
import type { Layout } from "./formats/layout.ts";
import { type LogLine, missingTime, type ReadLine } from "./formats/log-line.ts";
import { ImportError } from "./import-error.ts";

export const LOG_KINDS = ["referrer", "click", "impression"] as const;
/** What a log line counts as. referrer: a click if the line has a referrer, else an impression. */
export type LogKind = Kind | "referrer";

export interface EventReaderOptions extends LogOptions {
  /** The stream of events that name none. */
  readonly stream: string;
  readonly logKind: LogKind;
  /** Older events are refused: see OLDEST_MS. */
  readonly earliest: number;
  /** Ignores ids in the content. */
  readonly isIdNew: boolean;
  readonly filters?: Filters | undefined;
}

interface Members {
  readonly value: unknown;
  /** See eventOf(). */
  readonly quoteCount: number;
}

export interface Omission {
  readonly leftOut: LeftOut;
}

/** Returns the members, why the record is omitted, or why it can't be read. */
type ReadMembers = (text: string) => Members | Omission | string;

/** The quotes of timestamp, user and event; each further member adds QUOTES_PER_MEMBER. */
const FEWEST_QUOTES = 10;
const QUOTES_PER_MEMBER = 4;

/** Returns the event, or why there is none. `id`: for an event without one. Never throws. */
export type ReadEvent = (text: string, id: string, now: number) => Event | Omission | string;

export function eventReader(layout: Layout, options: EventReaderOptions): ReadEvent {
  const read = membersReader(layout, options);
  return (text, id, now) => {
    const members = read(text);
    if (typeof members === "string" || "leftOut" in members) return members;
    const { value, quoteCount } = members;
    const rules = { now, earliest: options.earliest, defaultAt: undefined };
    const event = eventOf(value, quoteCount, rules);
    if (event === undefined) return whatIsWrongWith(value, text, rules).message;
    const hasStream = (value as Partial<Event>).stream !== undefined;
    const { at, kind, user } = event;
    return {
      stream: hasStream ? event.stream : options.stream,
      at,
      kind,
      user,
      id: options.isIdNew || event.id === undefined ? id : event.id,
    };
  };
}

function membersReader(layout: Layout, options: EventReaderOptions): ReadMembers {
  const { zone } = options;
  const readLine = logReaderOf(layout, options);
  if (readLine !== undefined) return logReader(readLine, layout, options);
  return layout.format === "csv" ? csvReader(layout, zone) : (text) => readJson(text, zone);
}

function logReader(read: ReadLine, { format }: Layout, { logKind, filters }: EventReaderOptions): ReadMembers {
  const leftOutOf = filters === undefined ? () => undefined : filterOf(filters);
  const problem = `not a line of a log in the format ${format}`;
  return (text) => {
    const line = read(text);
    if (line === undefined) return missingTime(text) ?? problem;
    if (line === "none") return { leftOut: "no requests" };
    const leftOut = leftOutOf(line);
    if (leftOut !== undefined) return { leftOut };
    const { at, user, referrer } = line;
    const event = logKind !== "referrer" ? logKind : referrer === undefined ? "impression" : "click";
    return { value: { timestamp: at, user, event }, quoteCount: FEWEST_QUOTES };
  };
}

function csvReader({ columns, separator }: Layout, zone: TimeZone | undefined): ReadMembers {
  return (text) => {
    const fields = csvFields(text, separator);
    if (fields === undefined) return "a quote is misplaced";
    if (fields.length !== columns.length) {
      return `it has ${amount(fields.length, "field")}, but the header has ${columns.length}`;
    }
    const value: Record<string, unknown> = {};
    for (const [i, name] of columns.entries()) if (fields[i] !== "") value[name] = fields[i];
    const { timestamp = "" } = value as { timestamp?: string };
    const at = timeOf(timestamp, zone);
    if (at === undefined) return wrongTime(timestamp);
    value["timestamp"] = at;
    const more = Number("stream" in value) + Number("id" in value);
    return { value, quoteCount: FEWEST_QUOTES + more * QUOTES_PER_MEMBER };
  };
}

function readJson(text: string, zone: TimeZone | undefined): Members | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `not JSON: ${(error as Error).message}`;
  }
  const quoteCount = quoteCountOf(text);
  if (typeof value !== "object" || value === null || !("timestamp" in value)) return { value, quoteCount };
  const { timestamp } = value;
  if (typeof timestamp !== "string") return { value, quoteCount };
  const at = timeOf(timestamp, zone);
  if (at === undefined) return wrongTime(timestamp);
  return { value: { ...value, timestamp: at }, quoteCount: quoteCount - 2 };
}

function wrongTime(got: string): string {
  const expected = expectedTime(got, EXPECTS_INSTANT);
  return `timestamp: got ${JSON.stringify(got)}, expected ${expected}; --tz sets the zone of times without one`;
}

export interface Filters {
  readonly skipBots: boolean;
  readonly skipAssets: boolean;
  /** Statuses such as 200 or 3xx; undefined: all. */
  readonly status: readonly string[] | undefined;
  readonly method: readonly string[] | undefined;
  /** Paths, or prefixes with a star. */
  readonly path: readonly string[] | undefined;
  readonly skipPath: readonly string[] | undefined;
}

/** Throws ImportError if a filter is set, but `format` has nothing to filter by. */
export function refuseFilters(format: Format, filters: Filters): void {
  const { skipBots, skipAssets, status, method, path, skipPath } = filters;
  const isFiltered = skipBots || skipAssets || [status, method, path, skipPath].some((list) => list !== undefined);
  if (isFiltered && !isLog(format))
    throw new ImportError(`filters are for logs: ${format} has neither statuses nor paths`);
}

export type LeftOut = "bots" | "assets" | "other statuses" | "other methods" | "other paths" | "no requests";

const ASSET = /\.(?:css|js|mjs|map|png|jpe?g|gif|svg|webp|avif|ico|bmp|woff2?|ttf|otf|eot|mp4|webm|mp3|wasm)$/i;
const AGENTS_MAX = 10_000;

/** Returns why a line is omitted, or undefined. */
export function filterOf(filters: Filters): (line: LogLine) => LeftOut | undefined {
  const { skipAssets, skipBots, status: statuses, method: methods, path: paths, skipPath: skipPaths } = filters;
  const isBot = agentCheck();
  return ({ status = "", method = "", path = "", agent }) => {
    if (statuses !== undefined && !statuses.some((wanted) => isStatus(status, wanted))) return "other statuses";
    if (methods !== undefined && !methods.includes(method.toUpperCase())) return "other methods";
    const bare = withoutQuery(path);
    if (paths !== undefined && !paths.some((pattern) => isPath(bare, pattern))) return "other paths";
    if (skipPaths?.some((pattern) => isPath(bare, pattern))) return "other paths";
    if (skipAssets && ASSET.test(bare)) return "assets";
    return skipBots && isBot(agent) ? "bots" : undefined;
  };
}

function isStatus(status: string, wanted: string): boolean {
  return wanted.endsWith("xx") ? status[0] === wanted[0] : status === wanted;
}

function isPath(path: string, pattern: string): boolean {
  return pattern.endsWith("*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
}

function withoutQuery(path: string): string {
  const query = path.indexOf("?");
  return query === -1 ? path : path.slice(0, query);
}

/** A missing User-Agent counts as a bot, since browsers always send one. Cached, since most lines repeat one. */
function agentCheck(): (agent: string | undefined) => boolean {
  const known = new Map<string, boolean>();
  return (agent = "") => {
    let found = known.get(agent);
    if (found === undefined) {
      found = agent === "" || isbot(agent);
      if (known.size >= AGENTS_MAX) known.clear();
      known.set(agent, found);
    }
    return found;
  };
}
