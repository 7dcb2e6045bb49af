/** The API as one OpenAPI document. A test holds it against the routes and against what they answer. */
import { version } from "../../../package.json";
import { SECURITY_SCHEMES, withAccess } from "./access.ts";
import { analyticsPaths } from "./analytics.ts";
import { browsersPaths } from "./browsers.ts";
import { eventsPaths, eventsSchemas } from "./events.ts";
import { livePaths, liveSchemas } from "./live.ts";
import { opsPaths, opsSchemas } from "./ops.ts";
import { ErrorSchema, failure, HEADERS, type Paths } from "./parts.ts";
import { rangesPaths, rangesSchemas } from "./series.ts";

const ABOUT = `Counts clicks, impressions and unique users per UTC hour and stream.

What was answered with 204, or is \`accepted\` in an answer, is stored and in every answer from then on, and is
counted once. What was answered with an error, 500 apart, was not counted. 503 says in \`retry-after\` when to come
again. When no answer comes at all, an event may have been counted: with an \`id\` it can be sent again without
counting twice.

Every error has the same shape: \`{"error": {"code", "message", "field"?, "got"?, "expected"?}}\`. Parameters that
are not listed are refused, but for \`/r\`. Where the settings ask for keys, they are sent as
\`Authorization: Bearer hg_…\`. There are two answers without such a body, from the HTTP server itself:
413 to a body far over the limits, and 400 to what is not HTTP. On any path, a malformed Host header is answered with
400, \`code\`: \`invalid_host\`. Any other path is answered with 404, \`code\`: \`not_found\`.`;

function withMethods(paths: Paths): Paths {
  return Object.fromEntries(
    Object.entries(paths).map(([path, operations]) => {
      const allowed = Object.keys(operations).sort().join(", ").toUpperCase();
      const code = "method_not_allowed";
      const message = `PUT is not supported here. This path takes ${allowed}.`;
      const refused = failure(`Any method but ${allowed}.`, [code], { code, message }, { headers: ["allow"] });
      const described = Object.entries(operations).map(([method, operation]) => {
        return [method, { ...operation, responses: { ...operation.responses, 405: refused } }];
      });
      return [path, Object.fromEntries(described)];
    }),
  );
}

export const API_DOCUMENT = {
  openapi: "3.1.0",
  info: { title: "Hourglass", version, description: ABOUT },
  servers: [{ url: "./", description: "where this comes from" }],
  tags: [
    { name: "Events", description: "what is counted" },
    { name: "Browsers", description: "what is counted on web pages" },
    { name: "Counts", description: "what it comes to" },
    { name: "Operation", description: "whether all is well" },
    { name: "Description", description: "what is taken and answered" },
  ],
  paths: withAccess(
    withMethods({
      ...analyticsPaths,
      ...eventsPaths,
      ...browsersPaths,
      ...rangesPaths,
      ...livePaths,
      ...opsPaths,
    }),
  ),
  components: {
    schemas: { Error: ErrorSchema, ...eventsSchemas, ...rangesSchemas, ...liveSchemas, ...opsSchemas },
    headers: HEADERS,
    securitySchemes: SECURITY_SCHEMES,
  },
};

export type ApiDocument = typeof API_DOCUMENT;
