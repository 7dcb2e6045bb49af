/**
 * Reads the event out of a record, or says why there is none.
 *
 * Invariant: what it answers is what POST /events takes: the same rules, by the same code.
 */
import type { Event, Kind } from "../../domain/event.ts";
import { quoteCountOf } from "../../protocol/body/pieces.ts";
import { csvFields } from "../../protocol/csv.ts";
import { eventOf, whatIsWrongWith } from "../../protocol/event/from-object.ts";
import { EXPECTS_INSTANT, timeOf } from "../../protocol/time-text.ts";
import type { Layout } from "./layout.ts";
import { LogLines } from "./log-line.ts";

export const LOG_KINDS = ["referrer", "click", "impression"] as const;
/** Of a log's lines. referrer: a click if it came from another page, else an impression. */
export type LogKind = Kind | "referrer";

export interface EventReaderOptions {
  /** Of events that name none. */
  readonly stream: string;
  readonly logKind: LogKind;
  /** The ids that are in the content are left out. */
  readonly isIdNew: boolean;
}

interface Members {
  readonly value: unknown;
  /** As eventOf() wants it. */
  readonly quoteCount: number;
}

/** What the record says, or why it can't be read. */
type ReadMembers = (text: string) => Members | string;

/** Of timestamp, user and event; and of each member more. */
const FEWEST_QUOTES = 10;
const QUOTES_PER_MEMBER = 4;

/** Answers the event, or why the record is none. `id`: for one that has none. */
export type ReadEvent = (text: string, id: string, now: number) => Event | string;

export function eventReader(layout: Layout, options: EventReaderOptions): ReadEvent {
  const read = membersReader(layout, options);
  return (text, id, now) => {
    const members = read(text);
    if (typeof members === "string") return members;
    const { value, quoteCount } = members;
    const event = eventOf(value, quoteCount, now);
    if (event === undefined) return whatIsWrongWith(value, text, now).message;
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

/** As a line of POST /events' body. */
export function eventLine({ stream, at, kind, user, id }: Event): string {
  return JSON.stringify({ timestamp: at, user, event: kind, stream, id });
}

function membersReader({ format, columns }: Layout, { logKind }: EventReaderOptions): ReadMembers {
  if (format === "log") return logReader(logKind);
  return format === "csv" ? csvReader(columns) : readJson;
}

function logReader(logKind: LogKind): ReadMembers {
  const lines = new LogLines();
  return (text) => {
    const line = lines.read(text);
    if (line === undefined) return "not a line of a common or combined access log";
    const { at, user, referrer } = line;
    const event = logKind !== "referrer" ? logKind : referrer === undefined ? "impression" : "click";
    return { value: { timestamp: at, user, event }, quoteCount: FEWEST_QUOTES };
  };
}

function csvReader(columns: readonly string[]): ReadMembers {
  return (text) => {
    const fields = csvFields(text);
    if (fields === undefined) return "a quote stands where none may be";
    if (fields.length !== columns.length) {
      return `it has ${fields.length} fields, and the header ${columns.length}`;
    }
    const value: Record<string, unknown> = {};
    for (const [i, name] of columns.entries()) if (fields[i] !== "") value[name] = fields[i];
    const { timestamp = "" } = value;
    const at = timeOf(timestamp as string, undefined);
    if (at === undefined) return wrongTime(timestamp);
    value["timestamp"] = at;
    const more = Number("stream" in value) + Number("id" in value);
    return { value, quoteCount: FEWEST_QUOTES + more * QUOTES_PER_MEMBER };
  };
}

function readJson(text: string): Members | string {
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
  const at = timeOf(timestamp, undefined);
  if (at === undefined) return wrongTime(timestamp);
  return { value: { ...value, timestamp: at }, quoteCount: quoteCount - 2 };
}

function wrongTime(got: unknown): string {
  return `timestamp: got ${JSON.stringify(got)}, expected ${EXPECTS_INSTANT}`;
}
