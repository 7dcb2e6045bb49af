/**
 * The query of a request, taken apart: as strict as a URL's syntax, and without a copy per parameter.
 * Invariant: a parameter that is repeated or badly encoded is refused, never resolved by a guess: of two
 * users or two timestamps, who could say which one was meant?
 */
export class MalformedQueryError extends Error {
  override readonly name = "MalformedQueryError";
  readonly field: string;
  readonly got: string;
  readonly expected: string;
  constructor(field: string, got: string, expected: string) {
    super(`${field}: got ${JSON.stringify(got)}, expected ${expected}`);
    this.field = field;
    this.got = got;
    this.expected = expected;
  }
}

/**
 * Raw bytes that are no UTF-8 are this, percent-encoded, when a URL gets here: nobody can tell any more what
 * they were, and different users would count as one.
 */
export const REPLACEMENT = "\uFFFD";
const EXPECTS_UTF8 = "percent-encoded UTF-8, without U+FFFD (which stands for bytes that were not UTF-8)";

export type Query = Record<string, string | undefined>;

/** Of a URL as a server gets it: no fragment. Throws MalformedQueryError. */
export function queryOf(url: string): Query {
  const query: Query = Object.create(null);
  const mark = url.indexOf("?");
  let start = mark === -1 ? url.length : mark + 1;
  while (start < url.length) {
    let end = url.indexOf("&", start);
    if (end === -1) end = url.length;
    if (end > start) takePair(query, url, start, end);
    start = end + 1;
  }
  return query;
}

function takePair(query: Query, url: string, start: number, end: number): void {
  const pair = url.slice(start, end);
  const equals = pair.indexOf("=");
  const name = decode("parameter name", equals === -1 ? pair : pair.slice(0, equals));
  const value = equals === -1 ? "" : decode(name, pair.slice(equals + 1));
  if (query[name] !== undefined) {
    throw new MalformedQueryError(name, `${query[name]} and ${value}`, "to be given once");
  }
  query[name] = value;
}

function decode(field: string, text: string): string {
  const plain = text.includes("+") ? text.replaceAll("+", " ") : text;
  if (!plain.includes("%")) return plain;
  const decoded = percentDecoded(plain);
  if (decoded === undefined || decoded.includes(REPLACEMENT)) {
    throw new MalformedQueryError(field, text, EXPECTS_UTF8);
  }
  return decoded;
}

function percentDecoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
