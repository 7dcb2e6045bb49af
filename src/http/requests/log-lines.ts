/**
 * Logs a line per request if LOG_REQUESTS is set: a line costs as much as the request itself.
 *
 * Invariant: no line contains a query, which may include a user's id.
 */
import { Elysia } from "elysia";
import type { Log } from "../../runtime/log.ts";

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

  /** Must be used before the routes. Elysia does not pass answers of onError here: pass them to answered(). */
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

export const REQUEST_ID = "x-request-id";

interface RequestTrace {
  readonly requestId: string;
  readonly traceId?: string;
  readonly parentId?: string;
}

/** Short, without characters that a log or header would have to escape. */
const SANE_ID = /^[\w.:=+/@-]{1,128}$/;
/** Version, trace, parent and flags; versions after 00 may add more. */
const TRACE_PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;
const ZEROS = /^0+$/;

/**
 * Identifies a request in logs: by the sender's request id or a new one, and by the sender's trace if it names one (W3C
 * Trace Context, https://www.w3.org/TR/trace-context/).
 */
export function traceOf(headers: Headers): RequestTrace {
  const given = headers.get(REQUEST_ID);
  const requestId = given !== null && SANE_ID.test(given) ? given : crypto.randomUUID();
  return { requestId, ...parentOf(headers.get("traceparent") ?? "") };
}

/** Empty if the header is malformed: then the sender's trace ends here. */
function parentOf(text: string): Pick<RequestTrace, "traceId" | "parentId"> {
  const [, version, traceId = "", parentId = "", more] = TRACE_PARENT.exec(text) ?? [];
  const isVersion = version !== undefined && version !== "ff" && (version !== "00" || more === undefined);
  if (!isVersion || ZEROS.test(traceId) || ZEROS.test(parentId)) return {};
  return { traceId, parentId };
}
