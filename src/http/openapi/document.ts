/** The API as one OpenAPI document. A test compares it with the routes and their answers. */
import { version } from "../../../package.json";
import { SECURITY_SCHEMES, withAccess } from "./access.ts";
import { analyticsPaths, hourSchemas } from "./analytics.ts";
import { browsersPaths } from "./browsers.ts";
import { eventsPaths, eventsSchemas } from "./events.ts";
import { livePaths, liveSchemas } from "./live.ts";
import { opsPaths, opsSchemas } from "./ops.ts";
import { ErrorSchema, failure, HEADERS, mapOperations, type Paths } from "./parts.ts";
import { rangesPaths, rangesSchemas } from "./series.ts";

const ABOUT = `Counts clicks, impressions and unique users per UTC hour and stream.

After a 204, or when counted as \`accepted\`, an event is stored, included in every later answer, and counted once. An
error with the body below, other than 500 and 504, means that it was not counted. After a 500, a 504, an error without
that body, or no answer at all, it may have been counted: with an \`id\`, a retry is safe. A 503 says in
\`retry-after\` when to retry.

Every error has the same shape: \`{"error": {"code", "message", "field"?, "got"?, "expected"?}}\`. Unlisted
parameters are refused by \`/analytics\`, \`/events\`, \`/pixel.gif\`, \`/beacon\`, \`/series\`, \`/streams\` and
\`/live\`, and ignored by all other paths. API keys, if the settings require them, are sent as
\`Authorization: Bearer hg_…\`. On any path, a Host header that is malformed or repeated is answered with 400, \`code\`:
\`invalid_host\`. Any other path is answered with 404, \`code\`: \`not_found\`.

Two answers come from the HTTP server itself, without such a body. 431: the head exceeds 16 KB or about 197 headers.
400: the request is not HTTP, is pipelined, has trailers, or has bytes after its body; whether it was counted is
unknown, as with a broken connection. A client that closes its sending half early gets no answer at all.`;

function withMethods(paths: Paths): Paths {
  return mapOperations(paths, (operation, _method, path) => {
    const allowed = Object.keys(paths[path]!).sort().join(", ").toUpperCase();
    const code = "method_not_allowed";
    const message = `PUT is not supported here. This path supports ${allowed}.`;
    const refused = failure(`Any method but ${allowed}.`, { code, message }, { headers: ["allow"] });
    return { ...operation, responses: { ...operation.responses, 405: refused } };
  });
}

export const API_DOCUMENT = {
  openapi: "3.1.0",
  info: { title: "Hourglass", version, description: ABOUT },
  servers: [{ url: "./", description: "this service" }],
  tags: [
    { name: "Events", description: "send events" },
    { name: "Browsers", description: "count on web pages" },
    { name: "Counts", description: "read counts" },
    { name: "Operation", description: "health, ledger and metrics" },
    { name: "Description", description: "this description" },
  ],
  paths: withAccess(
    withMethods({ ...analyticsPaths, ...eventsPaths, ...browsersPaths, ...rangesPaths, ...livePaths, ...opsPaths }),
  ),
  components: {
    schemas: { Error: ErrorSchema, ...hourSchemas, ...eventsSchemas, ...rangesSchemas, ...liveSchemas, ...opsSchemas },
    headers: HEADERS,
    securitySchemes: SECURITY_SCHEMES,
  },
};

export type ApiDocument = typeof API_DOCUMENT;
