/** GET /series: a stream, or a branch of streams, step by step over a range of hours. */
import { Elysia } from "elysia";
import { type Step, Steps } from "../../domain/steps.ts";
import { DEFAULT_STREAM } from "../../domain/stream-name.ts";
import { selectionOf } from "../../domain/stream-set.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { NotCountableError, readExactSeries } from "../../pipeline/read/exact-series.ts";
import { SeriesTally, type Sums } from "../../pipeline/read/series-tally.ts";
import { readQuery } from "../../protocol/event/from-query.ts";
import { checkSelection, InvalidParameterError } from "../../protocol/invalid-parameter.ts";
import type { Query } from "../../protocol/query-string.ts";
import { type Format, preferredFormat } from "../media-type.ts";
import type { RequestCounts } from "../requests/counts.ts";
import type { AppOptions } from "../route-options.ts";
import { csvOf, ctrOf, type Degraded, degradedOf, rangeAnswer, rangeErrorAnswer, usersOf } from "./range/answer.ts";
import { type Period, periodOf } from "./range/parameters.ts";
import { SeriesQuerySchema } from "./range/schemas.ts";

const CSV_HEADER = "from,to,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers";

interface Question extends Period {
  readonly step: Step;
  readonly stream: string;
  readonly format: Format;
  readonly isExact: boolean;
}

interface Series {
  readonly rows: readonly Readonly<Sums>[];
  readonly total: Readonly<Sums>;
  readonly degraded: Degraded | undefined;
}

export function series({ pipeline, log, now, access }: AppOptions, gets: RequestCounts) {
  return new Elysia({ name: "series" }).get("/series", async ({ request }) => {
    const startMs = gets.start();
    try {
      const question = readQuestion(request, now());
      const { stream } = question;
      checkSelection("stream", stream, selectionOf(stream), access?.streamsOf(request));
      const steps = new Steps(question.from, question.to, question.step, question.zone);
      const found = await readSeries(pipeline, question, steps, now());
      const text = TEXTS[question.format](question, steps, found);
      const isPast = question.to <= now();
      const body = { format: question.format, text, degraded: found.degraded, isPast };
      return gets.counted(rangeAnswer(request, body), startMs);
    } catch (error) {
      return gets.counted(rangeErrorAnswer(error, log, request), startMs);
    }
  });
}

/** Throws MalformedQueryError or InvalidParameterError. */
function readQuestion(request: Request, now: number): Question {
  const query = readQuery(request.url, SeriesQuerySchema);
  const { stream = DEFAULT_STREAM, exact } = query;
  const step = (query["step"] ?? "hour") as Step;
  const format = formatOf(query, step, request.headers.get("accept"));
  return { ...periodOf(query, now, 0), step, stream, format, isExact: exact === "1" };
}

/** The plain text is that of one hour: it has no place for rows. */
function formatOf({ format }: Query, step: Step, accept: string | null): Format {
  if (format === "text" && step !== "total") {
    throw new InvalidParameterError("format", format, "json or csv, or text with step=total");
  }
  if (format !== undefined) return format as Format;
  return preferredFormat(accept, step === "total" ? ["json", "csv", "text"] : ["json", "csv"]);
}

async function readSeries(pipeline: Pipeline, question: Question, steps: Steps, now: number): Promise<Series> {
  const { from, to, stream, isExact } = question;
  const range = { from, to, streams: selectionOf(stream) };
  const { tally, isDegraded } = await pipeline.ranges.read(range, () => new SeriesTally(steps));
  const degraded = degradedOf(isDegraded, from >= pipeline.retention.aggregatesFrom(now));
  if (!isExact) return { rows: tally.rows(), total: tally.total(), degraded };
  try {
    const exact = await readExactSeries(pipeline.ranges, steps, range.streams, tally);
    return { ...exact, degraded: degraded ?? exact.lacks };
  } catch (error) {
    if (error instanceof NotCountableError) throw new InvalidParameterError("exact", "1", error.message);
    throw error;
  }
}

type Writer = (question: Question, steps: Steps, series: Series) => string;

const TEXTS: Record<Format, Writer> = {
  json: ({ step, stream, zone, isExact }, steps, { rows, total }) => {
    const times = timesOf(steps, zone);
    const span = { from: times[0], to: times.at(-1), step, tz: zone.name, stream };
    const members = rows.map((row, i) => ({ from: times[i], to: times[i + 1], ...sumsOf(row) }));
    return JSON.stringify({ ...span, exact: isExact, rows: members, total: sumsOf(total) });
  },
  csv: ({ zone }, steps, { rows }) => {
    const times = timesOf(steps, zone);
    const lines = rows.map((row, i) => [times[i]!, times[i + 1]!, ...Object.values(sumsOf(row))]);
    return csvOf(CSV_HEADER, lines);
  },
  text: (_question, _steps, { total: { uniqueUsers, clicks, impressions } }) =>
    `unique_users,${uniqueUsers}\nclicks,${clicks}\nimpressions,${impressions}\n`,
};

/** The starts of all steps, and the end of the last. */
function timesOf({ starts, to }: Steps, zone: Period["zone"]): string[] {
  return [...starts, to].map((at) => zone.textOf(at));
}

function sumsOf(sums: Readonly<Sums>) {
  const { clicks, impressions } = sums;
  return { clicks, impressions, ctr: ctrOf(sums), ...usersOf(sums) };
}
