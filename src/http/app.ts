/**
 * Wires the HTTP interface: hooks first (log, Host, CORS, access), then the routes. Tests can use it without a socket
 * through `app.handle`; with a socket, unrouted.ts answers requests that match no route.
 */
import { Elysia } from "elysia";
import { GOT_MAX_CHARS } from "../protocol/input-error.ts";
import { RequestCounts } from "../runtime/metrics.ts";
import { accessControl } from "./access/access.ts";
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
import { RequestLines } from "./requests/log-lines.ts";
import type { AppOptions } from "./route-options.ts";
import { unroutedAnswers } from "./unrouted.ts";

/** Above this, Bun would answer a bare 413. Every route that reads a body has its own limit, and explains it. */
const RECEIVED_MAX_BYTES = Number.MAX_SAFE_INTEGER;
/** The first slash comes after "http://" or "https://" and at least one character. */
const EARLIEST_PATH = 8;
const TIMED_POSTS = 8;
const CROSS_ORIGIN_METHODS = new Map([
  ["/analytics", "GET, POST"],
  ["/pixel.gif", "GET"],
  ["/beacon", "POST"],
  ["/events", "POST"],
  ["/series", "GET"],
  ["/streams", "GET"],
]);

/**
 * A new route is also listed in CROSS_ORIGIN_METHODS and `counts` here, in access/route-scopes.ts, openapi/ and
 * typed-app.ts.
 */
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
  const lines = options.requestLog && new RequestLines(options.requestLog);
  const logged = (request: Request, answer: Response) => lines?.answered(request, answer) ?? answer;
  const hostRefusalOf = hostCheck(logged);
  const unrouted = unroutedAnswers(() => app.routes);
  const app = new Elysia({
    strictPath: true,
    // With the default reusePort, a second instance would silently take half of the requests.
    serve: {
      routes: {
        "/*": (request: Request) => {
          lines?.begin(request);
          return hostRefusalOf(request) ?? logged(request, unrouted(request));
        },
      },
      reusePort: options.sharesPort,
      maxRequestBodySize: RECEIVED_MAX_BYTES,
      idleTimeout: options.idleTimeoutS,
      ...(certificate !== undefined && { tls: { ...certificate } }),
    },
  });
  if (lines !== undefined) app.use(lines.plugin());
  // Elysia routes every request asynchronously if the text of a hook looks like "return f(…)" or "=> f(…)".
  app.onRequest(({ request }) => {
    const refusal = hostRefusalOf(request);
    if (refusal !== undefined) return refusal;
  });
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
      const answer = code === "NOT_FOUND" ? unrouted(request) : answerToError(error, options.log, request);
      return logged(request, answer);
    });
}

/**
 * Returns a check of the Host header (RFC 9112, 3.2), which is undefined for requests that may be routed. Bun accepts
 * any text in it, and passes the path alone if it makes no URL. With several Host headers it uses the first for the
 * URL, and joins all by ", ". Requests without Host are accepted: health checks of load balancers use HTTP/1.0.
 */
function hostCheck(logged: (request: Request, answer: Response) => Response) {
  // The latest good URL up to its path, which most requests share.
  let good = "\0";
  let goodHost: string | null = null;
  return (request: Request): Response | undefined => {
    const { url } = request;
    const host = request.headers.get("host");
    if (host === goodHost && url.startsWith(good)) return undefined;
    const isPathAlone = url.startsWith("/");
    const origin = isPathAlone ? "" : url.slice(0, url.indexOf("/", EARLIEST_PATH) + 1);
    const isGood = isPathAlone ? (host ?? "") === "" : URL.canParse(origin) && !host?.includes(", ");
    if (isGood && !isPathAlone) [good, goodHost] = [origin, host];
    return isGood ? undefined : logged(request, hostRefused(host));
  };
}

function hostRefused(got: string | null): Response {
  const expected = "a host name or address, and a port if it is not the default";
  const shown = (got ?? "").slice(0, GOT_MAX_CHARS);
  const message = `host: got ${JSON.stringify(shown)}, expected ${expected}`;
  return errorAnswer(400, { code: "invalid_host", message, field: "host", got: shown, expected });
}
