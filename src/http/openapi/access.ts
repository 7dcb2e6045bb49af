/** Adds keys and limits to the description of each route, from the same list that admits requests. */
import type { Scope } from "../../domain/api-key.ts";
import { StreamSet } from "../../domain/stream-rules.ts";
import { StreamNotAllowedError } from "../../protocol/input-error.ts";
import { KEY_INVALID, KEY_MISSING, KEYS_UNKNOWN, LIMIT_HEADERS, rateLimited, scopeMissing } from "../access/denials.ts";
import { accessOf, type RouteAccess } from "../access/route-scopes.ts";
import { errorBodyOf } from "../answers.ts";
import { type Answer, failure, mapOperations, type Operation, type Paths } from "./parts.ts";

const SCHEME = "apiKey";

export const SECURITY_SCHEMES = {
  [SCHEME]: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "hg_…",
    description: "Required only if the settings demand it. `hourglass keys create` creates one.",
  },
};

const unauthorized = failure(
  "Nothing was done: an API key is required, and is missing, unknown, revoked or expired.",
  KEY_MISSING,
  { otherCodes: [KEY_INVALID.code], headers: ["www-authenticate"] },
);

const NOT_ALLOWED = errorBodyOf(new StreamNotAllowedError("stream", "blog", new StreamSet(["shop.*"])));

function forbidden(scope: Scope): Answer {
  const isForStreams = scope !== "admin";
  return failure(
    `Nothing was done: the API key is not of scope \`${scope}\`${isForStreams ? ", or not for this stream" : ""}.`,
    scopeMissing(scope, [scope === "read" ? "write" : "read"]),
    { otherCodes: isForStreams ? [NOT_ALLOWED.code] : [], headers: ["www-authenticate"] },
  );
}

const notForBrowsers = failure("Nothing was counted: browsers may not count in this stream.", NOT_ALLOWED);

const limited = failure(
  "Nothing was done: this key or address has used up its limit. Retry after `retry-after`.",
  rateLimited("key", { limit: { count: 100, windowMs: 1_000 } }),
  { headers: ["retry-after", ...LIMIT_HEADERS] },
);

const keysUnknown = failure("The store that holds the API keys does not answer: retry.", KEYS_UNKNOWN, {
  headers: ["retry-after"],
});

export function withAccess(paths: Paths): Paths {
  return mapOperations(paths, (operation, method, path) => guarded(operation, accessOf(method, path)));
}

function guarded(operation: Operation, access: RouteAccess): Operation {
  const { responses } = operation;
  if (access === "open" || access === "redirect") return operation;
  if (access === "browser") {
    return { ...operation, responses: withLimits({ ...responses, 403: notForBrowsers, 429: limited }) };
  }
  const scope = access === "unlisted" ? "admin" : access;
  // A route may have its own reason for 429.
  const refusals = { 401: unauthorized, 403: forbidden(scope), 429: responses[429] ?? limited };
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
