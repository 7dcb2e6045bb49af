/**
 * GET /live: the current hour of a stream and the state of the service, sent once a second (server-sent events). Made
 * for pages that stay open: a stream is read once a second for all its viewers.
 */
import { Elysia } from "elysia";
import { REFUSALS } from "../../domain/refusal-reasons.ts";
import { DEFAULT_STREAM } from "../../domain/stream-rules.ts";
import { checkSelection } from "../../protocol/input-error.ts";
import { parameters, readQuery } from "../../protocol/query-string.ts";
import { expose, type RequestCounts } from "../../runtime/metrics.ts";
import { answerToError, errorAnswer } from "../answers.ts";
import { SeriesQuerySchema } from "../query/range-requests.ts";
import { networkOf, type Peers } from "../requests/client-address.ts";
import type { AppOptions } from "../route-options.ts";
import { CLIENT_FEEDS_MAX, CLIENT_VIEWERS_MAX, LiveFeeds, type NotWatched, type Spectator } from "./feeds.ts";
import { LiveReader } from "./live-reader.ts";

const RETRY = { "retry-after": "5" };
export const STOPPING = { code: "shutting_down", message: `${REFUSALS.shutting_down}; retry later.` };
const FULL = { code: "overloaded", message: "Too many streams are watched; retry later." };
export const SHARE_USED = {
  code: "too_many_feeds",
  message:
    `This key or address already watches ${CLIENT_FEEDS_MAX} streams, or has ${CLIENT_VIEWERS_MAX} connections. ` +
    "Close some; retry later.",
};
const REFUSED: Readonly<Record<NotWatched, () => Response>> = {
  full: () => errorAnswer(503, FULL, RETRY),
  "share used": () => errorAnswer(429, SHARE_USED, RETRY),
};
const HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  // A proxy that compressed it would hold it back, and so would one that buffers (the second header is for nginx).
  "cache-control": "no-store, no-transform",
  "x-accel-buffering": "no",
};

export const LiveQuerySchema = parameters({ stream: SeriesQuerySchema.properties.stream });

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
  return new Elysia({ name: "live" }).get("/live", ({ request, server }) => {
    const startMs = gets.start();
    try {
      const { stream = DEFAULT_STREAM } = readQuery(request.url, LiveQuerySchema);
      checkSelection(stream, access?.streamsOf(request));
      const { stopping } = pipeline;
      if (stopping.aborted) return gets.counted(errorAnswer(503, STOPPING, RETRY), startMs);
      endWith(stopping);
      const body = feeds.watch(stream, spectatorOf(request, server, options));
      const answer = typeof body === "string" ? REFUSED[body]() : new Response(body, { headers: HEADERS });
      return gets.counted(answer, startMs);
    } catch (error) {
      return gets.counted(answerToError(error, log, request), startMs);
    }
  });
}

function spectatorOf(request: Request, peers: Peers | null, { access, addresses }: AppOptions): Spectator {
  return {
    signal: request.signal,
    client: access?.keyIdOf(request) ?? networkIn(addresses.of(request, peers)),
    // The ledger covers all streams, so a key limited to some streams does not show it.
    seesAll: access?.streamsOf(request) === undefined,
    isLetIn: () => access === undefined || access.isStillAdmitted(request),
  };
}

function networkIn(address: string | undefined): string | undefined {
  return address && networkOf(address);
}

function registerMetrics({ metrics: { registry } }: AppOptions, feeds: LiveFeeds): void {
  const readsHelp = "Reads of a stream's current hour, each for all its viewers";
  expose(registry, "counter", "hourglass_live_reads_total", readsHelp, () => [{ value: feeds.readCount }]);
  const viewersHelp = "Open connections of GET /live";
  expose(registry, "gauge", "hourglass_live_viewers", viewersHelp, () => [{ value: feeds.viewerCount }]);
}
