/** Answers to requests that are not admitted, and when to retry. */
import { type Scope, SHOWN_TOKEN } from "../../domain/api-key.ts";
import { rateLimitText } from "../../domain/rate-limit.ts";
import type { ErrorBody } from "../../protocol/error-body.ts";
import { errorAnswer } from "../answers.ts";
import type { Bucket, LimitState } from "./rate-limiter.ts";

/** RFC 6750. */
const CHALLENGE = 'Bearer realm="hourglass"';

export const KEY_MISSING: ErrorBody = {
  code: "key_missing",
  message: `this requires an API key, in the header 'Authorization: Bearer ${SHOWN_TOKEN}': nothing was done`,
};
/** The same message for all reasons, so that a guess reveals nothing. */
export const KEY_INVALID: ErrorBody = {
  code: "key_invalid",
  message: "the API key is unknown, revoked or expired: nothing was done",
};

export const KEYS_UNKNOWN: ErrorBody = {
  code: "cold_store_away",
  message: "the store that holds the API keys does not answer: nothing was done, retry",
};

export function scopeMissing(scope: Scope, has: Iterable<Scope>): ErrorBody {
  const message = `this requires an API key of scope ${scope}, but this one has ${[...has].join()}: nothing was done`;
  return { code: "scope_missing", message };
}

export function keyMissingAnswer(): Response {
  return errorAnswer(401, KEY_MISSING, { "www-authenticate": CHALLENGE });
}

export function keyInvalidAnswer(): Response {
  return errorAnswer(401, KEY_INVALID, { "www-authenticate": `${CHALLENGE}, error="invalid_token"` });
}

export function scopeMissingAnswer(scope: Scope, has: Iterable<Scope>): Response {
  const challenge = `${CHALLENGE}, error="insufficient_scope", scope="${scope}"`;
  return errorAnswer(403, scopeMissing(scope, has), { "www-authenticate": challenge });
}

export function keysUnknownAnswer(): Response {
  return errorAnswer(503, KEYS_UNKNOWN, { "retry-after": "1" });
}

export type LimitedBy = "key" | "address";

export function rateLimited(by: LimitedBy, { limit }: Pick<Bucket, "limit">): ErrorBody {
  const message = `this ${by} has used its limit of ${rateLimitText(limit)}: nothing was done, retry later`;
  return { code: "rate_limited", message };
}

export function rateLimitedAnswer(by: LimitedBy, bucket: Bucket, state: LimitState): Response {
  return errorAnswer(429, rateLimited(by, bucket), {
    "retry-after": String(secondsOf(state.retryMs)),
    ...limitHeaders([{ by, bucket, state }]),
  });
}

interface LimitInUse {
  readonly by: LimitedBy;
  readonly bucket: Pick<Bucket, "limit">;
  readonly state: LimitState;
}

export const LIMIT_HEADERS = [
  ...(["ratelimit", "ratelimit-policy", "ratelimit-limit"] as const),
  ...(["ratelimit-remaining", "ratelimit-reset"] as const),
];

/**
 * Two sets of headers: those of draft-ietf-httpapi-ratelimit-headers-10, with all limits; and those of its versions
 * before 07, known by more clients, with the limit that is nearest to exhaustion. `limits`: at least one.
 */
export function limitHeaders(limits: readonly LimitInUse[]): Readonly<Record<(typeof LIMIT_HEADERS)[number], string>> {
  const policy = ({ by, bucket: { limit } }: LimitInUse) => `"${by}";q=${limit.count};w=${limit.windowMs / 1_000}`;
  const left = ({ by, state }: LimitInUse) => `"${by}";r=${state.remaining};t=${secondsOf(state.fullMs)}`;
  const nearest = limits.reduce((least, one) => (one.state.remaining < least.state.remaining ? one : least));
  return {
    "ratelimit-policy": limits.map(policy).join(", "),
    ratelimit: limits.map(left).join(", "),
    "ratelimit-limit": String(nearest.bucket.limit.count),
    "ratelimit-remaining": String(nearest.state.remaining),
    "ratelimit-reset": String(secondsOf(nearest.state.fullMs)),
  };
}

/** Returns at least 1, since 0 would mean immediately. */
function secondsOf(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1_000));
}
