/**
 * Identifies a request in logs: by the sender's request id or a new one, and by the trace that it is part of, if the
 * sender names one (W3C Trace Context, https://www.w3.org/TR/trace-context/).
 */
export const REQUEST_ID = "x-request-id";

export interface RequestTrace {
  readonly requestId: string;
  readonly traceId?: string;
  readonly parentId?: string;
}

/** Short, and nothing that a log or a header would have to escape. */
const SANE_ID = /^[\w.:=+/@-]{1,128}$/;
/** Version, trace, parent and flags; versions after 00 may add more. */
const TRACE_PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;
const ZEROS = /^0+$/;

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
