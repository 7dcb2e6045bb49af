/**
 * Unsuccessful answers. Every error body is
 *   {"error": {"code", "message", "field"?, "got"?, "expected"?}}
 *
 * Which file has the answers of a status:
 *   400, 422        here, by the error's class; ingest/events-answer.ts; query/range-requests.ts; app.ts (Host)
 *   401, 403, 429   access/denials.ts; 403 for a stream here, for a redirect ingest/browsers.ts; 429 also live/live.ts
 *   404, 405        unrouted.ts
 *   207             ingest/events-answer.ts
 *   413, 415        protocol/body/ (POST /events); ingest/analytics.ts (where no body is needed)
 *   500, 504        here
 *   503             here: refusals (domain/refusal-reasons.ts), and stores that do not answer; access/denials.ts;
 *                   query/range-requests.ts; live/live.ts
 */
import { type Outcome, REFUSALS, type Refusal, UNKNOWN } from "../domain/refusal-reasons.ts";
import type { ErrorBody } from "../protocol/error-body.ts";
import {
  GOT_MAX_CHARS,
  type InputError,
  InvalidParameterError,
  StreamNotAllowedError,
  TooManyStreamsError,
} from "../protocol/input-error.ts";
import { MalformedQueryError } from "../protocol/query-string.ts";
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import { StoreUnavailableError } from "../store/unavailable-error.ts";
import { REQUEST_ID, traceOf } from "./requests/log-lines.ts";

export const NO_STORE = { "cache-control": "no-store" };

export function errorAnswer(
  status: number,
  error: ErrorBody,
  headers: Record<string, string> = {},
  more: object = {},
): Response {
  return Response.json({ error, ...more }, { status, headers: { ...NO_STORE, ...headers } });
}

export const OUTCOME_UNKNOWN: ErrorBody = {
  code: UNKNOWN.reason,
  message: "The hot store did not answer in time. This counts once or never. Only with an id is a retry safe.",
};
export const COLD_STORE_AWAY: ErrorBody = {
  code: "cold_store_away",
  message: "the store that has this data does not answer: retry",
};
export const INTERNAL: ErrorBody = { code: "internal", message: "internal error: see the service's log" };

export function outcomeAnswer(outcome: NonNullable<Outcome>): Response {
  return outcome.reason === UNKNOWN.reason ? errorAnswer(504, OUTCOME_UNKNOWN) : refusalAnswer(outcome);
}

export function refusalAnswer({ reason, retryAfterS }: Refusal): Response {
  return errorAnswer(503, refusalBody(reason), retryHeaders({ reason, retryAfterS }));
}

export function refusalBody(reason: Refusal["reason"]): ErrorBody {
  return { code: reason, message: `${REFUSALS[reason]}: nothing was counted, retry` };
}

export function retryHeaders({ reason, retryAfterS }: Refusal): Record<string, string> {
  const headers: Record<string, string> = { "retry-after": String(retryAfterS) };
  if (reason === "shutting_down") headers["connection"] = "close";
  return headers;
}

/** The ledger's reason for this error; undefined if the request is not at fault. */
export function refusalReasonOf(error: unknown): "invalid" | "unauthorized" | undefined {
  if (error instanceof StreamNotAllowedError) return "unauthorized";
  return isRefusedInput(error) ? "invalid" : undefined;
}

export function isRefusedInput(error: unknown): error is MalformedQueryError | InvalidParameterError {
  return error instanceof MalformedQueryError || error instanceof InvalidParameterError;
}

export function errorBodyOf(error: InputError): ErrorBody {
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

/** Logs an unexpected error under the request's id, and does not show it to the client. */
export function answerToError(error: unknown, log: Log, request: Request): Response {
  if (isRefusedInput(error)) return errorAnswer(statusOf(error), errorBodyOf(error));
  if (error instanceof StoreUnavailableError)
    return errorAnswer(503, { ...COLD_STORE_AWAY, code: error.reason }, { "retry-after": "1" });
  const trace = traceOf(request.headers);
  const stack = error instanceof Error ? error.stack : undefined;
  log.error({ ...trace, error: errorText(error), stack }, "request failed");
  return errorAnswer(500, INTERNAL, { [REQUEST_ID]: trace.requestId });
}
