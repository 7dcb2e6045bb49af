/**
 * Parses the query of a URL, and checks it against a schema of its parameters.
 * Invariant: a repeated or badly encoded parameter is refused or ignored; its value is never guessed.
 */
import { type TObject, type TProperties, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { EXPECTS_NO_REPLACEMENT, hasReplacement } from "../domain/user-text.ts";
import { InputError, InvalidParameterError } from "./input-error.ts";

export class MalformedQueryError extends InputError {
  override readonly name = "MalformedQueryError";
}

const EXPECTS_UTF8 = `percent-encoded UTF-8, ${EXPECTS_NO_REPLACEMENT}`;
const ASCII_ENCODED = /^(?:[^%]|%[0-7][0-9a-f])*$/i;

export type Query = Record<string, string | undefined>;

/** `url`: without a fragment, as a server receives it. Throws MalformedQueryError. */
export function queryOf(url: string): Query {
  const query: Query = Object.create(null);
  forEachPair(url, (pair) => takePair(query, pair));
  return query;
}

/** Unknown ones are refused: an event with a misspelt `id` would count twice, a misspelt `to` ask another question. */
export function parameters<P extends TProperties>(properties: P) {
  return Type.Object(properties, { additionalProperties: false });
}

/** Reads a query that the schema describes completely. Throws MalformedQueryError or InvalidParameterError. */
export function readQuery(url: string, schema: TObject): Query {
  const query = queryOf(url);
  const fault = faultBySchema(query, schema);
  if (fault !== undefined) throw fault;
  return query;
}

export function faultBySchema(query: Query, schema: TObject): InvalidParameterError | undefined {
  const problem = Value.Errors(schema, { ...query }).First();
  if (problem === undefined) return undefined;
  const field = problem.path.slice(1);
  const names = Object.keys(schema.properties).join(", ");
  const expected = schema.properties[field]?.["description"] ?? `only the parameters ${names}`;
  return new InvalidParameterError(field, query[field] ?? null, expected);
}

/** Errors by parameter name. */
export type QueryFaults = ReadonlyMap<string, MalformedQueryError>;

/**
 * For links, to which others append parameters: reads only the parameters with these (ASCII) names and ignores the
 * rest, even malformed ones. Ignored parameters create no errors, since a link may have thousands.
 */
export function linkQueryOf(url: string, names: ReadonlySet<string>): { query: Query; faults: QueryFaults } {
  const query: Query = Object.create(null);
  const faults = new Map<string, MalformedQueryError>();
  forEachPair(url, (pair) => {
    const name = asciiNameOf(pair);
    if (name === undefined || !names.has(name) || faults.has(name)) return;
    try {
      takePair(query, pair);
    } catch (error) {
      faults.set(name, error as MalformedQueryError);
    }
  });
  return { query, faults };
}

/** Throws the error of the first of these parameters that has one. */
export function checkReadable(faults: QueryFaults, ...names: readonly string[]): void {
  for (const name of names) if (faults.has(name)) throw faults.get(name);
}

/** Undefined if the name is badly encoded, or may not be ASCII. */
function asciiNameOf(pair: string): string | undefined {
  const equals = pair.indexOf("=");
  const name = equals === -1 ? pair : pair.slice(0, equals);
  if (!name.includes("%")) return name;
  return ASCII_ENCODED.test(name) ? decodeURIComponent(name) : undefined;
}

function forEachPair(url: string, take: (pair: string) => void): void {
  const mark = url.indexOf("?");
  let start = mark === -1 ? url.length : mark + 1;
  while (start < url.length) {
    let end = url.indexOf("&", start);
    if (end === -1) end = url.length;
    if (end > start) take(url.slice(start, end));
    start = end + 1;
  }
}

function takePair(query: Query, pair: string): void {
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
