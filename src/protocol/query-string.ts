/**
 * Parses the query of a URL.
 * Invariant: a parameter that is repeated or badly encoded is refused, and never resolved by a guess.
 */
import { EXPECTS_NO_REPLACEMENT, hasReplacement } from "../domain/user-text.ts";
import { InputError } from "./input-error.ts";

export class MalformedQueryError extends InputError {
  override readonly name = "MalformedQueryError";
}

const EXPECTS_UTF8 = `percent-encoded UTF-8, ${EXPECTS_NO_REPLACEMENT}`;

export type Query = Record<string, string | undefined>;

/** `url`: without a fragment, as a server gets it. Throws MalformedQueryError. */
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
  if (decoded === undefined || hasReplacement(decoded)) {
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
