/** GET /series: a stream, or a branch of streams, step by step over a range of hours. */
import { Elysia } from "elysia";
import type { HourRange } from "../count/hour-range.ts";
import { type Step, Steps } from "../count/steps.ts";
import { type ExactSums, ExactTally } from "../pipeline/exact-tally.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import { SeriesTally, type Sums } from "../pipeline/series-tally.ts";
import { InvalidParameterError, readQuery } from "./analytics-query.ts";
import { DEFAULT_STREAM } from "./analytics-schema.ts";
import { methodNotAllowed } from "./answers.ts";
import type { AppOptions } from "./app-options.ts";
import { type Format, preferredFormat } from "./media-type.ts";
import type { Query } from "./query.ts";
import { csvOf, ctrOf, type RangeBody, rangeAnswer, rangeErrorAnswer } from "./range-answer.ts";
import { type Period, periodOf } from "./range-query.ts";
import { SeriesQuerySchema } from "./range-schema.ts";
import type { RequestCounts } from "./request-counts.ts";

/** Every user of theirs is told from every other in memory: up to 100 MB, and about 2 s. */
const EXACT_MAX_EVENTS = 1_000_000;
const CSV_HEADER = "from,to,clicks,impressions,ctr,unique_users";
const EXACT_CSV_HEADER = `${CSV_HEADER},unique_clickers,unique_viewers`;

interface Question extends Period {
  readonly step: Step;
  readonly stream: string;
  readonly format: Format;
  readonly isExact: boolean;
}

interface Series {
  readonly rows: readonly Readonly<Sums | ExactSums>[];
  readonly total: Readonly<Sums | ExactSums>;
  readonly degraded: RangeBody["degraded"];
}

export function series({ pipeline, log, now }: AppOptions, gets: RequestCounts) {
  return new Elysia({ name: "series" })
    .get("/series", async ({ request }) => {
      try {
        const question = readQuestion(request, now());
        const steps = new Steps(question.from, question.to, question.step, question.zone);
        const found = await readSeries(pipeline, question, steps);
        const text = TEXTS[question.format](question, steps, found);
        const isPast = question.to <= now();
        return gets.counted(
          rangeAnswer(request, { format: question.format, text, degraded: found.degraded, isPast }),
        );
      } catch (error) {
        return gets.counted(rangeErrorAnswer(error, log));
      }
    })
    .all("/series", ({ request }) => methodNotAllowed(request.method, "GET"));
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

async function readSeries(pipeline: Pipeline, question: Question, steps: Steps): Promise<Series> {
  const { from, to, stream, isExact } = question;
  const isPrefix = stream.endsWith("*");
  const range = { from, to, streams: { text: isPrefix ? stream.slice(0, -1) : stream, isPrefix } };
  const { tally, isDegraded } = await pipeline.ranges.read(range, () => new SeriesTally(steps));
  const degraded = isDegraded ? "hot-store-away" : undefined;
  if (isExact) return await readExactSeries(pipeline, range, steps, tally, degraded);
  return { rows: tally.rows(), total: tally.total(), degraded };
}

async function readExactSeries(
  pipeline: Pipeline,
  { streams }: HourRange,
  steps: Steps,
  counted: SeriesTally,
  degraded: Series["degraded"],
): Promise<Series> {
  const eventCount = eventsOf(counted.total());
  if (eventCount > EXACT_MAX_EVENTS) {
    const expected = `a range of at most ${EXACT_MAX_EVENTS} events: this one has ${eventCount}`;
    throw new InvalidParameterError("exact", "1", expected);
  }
  const exact = new ExactTally(steps);
  const hours = counted.activeHours();
  if (hours.length > 0) await pipeline.ranges.readUsers({ hours, streams }, (row) => exact.add(row));
  const total = exact.total();
  const isBehind = eventsOf(total) < eventCount;
  return { rows: exact.rows(), total, degraded: degraded ?? (isBehind ? "not-flushed-yet" : undefined) };
}

function eventsOf({ clicks, impressions }: Readonly<Sums>): number {
  return clicks + impressions;
}

type Writer = (question: Question, steps: Steps, series: Series) => string;

const TEXTS: Record<Format, Writer> = {
  json: ({ step, stream, zone, isExact }, steps, { rows, total }) => {
    const times = timesOf(steps, zone);
    const span = { from: times[0], to: times.at(-1), step, tz: zone.name, stream };
    const members = rows.map((row, i) => ({ from: times[i], to: times[i + 1], ...sumsOf(row) }));
    return JSON.stringify({ ...span, exact: isExact, rows: members, total: sumsOf(total) });
  },
  csv: ({ zone, isExact }, steps, { rows }) => {
    const times = timesOf(steps, zone);
    const lines = rows.map((row, i) => [times[i]!, times[i + 1]!, ...Object.values(sumsOf(row))]);
    return csvOf(isExact ? EXACT_CSV_HEADER : CSV_HEADER, lines);
  },
  text: (_question, _steps, { total: { uniqueUsers, clicks, impressions } }) =>
    `unique_users,${uniqueUsers}\nclicks,${clicks}\nimpressions,${impressions}\n`,
};

/** The starts of all steps, and the end of the last. */
function timesOf({ starts, to }: Steps, zone: Period["zone"]): string[] {
  return [...starts, to].map((at) => zone.textOf(at));
}

function sumsOf(sums: Readonly<Sums | ExactSums>) {
  const { clicks, impressions, uniqueUsers } = sums;
  const shown = { clicks, impressions, ctr: ctrOf(sums), unique_users: uniqueUsers };
  if (!("uniqueClickers" in sums)) return shown;
  return { ...shown, unique_clickers: sums.uniqueClickers, unique_viewers: sums.uniqueViewers };
}
