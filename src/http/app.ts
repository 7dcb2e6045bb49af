/** The HTTP interface, without a socket: it is given the pipeline, and can be asked with `app.handle`. */
import { Elysia } from "elysia";
import { BODY_MAX_BYTES } from "../protocol/body-encoding.ts";
import { accessControl } from "./access/gate.ts";
import { answerToError, errorAnswer } from "./answers.ts";
import { crossOrigin } from "./cross-origin.ts";
import { dashboard } from "./dashboard/routes.ts";
import { analytics } from "./ingest/analytics.ts";
import { browsers } from "./ingest/browsers.ts";
import { events } from "./ingest/events.ts";
import { live } from "./live/live.ts";
import { apiDocs } from "./openapi/docs-page.ts";
import { ledger } from "./ops/ledger-route.ts";
import { metrics } from "./ops/metrics-route.ts";
import { ops } from "./ops/probes.ts";
import { series } from "./query/series.ts";
import { streams } from "./query/streams.ts";
import { RequestCounts } from "./requests/counts.ts";
import { RequestLines } from "./requests/log-lines.ts";
import type { AppOptions } from "./route-options.ts";

/**
 * For all routes, of which /events takes the largest (analytics.ts has a bound of its own). Twice as much, since
 * above this the connection is closed with 413 and no word: whoever is not far off should be told why.
 */
const RECEIVED_MAX_BYTES = 2 * BODY_MAX_BYTES;
const IDLE_TIMEOUT_S = 30;
/** One of so many. */
const TIMED_POSTS = 8;
/** What pages of other origins may send, and read the answers of. */
const CROSS_ORIGIN_METHODS = new Map([
  ["/analytics", "GET, POST"],
  ["/pixel.gif", "GET"],
  ["/beacon", "POST"],
  ["/events", "POST"],
  ["/series", "GET"],
  ["/streams", "GET"],
]);

export function createApp(options: AppOptions) {
  const posts = new RequestCounts("POST", "/analytics", TIMED_POSTS);
  const gets = new RequestCounts("GET", "/analytics");
  const batches = new RequestCounts("POST", "/events");
  const pixels = new RequestCounts("GET", "/pixel.gif");
  const beacons = new RequestCounts("POST", "/beacon");
  const redirects = new RequestCounts("GET", "/r");
  const seriesGets = new RequestCounts("GET", "/series");
  const streamsGets = new RequestCounts("GET", "/streams");
  const liveGets = new RequestCounts("GET", "/live");
  const counts = [posts, gets, batches, pixels, beacons, redirects, seriesGets, streamsGets, liveGets];
  const { access, certificate } = options;
  const app = new Elysia({
    // Unasked, reusePort would let a second instance take half of the requests without a word.
    serve: {
      reusePort: options.sharesPort,
      maxRequestBodySize: RECEIVED_MAX_BYTES,
      idleTimeout: IDLE_TIMEOUT_S,
      ...(certificate !== undefined && { tls: { ...certificate } }),
    },
  });
  const lines = options.requestLog && new RequestLines(options.requestLog);
  if (lines !== undefined) app.use(lines.plugin());
  const { corsOrigins } = options.browserSettings;
  if (corsOrigins !== undefined) app.use(crossOrigin(corsOrigins, CROSS_ORIGIN_METHODS));
  if (access !== undefined) app.use(accessControl(access, options.pipeline.ledger, counts));
  return app
    .use(analytics(options, { posts, gets }))
    .use(events(options, batches))
    .use(browsers(options, { pixels, beacons, redirects }))
    .use(ops(options))
    .use(ledger(options))
    .use(series(options, seriesGets))
    .use(streams(options, streamsGets))
    .use(live(options, liveGets))
    .use(metrics(options, counts))
    .use(apiDocs())
    .use(dashboard())
    .onError(({ error, code, request }) => {
      const answer = code === "NOT_FOUND" ? notFound(request) : answerToError(error, options.log, request);
      return lines === undefined ? answer : lines.answered(request, answer);
    });
}

function notFound(request: Request): Response {
  // No URL at all if its Host header is none.
  const path = URL.parse(request.url)?.pathname ?? request.url;
  return errorAnswer(404, { code: "not_found", message: `there is nothing at ${path}` });
}
