/** POST /analytics takes an event; GET /analytics returns an hour. */
import { Elysia } from "elysia";
import { HOUR_MS, type HourCounts, hourOf } from "../../domain/event.ts";
import type { Pipeline } from "../../pipeline/pipeline.ts";
import { UNREADABLE_BODY } from "../../protocol/body/encoding.ts";
import { IGNORED_BODY_MAX_BYTES } from "../../protocol/body/limits.ts";
import { type HourQuery, readEvent, readHourQuery } from "../../protocol/event/from-query.ts";
import { IDEMPOTENCY_KEY, withIdempotencyKey } from "../../protocol/event/idempotency-key.ts";
import { checkStream, TooManyStreamsError } from "../../protocol/input-error.ts";
import type { HourAge, RequestCounts } from "../../runtime/metrics.ts";
import { answerToError, errorAnswer, NO_STORE, outcomeAnswer, refusalReasonOf } from "../answers.ts";
import { CONTENT_TYPES, preferredFormat } from "../format-etag-gzip.ts";
import { ctrOf, type Degraded, totalText } from "../query/range-requests.ts";
import type { AppOptions } from "../route-options.ts";

/** Reused: an answer takes 0.3 µs with these, and 0.55 with a plain object. */
const HEADERS = { text: headersOf("text"), json: headersOf("json") };
export const TOO_LARGE_BODY = {
  code: "body_too_large",
  message: `the body exceeds ${IGNORED_BODY_MAX_BYTES} bytes, and none is needed here: nothing was counted`,
};

interface AnalyticsCounts {
  readonly posts: RequestCounts;
  readonly gets: RequestCounts;
}

export function analytics({ pipeline, log, now, access }: AppOptions, { posts, gets }: AnalyticsCounts) {
  return new Elysia({ name: "analytics" })
    .post("/analytics", async ({ request }) => {
      const startMs = posts.start();
      let age: HourAge = "any";
      let reserved: string | undefined;
      try {
        const time = now();
        const sent = readEvent(request.url, time, pipeline.retention.earliestAccepted(time));
        const key = request.headers.get(IDEMPOTENCY_KEY);
        const event = key === null ? sent : withIdempotencyKey(sent, key);
        age = ageOf(event.at, time);
        if (access !== undefined) checkStream(event.stream, access.streamsOf(request));
        if (!pipeline.streams.reserve(event.stream)) throw new TooManyStreamsError(event.stream);
        reserved = event.stream;
        if (request.body !== null) {
          const fault = await faultOfBody(request);
          if (fault !== undefined) {
            pipeline.ledger.refused.invalid += 1;
            return posts.counted(fault, startMs);
          }
        }
        const outcome = await pipeline.submit(event);
        if (outcome !== undefined) return posts.counted(outcomeAnswer(outcome), startMs, age);
        posts.add(204, startMs, age);
        return new Response(null, { status: 204 });
      } catch (error) {
        const reason = refusalReasonOf(error);
        if (reason !== undefined) pipeline.ledger.refused[reason] += 1;
        return posts.counted(answerToError(error, log, request), startMs, age);
      } finally {
        if (reserved !== undefined) pipeline.streams.release(reserved);
      }
    })
    .get("/analytics", async ({ request }) => {
      const startMs = gets.start();
      let age: HourAge = "any";
      try {
        const time = now();
        const query = readHourQuery(request.url, time);
        age = ageOf(query.hour, time);
        checkStream(query.stream, access?.streamsOf(request));
        const format = query.format ?? acceptedFormat(request.headers.get("accept"));
        return gets.counted(await hourAnswer(pipeline, query, format, time), startMs, age);
      } catch (error) {
        return gets.counted(answerToError(error, log, request), startMs, age);
      }
    });
}

/**
 * A body has no meaning here, so a large one is a mistake or an attack. If a body breaks off, the server answers 400
 * regardless of the handler, so nothing may be counted before the body's end.
 */
export async function faultOfBody(request: Request): Promise<Response | undefined> {
  const announced = Number(request.headers.get("content-length"));
  try {
    if (announced > IGNORED_BODY_MAX_BYTES || !(await isShort(request.body!))) return errorAnswer(413, TOO_LARGE_BODY);
    return undefined;
  } catch {
    return errorAnswer(400, UNREADABLE_BODY);
  }
}

/** Reads the body to its end or the limit. Throws if it breaks off. */
async function isShort(body: ReadableStream<Uint8Array>): Promise<boolean> {
  let byteCount = 0;
  for await (const chunk of body) {
    byteCount += chunk.byteLength;
    if (byteCount > IGNORED_BODY_MAX_BYTES) return false;
  }
  return true;
}

function ageOf(at: number, nowMs: number): HourAge {
  return at >= hourOf(nowMs) ? "current" : "older";
}

type HourFormat = "text" | "json";

function headersOf(format: HourFormat) {
  const plain = new Headers({ "content-type": CONTENT_TYPES[format], ...NO_STORE });
  const degraded = (why: Degraded) => new Headers([...plain, ["hourglass-degraded", why]]);
  return {
    plain,
    hotStoreAway: degraded("hot-store-away"),
    notKept: degraded("not-kept"),
    lacking: degraded("dead-letters"),
  };
}

function acceptedFormat(accept: string | null): HourFormat {
  if (accept === null || accept === "*/*") return "text";
  return preferredFormat(accept, ["text", "json"]) as HourFormat;
}

async function hourAnswer(pipeline: Pipeline, query: HourQuery, format: HourFormat, now: number): Promise<Response> {
  const { isDegraded, ...counts } = await pipeline.read(query);
  const isKept = query.hour >= pipeline.retention.aggregatesFrom(now);
  const headers =
    HEADERS[format][isDegraded ? "hotStoreAway" : isKept ? headersNameOfKept(pipeline, query) : "notKept"];
  return new Response(format === "text" ? totalText(counts) : hourJson(query, counts), { headers });
}

function headersNameOfKept({ coldProblems }: Pipeline, { hour, stream }: HourQuery): "plain" | "lacking" {
  if (coldProblems.deadLetterCount === 0) return "plain";
  const range = { from: hour, to: hour + HOUR_MS, streams: { text: stream, isPrefix: false } };
  return coldProblems.hasDeadLetters(range) ? "lacking" : "plain";
}

function hourJson({ hour, stream }: HourQuery, counts: HourCounts): string {
  const { clicks, impressions, uniqueUsers } = counts;
  const [from, to] = [hour, hour + HOUR_MS].map((at) => new Date(at).toISOString().replace(".000Z", "Z"));
  return JSON.stringify({ from, to, stream, clicks, impressions, ctr: ctrOf(counts), unique_users: uniqueUsers });
}
