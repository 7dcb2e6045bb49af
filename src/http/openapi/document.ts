/**
 * The API as one OpenAPI document. A test compares it with the routes and their answers. Keys and limits are added to
 * each route from the same list that admits requests.
 */
import { version } from "../../../package.json";
import { type Scope, SHOWN_TOKEN } from "../../domain/api-key.ts";
import { KEY_INVALID, KEY_MISSING, KEYS_UNKNOWN, LIMIT_HEADERS, rateLimited, scopeMissing } from "../access/denials.ts";
import { accessOf, type RouteAccess } from "../access/route-scopes.ts";
import { methodNotAllowed } from "../unrouted.ts";
import { opsPaths, opsSchemas } from "./ops-routes.ts";
import { type Answer, ErrorSchema, failure, HEADERS, type Operation, type Paths, STREAM_NOT_ALLOWED } from "./parts.ts";
import { readPaths, readSchemas } from "./read-routes.ts";
import { writePaths, writeSchemas } from "./write-routes.ts";

const ABOUT = `Counts clicks, impressions and unique users per UTC hour and stream.

After a 204, or when counted as \`accepted\`, an event is stored, included in every later answer, and counted once. An
error with the body below, other than 500 and 504, means that it was not counted. After a 500, a 504, an error without
that body, or no answer at all, it may have been counted: with an \`id\`, a retry is safe. A 503 says in
\`retry-after\` when to retry.

Every error has the same shape: \`{"error": {"code", "message", "field"?, "got"?, "expected"?}}\`. Unlisted
parameters are refused by \`/analytics\`, \`/events\`, \`/pixel.gif\`, \`/beacon\`, \`/series\`, \`/streams\` and
\`/live\`, and ignored by all other paths. API keys, if the settings require them, are sent as
\`Authorization: Bearer ${SHOWN_TOKEN}\`. On any path, a Host header that is malformed or repeated is answered with 400,
\`code\`: \`invalid_host\`. Any other path is answered with 404, \`code\`: \`not_found\`.

Two answers come from the HTTP server itself, without such a body. 431: the request line and headers exceed 16 KB, or
there are more than about 197 headers. 400: the request is not HTTP, is pipelined, has trailers, or has bytes after its
body; whether it was counted is unknown, as with a broken connection. A client that closes its sending half early gets
no answer at all.`;

const SCHEME = "apiKey";

const SECURITY_SCHEMES = {
  [SCHEME]: {
    type: "http",
    scheme: "bearer",
    bearerFormat: SHOWN_TOKEN,
    description: "Required only if the settings demand it. `hourglass keys create` creates one.",
  },
};

const unauthorized = failure(
  "Nothing was done: an API key is required, and is missing, unknown, revoked or expired.",
  KEY_MISSING,
  { otherCodes: [KEY_INVALID.code], headers: ["www-authenticate"] },
);

function forbidden(scope: Scope, path: string): Answer {
  // For /events, an event whose stream is not allowed is invalid.
  const isForStreams = scope !== "admin" && path !== "/events";
  return failure(
    `Nothing was done: the API key is not of scope \`${scope}\`${isForStreams ? ", or not for this stream" : ""}.`,
    scopeMissing(scope, [scope === "read" ? "write" : "read"]),
    { otherCodes: isForStreams ? [STREAM_NOT_ALLOWED.code] : [], headers: ["www-authenticate"] },
  );
}

const notForBrowsers = failure("Nothing was counted: browsers may not count in this stream.", STREAM_NOT_ALLOWED);

const limited = failure(
  "Nothing was done: this key or address has used up its limit. Retry after `retry-after`.",
  rateLimited("key", { limit: { count: 100, windowMs: 1_000 } }),
  { headers: ["retry-after", ...LIMIT_HEADERS] },
);

const keysUnknown = failure("The store that holds the API keys does not answer: retry.", KEYS_UNKNOWN, {
  headers: ["retry-after"],
});

/** Adds the answers that a route gets from what runs before it. */
function withCommonAnswers(paths: Paths): Paths {
  const changed = Object.entries(paths).map(([path, operations]) => {
    const notSupported = methodRefusal(Object.keys(operations).sort().join(", ").toUpperCase());
    const entries = Object.entries(operations).map(([method, operation]) => {
      const responses = { ...operation.responses, 405: notSupported };
      return [method, guarded({ ...operation, responses }, path, accessOf(method.toUpperCase(), path))];
    });
    return [path, Object.fromEntries(entries)];
  });
  return Object.fromEntries(changed);
}

function methodRefusal(allowed: string): Answer {
  return failure(`Any method but ${allowed}.`, methodNotAllowed("PUT", allowed), { headers: ["allow"] });
}

function guarded(operation: Operation, path: string, access: RouteAccess): Operation {
  const { responses } = operation;
  if (access === "open" || access === "redirect") return operation;
  if (access === "browser") {
    return { ...operation, responses: withLimits({ ...responses, 403: notForBrowsers, 429: limited }) };
  }
  const scope = access === "unlisted" ? "admin" : access;
  // A route may have its own reason for 429.
  const refusals = { 401: unauthorized, 403: forbidden(scope, path), 429: responses[429] ?? limited };
  // With a key; or without, where none is required.
  return {
    ...operation,
    security: [{ [SCHEME]: [] }, {}],
    responses: withLimits({ 503: keysUnknown, ...responses, ...refusals }),
  };
}

/** Every answer reports what is left of a limit that applied. */
function withLimits(responses: Operation["responses"]): Operation["responses"] {
  const refs = Object.fromEntries(LIMIT_HEADERS.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
  const withRefs = (answer: Answer) => ({ ...answer, headers: { ...answer.headers, ...refs } });
  return Object.fromEntries(Object.entries(responses).map(([status, answer]) => [status, withRefs(answer)]));
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
  paths: withCommonAnswers({ ...writePaths, ...readPaths, ...opsPaths }),
  components: {
    schemas: { Error: ErrorSchema, ...writeSchemas, ...readSchemas, ...opsSchemas },
    headers: HEADERS,
    securitySchemes: SECURITY_SCHEMES,
  },
};

export type ApiDocument = typeof API_DOCUMENT;
