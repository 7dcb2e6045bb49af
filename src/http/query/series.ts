/** GET /series: the sums of a stream, or a branch of streams, by step over a range of hours. */
import { DEFAULT_STREAM, selectionOf } from "../../domain/stream-rules.ts";
import { type Step, Steps, WEEK_STARTS, type WeekStart } from "../../domain/time-steps.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { NotCountableError, readCutHours } from "../../pipeline/read/cut-hours.ts";
import { readExactSeries } from "../../pipeline/read/exact-series.ts";
import { type Lack, SeriesTally, type Sums } from "../../pipeline/read/series-tally.ts";
import { InvalidParameterError } from "../../protocol/input-error.ts";
import { readQuery } from "../../protocol/query-string.ts";
import type { RequestCounts } from "../../runtime/metrics.ts";
import { type Format, preferredFormat } from "../format-etag-gzip.ts";
import type { AppOptions } from "../route-options.ts";
import {
  csvOf,
  type Degraded,
  degradedOf,
  HOURS_OF_ZONE,
  periodOf,
  type Question,
  rangeRoute,
  SERIES_FORMATS,
  SeriesQuerySchema,
  sumsOf,
  totalText,
} from "./range-requests.ts";

const CSV_HEADER = "from,to,clicks,impressions,ctr,unique_users,unique_clickers,unique_viewers";

interface SeriesQuestion extends Question {
  readonly step: Step;
  readonly weekStart: WeekStart;
  readonly isExact: boolean;
}

interface Series {
  readonly rows: readonly Readonly<Sums>[];
  readonly total: Readonly<Sums>;
  readonly degraded: Degraded | undefined;
}

export function series(options: AppOptions, gets: RequestCounts) {
  const { pipeline, now } = options;
  return rangeRoute("/series", options, gets, readQuestion, async (question) => {
    const steps = new Steps(question);
    const found = await readSeries(pipeline, question, steps, now());
    return { text: TEXTS[question.format](question, steps, found), degraded: found.degraded };
  });
}

/** Throws MalformedQueryError or InvalidParameterError. */
function readQuestion(request: Request, now: number): SeriesQuestion {
  const query = readQuery(request.url, SeriesQuerySchema);
  const { stream = DEFAULT_STREAM, step = "hour", week_start = WEEK_STARTS[0], format, exact } = query;
  return {
    ...periodOf(query, now, 0, HOURS_OF_ZONE),
    step: step as Step,
    weekStart: week_start as WeekStart,
    stream,
    format: (format as Format) ?? preferredFormat(request.headers.get("accept"), SERIES_FORMATS),
    isExact: exact === "1",
  };
}

async function readSeries(pipeline: Pipeline, question: SeriesQuestion, steps: Steps, now: number): Promise<Series> {
  const { stream, isExact } = question;
  const streams = selectionOf(stream);
  const range = { ...steps.hours, streams };
  try {
    const { tally, isDegraded } = await pipeline.ranges.read(range, () => new SeriesTally(steps));
    const degraded = degradedOf(isDegraded, steps.from >= pipeline.retention.aggregatesFrom(now));
    const readRows = isExact ? readExactSeries : readCutHours;
    const found = await readRows(pipeline.ranges, steps, streams, tally);
    return {
      ...found,
      degraded: degraded ?? withDeadLetters(found.lacks, pipeline.coldProblems.hasDeadLetters(range)),
    };
  } catch (error) {
    if (!(error instanceof NotCountableError)) throw error;
    const [field, got] = isExact ? ["exact", "1"] : ["tz", question.zone.name];
    throw new InvalidParameterError(field!, got!, error.message);
  }
}

/** An hour whose events are all dead letters is not among those that the rows were compared with. */
function withDeadLetters(lacks: Lack | undefined, hasDeadLetters: boolean): Lack | undefined {
  return hasDeadLetters && lacks !== "not-flushed-yet" ? "dead-letters" : lacks;
}

type Writer = (question: SeriesQuestion, steps: Steps, series: Series) => string;

const TEXTS: Record<Format, Writer> = {
  json: ({ step, weekStart, stream, zone, isExact }, steps, { rows, total }) => {
    const times = timesOf(steps, zone);
    const ofWeeks = step === "week" ? { week_start: weekStart } : {};
    const span = { from: times[0], to: times.at(-1), step, ...ofWeeks, tz: zone.name, stream };
    const members = rows.map((row, i) => ({ from: times[i], to: times[i + 1], ...sumsOf(row) }));
    return JSON.stringify({ ...span, exact: isExact, rows: members, total: sumsOf(total) });
  },
  csv: ({ zone }, steps, { rows }) => {
    const times = timesOf(steps, zone);
    const lines = rows.map((row, i) => [times[i]!, times[i + 1]!, ...Object.values(sumsOf(row))]);
    return csvOf(CSV_HEADER, lines);
  },
  text: (_question, _steps, { total }) => totalText(total),
};

function timesOf({ starts, to }: Steps, zone: Question["zone"]): string[] {
  return [...starts, to].map((at) => zone.textOf(at));
}
