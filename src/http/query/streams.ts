/** GET /streams: the streams (or branches) with events in a range of hours, best first. */
import { ALL_STREAMS, selectionOf } from "../../domain/stream-rules.ts";
import type { UserCounts } from "../../domain/unique-users/sketch.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { type StreamSums, StreamsTally } from "../../pipeline/read/streams-tally.ts";
import { readQuery } from "../../protocol/query-string.ts";
import type { RequestCounts } from "../../runtime/metrics.ts";
import { type Format, preferredFormat } from "../format-etag-gzip.ts";
import type { AppOptions } from "../route-options.ts";
import {
  csvOf,
  ctrOf,
  DEFAULT_LIMIT,
  degradedOf,
  type ORDERS,
  periodOf,
  type Question,
  rangeRoute,
  STREAMS_FORMATS,
  StreamsQuerySchema,
  sumsOf,
  UTC_HOURS,
} from "./range-requests.ts";

const DEFAULT_HOURS = 24;
const CSV_HEADER = "stream,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers,last_hour";

type Order = (typeof ORDERS)[number];

interface StreamsQuestion extends Question {
  readonly depth: number | null;
  readonly order: Order;
  readonly limit: number;
}

interface Found {
  readonly streams: readonly StreamSums[];
  readonly users: UserCounts;
  readonly isDegraded: boolean;
  readonly hasDeadLetters: boolean;
}

export function streams(options: AppOptions, gets: RequestCounts) {
  const { pipeline, now } = options;
  return rangeRoute("/streams", options, gets, readQuestion, async (question) => {
    const found = await readStreams(pipeline, question);
    const text = question.format === "csv" ? csvText(question, found) : jsonText(question, found);
    const isKept = question.from >= pipeline.retention.aggregatesFrom(now());
    const degraded = degradedOf(found.isDegraded, isKept) ?? (found.hasDeadLetters ? "dead-letters" : undefined);
    return { text, degraded };
  });
}

/** Throws MalformedQueryError or InvalidParameterError. */
function readQuestion(request: Request, now: number): StreamsQuestion {
  const query = readQuery(request.url, StreamsQuerySchema);
  const { stream = ALL_STREAMS, depth, order = "clicks", limit = DEFAULT_LIMIT, format } = query;
  return {
    ...periodOf(query, now, DEFAULT_HOURS, UTC_HOURS),
    stream,
    depth: depth === undefined ? null : Number(depth),
    order: order as Order,
    limit: Number(limit),
    format: (format as Format) ?? preferredFormat(request.headers.get("accept"), STREAMS_FORMATS),
  };
}

async function readStreams(pipeline: Pipeline, { from, to, stream, depth }: StreamsQuestion): Promise<Found> {
  const range = { from, to, streams: selectionOf(stream) };
  const { tally, isDegraded } = await pipeline.ranges.read(
    range,
    () => new StreamsTally(depth ?? Number.POSITIVE_INFINITY),
  );
  const hasDeadLetters = pipeline.coldProblems.hasDeadLetters(range);
  return { streams: tally.streams(), users: tally.users(), isDegraded, hasDeadLetters };
}

/** The number to sort by, descending. Ties, and `name`, are sorted by name. */
const RANKS: Record<Order, (sums: StreamSums) => number> = {
  clicks: ({ clicks }) => clicks,
  impressions: ({ impressions }) => impressions,
  ctr: (sums) => ctrOf(sums) ?? -1,
  unique_users: ({ uniqueUsers }) => uniqueUsers,
  name: () => 0,
};

function best({ order, limit }: StreamsQuestion, found: readonly StreamSums[]): StreamSums[] {
  const rank = RANKS[order];
  const byName = (a: StreamSums, b: StreamSums) => (a.stream < b.stream ? -1 : 1);
  return found.toSorted((a, b) => rank(b) - rank(a) || byName(a, b)).slice(0, limit);
}

function jsonText(question: StreamsQuestion, { streams: found, users }: Found): string {
  const { from, to, zone, stream, depth, order, limit } = question;
  const [clicks, impressions] = [sumOf(found, "clicks"), sumOf(found, "impressions")];
  return JSON.stringify({
    from: zone.textOf(from),
    to: zone.textOf(to),
    ...{ tz: zone.name, stream, depth, order, limit },
    streams: best(question, found).map((sums) => rowOf(sums, zone)),
    total: { streams: found.length, ...sumsOf({ clicks, impressions, ...users }) },
  });
}

function sumOf(found: readonly StreamSums[], field: "clicks" | "impressions"): number {
  return found.reduce((sum, each) => sum + each[field], 0);
}

function csvText(question: StreamsQuestion, { streams: found }: Found): string {
  const rows = best(question, found).map((sums) => Object.values(rowOf(sums, question.zone)));
  return csvOf(CSV_HEADER, rows);
}

function rowOf(sums: StreamSums, zone: Question["zone"]) {
  return { stream: sums.stream, ...sumsOf(sums), last_hour: zone.textOf(sums.lastHour) };
}
