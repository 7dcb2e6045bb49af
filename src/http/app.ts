/** The HTTP interface, without a socket: it is given the pipeline, and can be asked with `app.handle`. */
import { Elysia } from "elysia";
import { analytics } from "./analytics.ts";
import { answerToError, errorAnswer } from "./answers.ts";
import { apiDocs } from "./api-docs.ts";
import type { AppOptions } from "./app-options.ts";
import { BODY_MAX_BYTES } from "./body.ts";
import { events } from "./events.ts";
import { ledger } from "./ledger.ts";
import { metrics } from "./metrics.ts";
import { ops } from "./ops.ts";
import { RequestCounts } from "./request-counts.ts";
import { series } from "./series.ts";
import { streams } from "./streams.ts";

/**
 * For all routes, of which /events takes the largest (analytics.ts has a bound of its own). Twice as much, since
 * above this the connection is closed with 413 and no word: whoever is not far off should be told why.
 */
const RECEIVED_MAX_BYTES = 2 * BODY_MAX_BYTES;
const IDLE_TIMEOUT_S = 30;

export function createApp(options: AppOptions) {
  const posts = new RequestCounts("POST", "/analytics");
  const gets = new RequestCounts("GET", "/analytics");
  const batches = new RequestCounts("POST", "/events");
  const seriesGets = new RequestCounts("GET", "/series");
  const streamsGets = new RequestCounts("GET", "/streams");
  return new Elysia({
    // Unasked, reusePort would let a second instance take half of the requests without a word.
    serve: {
      reusePort: options.sharesPort,
      maxRequestBodySize: RECEIVED_MAX_BYTES,
      idleTimeout: IDLE_TIMEOUT_S,
    },
  })
    .use(analytics(options, { posts, gets }))
    .use(events(options, batches))
    .use(ops(options))
    .use(ledger(options))
    .use(series(options, seriesGets))
    .use(streams(options, streamsGets))
    .use(metrics(options, [posts, gets, batches, seriesGets, streamsGets]))
    .use(apiDocs())
    .onError(({ error, code, request }) => {
      if (code !== "NOT_FOUND") return answerToError(error, options.log);
      // No URL at all if its Host header is none.
      const path = URL.parse(request.url)?.pathname ?? request.url;
      return errorAnswer(404, { code: "not_found", message: `there is nothing at ${path}` });
    });
}
