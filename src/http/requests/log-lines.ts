/**
 * A line in the log for each request: for who looks for one. It costs as much as the request itself, so that it is in
 * the way of none unless LOG_REQUESTS asks for it.
 *
 * Invariant: nothing of a query is in a line, which may hold a user's id.
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

  /** To be used before the routes. Elysia shows it no answer of onError: those are to be brought here. */
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

  /** Hands the answer on. */
  answered(request: Request, answer: Response): Response {
    const begun = this.#begun.get(request);
    if (begun === undefined) return answer;
    const { startMs, trace } = begun;
    answer.headers.set(REQUEST_ID, trace.requestId);
    const ms = Math.round((performance.now() - startMs) * 1_000) / 1_000;
    // No URL at all if its Host header is none.
    const path = URL.parse(request.url)?.pathname ?? "";
    this.#log.info({ method: request.method, path, status: answer.status, ms, ...trace }, "request");
    return answer;
  }
}
