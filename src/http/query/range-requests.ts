/**
 * What /series and /streams share: their parameters and how these are read into a range of hours; and how the answer is
 * cached, compressed, or explains an error.
 *
 * Invariants: a range has at least one hour and at most RANGE_MAX_HOURS. No cache serves an answer without
 * revalidation: an event may still arrive for any past hour, and every reader must see it after its 204. So answers
 * about the past may be cached but must be revalidated by ETag; others are not cached at all.
 */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { HOUR_MS, type HourCounts, hourOf } from "../../domain/event.ts";
import { hoursIn, RANGE_MAX_HOURS } from "../../domain/hour-range.ts";
import {
  ALL_STREAMS,
  DEFAULT_STREAM,
  EXPECTS_STREAM_SELECTION,
  STREAM_SELECTION_PATTERN,
} from "../../domain/stream-rules.ts";
import { STEPS, WEEK_STARTS } from "../../domain/time-steps.ts";
import { TimeZone } from "../../domain/time-zone.ts";
import type { UserCounts } from "../../domain/unique-users/sketch.ts";
import { RangeTooLargeError } from "../../pipeline/read/range-reader.ts";
import { GROUPS_MAX } from "../../pipeline/read/streams-tally.ts";
import { csvRecord } from "../../protocol/csv.ts";
import type { ErrorBody } from "../../protocol/error-body.ts";
import { checkSelection, InvalidParameterError } from "../../protocol/input-error.ts";
import { parameters, type Query } from "../../protocol/query-string.ts";
import { EXPECTS_TIME, expectedTime, TIME_PATTERN, timeOf } from "../../protocol/time-text.ts";
import type { Log } from "../../runtime/log.ts";
import type { RequestCounts } from "../../runtime/metrics.ts";
import { SlotsFullError } from "../../runtime/slots.ts";
import { answerToError, errorAnswer, NO_STORE } from "../answers.ts";
import { CONTENT_TYPES, etagOf, type Format, gzip, negotiatedAnswer } from "../format-etag-gzip.ts";
import type { AppOptions } from "../route-options.ts";

const DEFAULT_ZONE = "UTC";
export const DEFAULT_LIMIT = 100;
const EXPECTS_ZONE = "the name of a time zone (IANA), such as Europe/Berlin";
const EXPECTS_WHOLE_QUARTERS =
  "a time zone that is whole quarters of an hour from UTC throughout the range (all are, since 1972)";

const time = { pattern: TIME_PATTERN, description: EXPECTS_TIME };
const from = Type.String({ ...time, examples: ["2020-01-10"] });
const to = Type.String({ ...time, examples: ["2020-01-11"] });

const tz = Type.String({
  pattern: "^[A-Za-z][A-Za-z0-9_+/-]{0,63}$",
  description: EXPECTS_ZONE,
  default: DEFAULT_ZONE,
});

function oneOf(...values: readonly [string, ...string[]]) {
  return Type.Optional(
    Type.Union(
      values.map((value) => Type.Literal(value)),
      { description: `one of ${values.join(", ")}`, default: values[0] },
    ),
  );
}

function streamSelection(fallback: string) {
  return Type.Optional(
    Type.String({
      pattern: STREAM_SELECTION_PATTERN,
      description: EXPECTS_STREAM_SELECTION,
      default: fallback,
    }),
  );
}

export const SERIES_FORMATS = ["json", "csv", "text"] as const;
export const STREAMS_FORMATS = ["json", "csv"] as const;
export const ORDERS = ["clicks", "impressions", "ctr", "unique_users", "name"] as const;

export const SeriesQuerySchema = parameters({
  from,
  to: Type.Optional(to),
  step: oneOf(...STEPS),
  week_start: oneOf(...WEEK_STARTS),
  stream: streamSelection(DEFAULT_STREAM),
  tz: Type.Optional(tz),
  format: oneOf(...SERIES_FORMATS),
  exact: Type.Optional(Type.Literal("1", { description: "1, or absent" })),
});

export const StreamsQuerySchema = parameters({
  from: Type.Optional(from),
  to: Type.Optional(to),
  tz: Type.Optional(tz),
  order: oneOf(...ORDERS),
  limit: Type.Optional(
    Type.String({
      // GROUPS_MAX is a power of ten.
      pattern: `^([1-9][0-9]{0,${String(GROUPS_MAX).length - 2}}|${GROUPS_MAX})$`,
      description: `an integer from 1 to ${GROUPS_MAX}`,
      default: String(DEFAULT_LIMIT),
    }),
  ),
  stream: streamSelection(ALL_STREAMS),
  depth: Type.Optional(Type.String({ pattern: "^([1-9]|[12][0-9]|3[0-2])$", description: "an integer from 1 to 32" })),
  format: oneOf(...STREAMS_FORMATS),
});

interface Period {
  readonly from: number;
  readonly to: number;
  readonly zone: TimeZone;
}

type FloorHour = (at: number, zone: TimeZone) => number;

export const UTC_HOURS: FloorHour = hourOf;
/** Differ from UTC hours in zones that are not whole hours from UTC. */
export const HOURS_OF_ZONE: FloorHour = (at, zone) => zone.floorHour(at);

/**
 * Rounds `from` down and `to` up to whole hours. `to` defaults to the end of the current hour, `from` to `defaultHours`
 * before `to`. Throws InvalidParameterError.
 */
export function periodOf(query: Query, now: number, defaultHours: number, floorHour: FloorHour): Period {
  const { tz = DEFAULT_ZONE } = query;
  const zone = TimeZone.named(tz);
  if (zone === undefined) throw new InvalidParameterError("tz", tz, EXPECTS_ZONE);
  const [start, end = now + 1] = [timeIn(query, "from", zone), timeIn(query, "to", zone)];
  const to = floorHour(end + HOUR_MS - 1, zone);
  const from = start === undefined ? Math.max(0, to - defaultHours * HOUR_MS) : floorHour(start, zone);
  checkLength(query, from, to);
  if (!zone.hasWholeQuarters(from, to)) throw new InvalidParameterError("tz", tz, EXPECTS_WHOLE_QUARTERS);
  return { from, to, zone };
}

function timeIn(query: Query, field: "from" | "to", zone: TimeZone): number | undefined {
  const text = query[field];
  if (text === undefined) return undefined;
  const at = timeOf(text, zone);
  if (at === undefined) throw new InvalidParameterError(field, text, expectedTime(text, EXPECTS_TIME));
  return at;
}

function checkLength(query: Query, from: number, to: number): void {
  const field = query["from"] === undefined ? "to" : "from";
  const got = query[field] ?? null;
  const hours = hoursIn({ from, to });
  if (hours <= 0) {
    const end = query["to"] === undefined ? "now, the default of to" : "to";
    throw new InvalidParameterError(field, got, `a time before ${end}`);
  }
  if (hours > RANGE_MAX_HOURS) {
    const expected = `at most ${RANGE_MAX_HOURS} hours before to (these are ${hours})`;
    throw new InvalidParameterError(field, got, expected);
  }
}

/** About one packet: compressing less would not send it faster. */
const PACKED_MIN_CHARS = 1_400;

/** Why acknowledged events may be missing. */
export const DEGRADED = ["hot-store-away", "not-flushed-yet", "dead-letters", "not-kept", "erased"] as const;

export type Degraded = (typeof DEGRADED)[number];

interface RangeBody {
  readonly format: Format;
  readonly text: string;
  readonly degraded: Degraded | undefined;
  readonly isPast: boolean;
}

/** `isKept`: the cold store has not dropped any hour of the range. */
export function degradedOf(isHotStoreAway: boolean, isKept: boolean): Degraded | undefined {
  if (isHotStoreAway) return "hot-store-away";
  return isKept ? undefined : "not-kept";
}

export interface Question extends Period {
  readonly stream: string;
  readonly format: Format;
}

/** The route at `path`: reads a question, finds its answer, and sends it. */
export function rangeRoute<Q extends Question>(
  path: string,
  { log, now, access }: AppOptions,
  gets: RequestCounts,
  readQuestion: (request: Request, now: number) => Q,
  find: (question: Q) => Promise<Pick<RangeBody, "text" | "degraded">>,
) {
  return new Elysia({ name: path }).get(path, async ({ request }) => {
    const startMs = gets.start();
    try {
      const question = readQuestion(request, now());
      const { stream, format, to } = question;
      checkSelection(stream, access?.streamsOf(request));
      const { text, degraded } = await find(question);
      return gets.counted(await rangeAnswer(request, { text, degraded, format, isPast: to <= now() }), startMs);
    } catch (error) {
      return gets.counted(rangeErrorAnswer(error, log, request), startMs);
    }
  });
}

async function rangeAnswer(request: Request, { format, text, degraded, isPast }: RangeBody): Promise<Response> {
  const isKept = isPast && degraded === undefined;
  const headers = {
    "content-type": CONTENT_TYPES[format],
    vary: "accept, accept-encoding",
    ...(degraded !== undefined && { "hourglass-degraded": degraded }),
    ...(isKept ? { "cache-control": "no-cache" } : NO_STORE),
  };
  const etag = isKept ? etagOf(format, text) : undefined;
  const gzipped = text.length >= PACKED_MIN_CHARS ? () => gzip(text) : undefined;
  return await negotiatedAnswer(request, { headers, plain: text, etag, gzipped });
}

function rangeErrorAnswer(error: unknown, log: Log, request: Request): Response {
  if (error instanceof RangeTooLargeError) return errorAnswer(422, rangeTooLarge(error));
  if (error instanceof SlotsFullError) {
    const message = "too many ranges are being read: retry";
    return errorAnswer(503, { code: "overloaded", message }, { "retry-after": "1" });
  }
  return answerToError(error, log, request);
}

export function rangeTooLarge({ message: found }: RangeTooLargeError): ErrorBody {
  return { code: "range_too_large", message: `the range has ${found}: request fewer hours or a narrower branch` };
}

export function ctrOf({ clicks, impressions }: { clicks: number; impressions: number }): number | null {
  return impressions === 0 ? null : clicks / impressions;
}

/** Clicks, impressions and users, under their names in answers. */
export function sumsOf(sums: { readonly clicks: number; readonly impressions: number } & UserCounts) {
  const { clicks, impressions, uniqueUsers, uniqueClickers, uniqueViewers } = sums;
  return {
    ...{ clicks, impressions, ctr: ctrOf(sums) },
    ...{ unique_users: uniqueUsers, unique_clickers: uniqueClickers, unique_viewers: uniqueViewers },
  };
}

/** The format of GET /analytics. */
export function totalText({ uniqueUsers, clicks, impressions }: HourCounts): string {
  return `unique_users,${uniqueUsers}\nclicks,${clicks}\nimpressions,${impressions}\n`;
}

export function csvOf(header: string, rows: readonly (readonly (string | number | null)[])[]): string {
  return [header, ...rows.map(csvRecord), ""].join("\n");
}
