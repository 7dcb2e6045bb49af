/** The HTTP interface, without a socket: it is given the pipeline, and can be asked with `app.handle`. */
import { Elysia } from "elysia";
import { accessControl } from "./access-control.ts";
import { analytics } from "./analytics.ts";
import { answerToError, errorAnswer } from "./answers.ts";
import { apiDocs } from "./api-docs.ts";
import type { AppOptions } from "./app-options.ts";
import { BODY_MAX_BYTES } from "./body.ts";
import { browsers } from "./browsers.ts";
import { crossOrigin } from "./cross-origin.ts";
import { dashboard } from "./dashboard.ts";
import { events } from "./events.ts";
import { ledger } from "./ledger.ts";
import { live } from "./live.ts";
import { metrics } from "./metrics.ts";
import { ops } from "./ops.ts";
import { RequestCounts } from "./request-counts.ts";
import { RequestLines } from "./request-lines.ts";
import { series } from "./series.ts";
import { streams } from "./streams.ts";

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
