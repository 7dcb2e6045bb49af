/** What keys and limits add to the description of each route: taken from the same list that lets requests in. */
import type { Scope } from "../../domain/api-key.ts";
import { StreamSet } from "../../domain/stream-set.ts";
import { StreamNotAllowedError } from "../../protocol/invalid-parameter.ts";
import { KEY_INVALID, KEY_MISSING, rateLimited, scopeMissing } from "../access/denials.ts";
import { accessOf, type RouteAccess } from "../access/route-scopes.ts";
import { errorBodyOf } from "../answers.ts";
import { type Answer, failure, type Operation, type Paths } from "./parts.ts";

const SCHEME = "apiKey";

export const SECURITY_SCHEMES = {
  [SCHEME]: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "hg_…",
    description: "Only where the settings ask for it. Made by `hourglass keys create`.",
  },
};

const unauthorized = failure(
  "Nothing was done: an API key is asked for, and is missing, unknown, revoked or expired.",
  [KEY_MISSING.code, KEY_INVALID.code],
  KEY_MISSING,
  { headers: ["www-authenticate"] },
);

const NOT_ALLOWED = errorBodyOf(new StreamNotAllowedError("stream", "blog", new StreamSet(["shop.*"])));

function forbidden(scope: Scope): Answer {
  const codes = ["scope_missing", ...(scope === "admin" ? [] : [NOT_ALLOWED.code])];
  return failure(
    `Nothing was done: the API key is not of scope \`${scope}\`${scope === "admin" ? "" : ", or not for this stream"}.`,
    codes,
    scopeMissing(scope, [scope === "read" ? "write" : "read"]),
    { headers: ["www-authenticate"] },
  );
}

const notForBrowsers = failure(
  "Nothing was counted: the stream is not one that browsers may count in.",
  [NOT_ALLOWED.code],
  NOT_ALLOWED,
);

const LIMIT_HEADERS = [
  ...(["ratelimit", "ratelimit-policy", "ratelimit-limit"] as const),
  ...(["ratelimit-remaining", "ratelimit-reset"] as const),
];

const limited = failure(
  "Nothing was done: too much came from this key or address. Send it again after `retry-after`.",
  ["rate_limited"],
  rateLimited("key", { limit: { count: 100, windowMs: 1_000 } }),
  { headers: ["retry-after", ...LIMIT_HEADERS] },
);

/** Of all that may hold a key, 503 may also be that the keys are not known yet: `cold_store_away`. */
const keysUnknown = failure(
  "Not now: the store that holds the API keys does not answer.",
  ["cold_store_away"],
  {
    code: "cold_store_away",
    message: "the store that holds the API keys does not answer: nothing was done, try again",
  },
  { headers: ["retry-after"] },
);

export function withAccess(paths: Paths): Paths {
  return Object.fromEntries(
    Object.entries(paths).map(([path, { get, post }]) => [
      path,
      {
        ...(get !== undefined && { get: guarded(get, accessOf("GET", path)) }),
        ...(post !== undefined && { post: guarded(post, accessOf("POST", path)) }),
      },
    ]),
  );
}

function guarded(operation: Operation, access: RouteAccess): Operation {
  const { responses } = operation;
  if (access === "open" || access === "redirect") return operation;
  if (access === "browser") {
    return { ...operation, responses: withLimits({ ...responses, 403: notForBrowsers, 429: limited }) };
  }
  const scope = access === "unlisted" ? "admin" : access;
  // A route may have a reason of its own for 429.
  const refusals = { 401: unauthorized, 403: forbidden(scope), 429: responses[429] ?? limited };
  // With a key, or without one where none is asked for.
  return {
    ...operation,
    security: [{ [SCHEME]: [] }, {}],
    responses: withLimits({ 503: keysUnknown, ...responses, ...refusals }),
  };
}

/** What a limit is left with is told with every answer that it was asked for. */
function withLimits(responses: Operation["responses"]): Operation["responses"] {
  const refs = Object.fromEntries(LIMIT_HEADERS.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
  return Object.fromEntries(
    Object.entries(responses).map(([status, response]) => [
      status,
      { ...response, headers: { ...response.headers, ...refs } },
    ]),
  );
}
