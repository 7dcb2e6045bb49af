/**
 * GET /live: the present hour of a stream, and how the service does, again each second (server-sent events).
 * Made for a page that is left open: however many watch, a stream is read once a second.
 */
import { Type } from "@sinclair/typebox";
import { Elysia } from "elysia";
import { Counter, Gauge } from "prom-client";
import { selectionOf } from "../../domain/stream-set.ts";
import { checkSelection, readQuery } from "../../protocol/event-query.ts";
import { DEFAULT_STREAM } from "../../protocol/event-rules.ts";
import { answerToError, errorAnswer, methodNotAllowed, refusalText } from "../answers.ts";
import { SeriesQuerySchema } from "../query/range-rules.ts";
import type { RequestCounts } from "../requests/counts.ts";
import type { AppOptions } from "../route-options.ts";
import { LiveFeeds, type Spectator } from "./feeds.ts";
import { LiveReader } from "./snapshot.ts";

const RETRY = { "retry-after": "5" };
const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  // A proxy that packed it would hold it back, and so would one that buffers (nginx asks for the second).
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
};

export const LiveQuerySchema = Type.Object(
  { stream: SeriesQuerySchema.properties.stream },
  { additionalProperties: false },
);

export function live(options: AppOptions, gets: RequestCounts) {
  const { pipeline, log, access } = options;
  const reader = new LiveReader(options);
  const feeds = new LiveFeeds((stream) => reader.read(stream));
  registerMetrics(options, feeds);
  let endsWith: AbortSignal | undefined;
  const endWith = (stopping: AbortSignal) => {
    if (endsWith === stopping) return;
    endsWith = stopping;
    stopping.addEventListener("abort", () => feeds.end(), { once: true });
  };
  return new Elysia({ name: "live" })
    .get("/live", ({ request }) => {
      const startMs = gets.start();
      try {
        const { stream = DEFAULT_STREAM } = readQuery(request.url, LiveQuerySchema);
        checkSelection("stream", stream, selectionOf(stream), access?.streamsOf(request));
        const { stopping } = pipeline;
        if (stopping.aborted)
          return gets.counted(refused("shutting_down", refusalText("shutting_down")), startMs);
        endWith(stopping);
        const body = feeds.watch(stream, spectatorOf(request, access));
        if (body === undefined) return gets.counted(refused("overloaded", "too many watch already"), startMs);
        return gets.counted(new Response(body, { headers: HEADERS }), startMs);
      } catch (error) {
        return gets.counted(answerToError(error, log, request), startMs);
      }
    })
    .all("/live", ({ request }) => methodNotAllowed(request.method, "GET"));
}

/** The ledger is of all streams: who has a key for some of them is not shown it. */
function spectatorOf(request: Request, access: AppOptions["access"]): Spectator {
  return {
    signal: request.signal,
    seesAll: access?.streamsOf(request) === undefined,
    isLetIn: () => access === undefined || access.isStillLetIn(request),
  };
}

function refused(code: string, why: string): Response {
  return errorAnswer(503, { code, message: `${why}, come again` }, RETRY);
}

function registerMetrics({ metrics: { registry } }: AppOptions, feeds: LiveFeeds): void {
  new Gauge({
    name: "hourglass_live_viewers",
    help: "Connections that watch a stream",
    registers: [registry],
    collect() {
      this.set(feeds.viewerCount);
    },
  });
  new Counter({
    name: "hourglass_live_reads_total",
    help: "Readings of a stream's present hour, each for all who watch it",
    registers: [registry],
    collect() {
      this.reset();
      this.inc(feeds.readCount);
    },
  });
}
