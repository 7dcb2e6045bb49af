/** The format of a body by its content type, and its text. */
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

/** `got`: the value of content-type, null if there is none. Throws RefusedBodyError (415). */
export function formatOf(got: string | null): BodyFormat {
  // As nearly all write it.
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

/** What sendBeacon sends a string as, since browsers need no preflight for it (CORS). False if it is not UTF-8. */
export function isPlainText(got: string | null): boolean {
  if (got === null || !/^text\/plain\s*(;|$)/i.test(got)) return false;
  return partsOf(got).slice(1).every(isNoOtherCharset);
}

function partsOf(contentType: string): string[] {
  const parts = contentType.toLowerCase().split(";");
  return parts.map((part) => part.trim());
}

/** True for parameters that say nothing about the charset, too. */
function isNoOtherCharset(parameter: string): boolean {
  return /^(charset="?utf-?8"?|(?!charset=).*)$/.test(parameter);
}

export function formatOfPlainText(text: string): BodyFormat {
  return /^\s*\[/.test(text) ? "array" : "ndjson";
}

/**
 * Bytes that are not UTF-8 become U+FFFD, which no event may contain: so only the events with such bytes are refused.
 */
export function textOf(bytes: Buffer): string {
  const text = bytes.toString();
  return text.charCodeAt(0) === BYTE_ORDER_MARK ? text.slice(1) : text;
}
