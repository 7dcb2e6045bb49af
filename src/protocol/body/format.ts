/** A body's format, from its content type, and its text. */
import type { BodyFormat } from "./read-events.ts";
import { RefusedBodyError } from "./refused-body.ts";

const FORMATS: Readonly<Record<string, BodyFormat>> = {
  "application/x-ndjson": "ndjson",
  "application/ndjson": "ndjson",
  "application/jsonl": "ndjson",
  "application/json": "array",
};
const EXPECTS_TYPE = "application/x-ndjson (one event per line) or application/json (an array), in UTF-8";
const BYTE_ORDER_MARK = 0xfeff;

/** `got`: the content-type header, null if absent. Throws RefusedBodyError (415). */
export function formatOf(got: string | null): BodyFormat {
  // The common case: no parameters, in lower case.
  if (got !== null && Object.hasOwn(FORMATS, got)) return FORMATS[got]!;
  const [type = "", ...parameters] = partsOf(got ?? "");
  const format = Object.hasOwn(FORMATS, type) ? FORMATS[type] : undefined;
  if (format !== undefined && parameters.every(isNoOtherCharset)) return format;
  const found = got === null ? "is missing" : `got ${JSON.stringify(got)}`;
  const error = { code: "unsupported_type", message: `content-type: ${found}, expected ${EXPECTS_TYPE}` };
  const accept = Object.keys(FORMATS).join(", ");
  throw new RefusedBodyError(
    415,
    { ...error, field: "content-type", got, expected: EXPECTS_TYPE },
    { "accept-post": accept },
  );
}

/** sendBeacon's type for strings, which needs no CORS preflight. False for a charset other than UTF-8. */
export function isPlainText(got: string | null): boolean {
  if (got === null || !/^text\/plain\s*(;|$)/i.test(got)) return false;
  return partsOf(got).slice(1).every(isNoOtherCharset);
}

function partsOf(contentType: string): string[] {
  const parts = contentType.toLowerCase().split(";");
  return parts.map((part) => part.trim());
}

/** Also true for parameters other than the charset. */
function isNoOtherCharset(parameter: string): boolean {
  return /^(charset="?utf-?8"?|(?!charset=).*)$/.test(parameter);
}

export function formatOfPlainText(text: string): BodyFormat {
  return /^\s*\[/.test(text) ? "array" : "ndjson";
}

/** Decodes invalid UTF-8 as U+FFFD, which no event may contain. So only the events with such bytes are refused. */
export function textOf(bytes: Buffer, start = 0, end = bytes.length): string {
  const text = bytes.toString("utf8", start, end);
  return text.charCodeAt(0) === BYTE_ORDER_MARK ? text.slice(1) : text;
}
