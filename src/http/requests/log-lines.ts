/**
 * A line in the log for each request, if LOG_REQUESTS is set: a line costs as much as the request itself.
 *
 * Invariant: no line holds a query, which may contain a user's id.
 */
import { Elysia } from "elysia";
import type { Log } from "../../runtime/log.ts";
import { REQUEST_ID, type RequestTrace, traceOf } from "./trace.ts";

interface Begun {
  readonly startMs: number;
  readonly trace: RequestTrace;
}

export class RequestLines {
  readonly #log: Log;
  readonly #begun = new WeakMap<Request, Begun>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** To be used before the routes. Elysia does not pass answers of onError here: pass them to answered(). */
  plugin() {
    return new Elysia({ name: "request-lines" })
      .onRequest(({ request }) => this.begin(request))
      .mapResponse({ as: "global" }, ({ request, responseValue }) => {
        if (responseValue instanceof Response) this.answered(request, responseValue);
      });
  }

  begin(request: Request): void {
    this.#begun.set(request, { startMs: performance.now(), trace: traceOf(request.headers) });
  }

  answered(request: Request, answer: Response): Response {
    const begun = this.#begun.get(request);
    if (begun === undefined) return answer;
    const { startMs, trace } = begun;
    answer.headers.set(REQUEST_ID, trace.requestId);
    const ms = Math.round((performance.now() - startMs) * 1_000) / 1_000;
    // With a malformed Host header there is no URL.
    const path = URL.parse(request.url)?.pathname ?? "";
    this.#log.info({ method: request.method, path, status: answer.status, ms, ...trace }, "request");
    return answer;
  }
}
