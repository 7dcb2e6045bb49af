/**
 * The shapes of answers that are no success. Every error body is
 *   {"error": {"code", "message", "field"?, "got"?, "expected"?}}
 */

import { type Outcome, type Refusal, UNKNOWN } from "../pipeline/commit/open-batch.ts";
import type { ErrorBody } from "../protocol/body/refused-body.ts";
import type { MalformedEventError } from "../protocol/event/from-object.ts";
import { InvalidParameterError, StreamNotAllowedError, TooManyStreamsError } from "../protocol/invalid-parameter.ts";
import { MalformedQueryError } from "../protocol/query-string.ts";
import { errorText } from "../runtime/deadline.ts";
import type { Log } from "../runtime/log.ts";
import { ColdUnavailableError } from "../store/cold/errors.ts";
import { HotUnavailableError } from "../store/hot.ts";
import { REQUEST_ID, traceOf } from "./requests/trace.ts";

export const NO_STORE = { "cache-control": "no-store" };
/** Of a value that is echoed: enough to recognise it. */
const GOT_MAX_CHARS = 300;

export function errorAnswer(
  status: number,
  error: ErrorBody,
  headers: Record<string, string> = {},
  more: object = {},
): Response {
  return Response.json({ error, ...more }, { status, headers: { ...NO_STORE, ...headers } });
}

const REFUSALS: Record<Refusal["reason"], string> = {
  invalid: "the event is not valid",
  unauthorized: "an API key is missing, or not for this",
  rate_limited: "more came than the limit allows",
  hot_store_away: "the hot store does not answer",
  cold_store_away: "the cold store, which this hour has to be fetched from, does not answer",
  journal_full: "too many events wait for the cold store",
  overloaded: "too many events wait to be committed",
  shutting_down: "this instance is shutting down",
};

export const UNKNOWN_MESSAGE =
  "The hot store did not answer in time. This counts once or never. Repeating it is safe only with an id.";

/** Of events that are not stored, as far as is known. */
export function outcomeAnswer(outcome: NonNullable<Outcome>): Response {
  return outcome.reason === UNKNOWN.reason
    ? errorAnswer(504, { code: UNKNOWN.reason, message: UNKNOWN_MESSAGE })
    : refusalAnswer(outcome);
}

export function refusalAnswer({ reason, retryAfterS }: Refusal): Response {
  const message = `${REFUSALS[reason]}: nothing was counted, send it again`;
  return errorAnswer(503, { code: reason, message }, retryHeaders({ reason, retryAfterS }));
}

export function refusalText(reason: Refusal["reason"]): string {
  return REFUSALS[reason];
}

export function retryHeaders({ reason, retryAfterS }: Refusal): Record<string, string> {
  const headers: Record<string, string> = { "retry-after": String(retryAfterS) };
  if (reason === "shutting_down") headers["connection"] = "close";
  return headers;
}

/** Where the ledger has what was refused for this error; undefined if the request is not at fault. */
export function refusalReasonOf(error: unknown): "invalid" | "unauthorized" | undefined {
  if (error instanceof StreamNotAllowedError) return "unauthorized";
  return isRefusedInput(error) ? "invalid" : undefined;
}

export function isRefusedInput(error: unknown): error is MalformedQueryError | InvalidParameterError {
  return error instanceof MalformedQueryError || error instanceof InvalidParameterError;
}

/** What is wrong with an input. */
export function errorBodyOf(error: MalformedQueryError | MalformedEventError | InvalidParameterError): ErrorBody {
  const got = error.got === null ? null : error.got.slice(0, GOT_MAX_CHARS);
  const message = error.message.slice(0, 2 * GOT_MAX_CHARS);
  const { field, expected } = error;
  const rest = field === undefined ? { got, expected } : { field, got, expected };
  return { code: codeOf(error), message, ...rest };
}

function codeOf(error: Error): string {
  if (error instanceof TooManyStreamsError) return "too_many_streams";
  if (error instanceof StreamNotAllowedError) return "stream_not_allowed";
  if (error instanceof InvalidParameterError) return "invalid_parameter";
  return error instanceof MalformedQueryError ? "malformed_query" : "malformed_event";
}

function statusOf(error: MalformedQueryError | InvalidParameterError): number {
  if (error instanceof StreamNotAllowedError) return 403;
  return error instanceof MalformedQueryError ? 400 : 422;
}

/** For whatever was thrown on the way: a fault of ours is logged, under the request's id, and not shown. */
export function answerToError(error: unknown, log: Log, request: Request): Response {
  if (isRefusedInput(error)) return errorAnswer(statusOf(error), errorBodyOf(error));
  if (error instanceof HotUnavailableError || error instanceof ColdUnavailableError) {
    const code = error instanceof HotUnavailableError ? "hot_store_away" : "cold_store_away";
    const message = "the store that holds this does not answer, try again";
    return errorAnswer(503, { code, message }, { "retry-after": "1" });
  }
  const trace = traceOf(request.headers);
  const stack = error instanceof Error ? error.stack : undefined;
  log.error({ ...trace, error: errorText(error), stack }, "request failed");
  const message = "a fault in this service: see its log";
  return errorAnswer(500, { code: "internal", message }, { [REQUEST_ID]: trace.requestId });
}
