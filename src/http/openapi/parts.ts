/**
 * What the descriptions of routes are put together from. Parameters are made of the schemas that requests are
 * checked by, and examples of errors of the errors themselves: what can be taken from the code is not said twice.
 */

import { type TObject, type TProperties, type TSchema, Type } from "@sinclair/typebox";
import { OMISSION_REASONS, REFUSAL_REASONS } from "../../domain/refusal-reasons.ts";
import { UNKNOWN } from "../../pipeline/commit/open-batch.ts";
import type { ErrorBody } from "../../protocol/body/refused-body.ts";
import { EXPECTS_TIMESTAMP } from "../../protocol/event/query-rules.ts";
import { InvalidParameterError } from "../../protocol/invalid-parameter.ts";
import { MalformedQueryError } from "../../protocol/query-string.ts";
import { errorBodyOf } from "../answers.ts";
import { DEGRADED } from "../query/range/answer.ts";

/** Of OpenAPI 3.1, what is used here. */
export interface Parameter {
  readonly name: string;
  readonly in: "query" | "header";
  readonly description: string;
  readonly required?: boolean;
  readonly allowEmptyValue?: true;
  readonly example?: unknown;
  readonly schema: TSchema;
}

/** By its type, a schema and an example of it. */
export type Content = Readonly<Record<string, { readonly schema: TSchema; readonly example?: unknown }>>;

export interface Answer {
  readonly description: string;
  readonly headers?: Readonly<Record<string, { readonly $ref: string }>>;
  readonly content?: Content;
}

export interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly description?: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: {
    readonly description: string;
    readonly required: true;
    readonly content: Content;
  };
  /** By status. */
  readonly responses: Readonly<Record<number, Answer>>;
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
}

export type Paths = Readonly<Record<string, { readonly get?: Operation; readonly post?: Operation }>>;

/** An answer: members that come later may be new, so that clients must not stumble over them. */
export function members<P extends TProperties>(properties: P, description?: string) {
  return Type.Object(properties, description === undefined ? {} : { description });
}

export function count(description: string, example?: number) {
  return Type.Integer({ minimum: 0, description, ...(example === undefined ? {} : { examples: [example] }) });
}

export function orNull<T extends string | number>(type: "string" | "number" | "integer", description: string) {
  return Type.Unsafe<T | null>({ type: [type, "null"], description });
}

export function oneOf<const V extends readonly string[]>(values: V, description?: string) {
  const schema = { type: "string", enum: values };
  return Type.Unsafe<V[number]>(description === undefined ? schema : { ...schema, description });
}

export const EVENT_COUNT = count("clicks and impressions");
export const INSTANT = Type.String({
  format: "date-time",
  description: "with the offset from UTC of that time",
});

export const ErrorSchema = members({
  error: members({
    code: Type.String({ description: "what went wrong, for programs" }),
    message: Type.String({ description: "what went wrong, for people" }),
    field: Type.Optional(Type.String({ description: "the parameter, member or header that is wrong" })),
    got: Type.Optional(orNull<string>("string", "what it was (its first 300 characters); null if it is missing")),
    expected: Type.Optional(Type.String({ description: "what it has to be" })),
  }),
});

export const HEADERS = {
  "retry-after": { description: "In how many seconds to come again.", schema: Type.Integer({ minimum: 1 }) },
  "hourglass-degraded": {
    description:
      "Only if acknowledged events may be missing. `hot-store-away`: those that are not in the cold store yet, " +
      "as the hot store does not answer. `not-flushed-yet`: the same, of an exact count. `not-kept`: those of the " +
      "days whose aggregates are not kept any more. `erased`: of an exact count, users who were forgotten; their " +
      "events are counted.",
    schema: oneOf(DEGRADED),
  },
  "hourglass-not-counted": {
    description:
      "Only if nothing was counted, and why: `do_not_track` or `bot`, as the settings say; of a redirect, what an " +
      "error would have in `code`, or `invalid`.",
    schema: oneOf([...OMISSION_REASONS, ...REFUSAL_REASONS]),
  },
  "hourglass-outcome": {
    description: "Only if it is not known in time whether the click is stored: it counts once or never.",
    schema: oneOf([UNKNOWN.reason]),
  },
  location: { description: "The page.", schema: Type.String() },
  etag: { description: "To be sent as `if-none-match`.", schema: Type.String() },
  allow: { description: "The methods that the path takes.", schema: Type.String() },
  "accept-post": { description: "The content types that are taken.", schema: Type.String() },
  "x-request-id": {
    description: "By which the request is found in the log: the one that it came with, else a new one.",
    schema: Type.String(),
  },
  "accept-encoding": { description: "The content encodings that are taken.", schema: Type.String() },
  "www-authenticate": { description: "What kind of key is asked for (RFC 6750).", schema: Type.String() },
  "ratelimit-policy": {
    description: "Only if there is a limit: `q` events and reads in `w` seconds, of this key or address.",
    schema: Type.String(),
  },
  ratelimit: {
    description: "What is left of it (`r`), and until all is (`t`, seconds).",
    schema: Type.String(),
  },
  "ratelimit-limit": { description: "`q`, for older clients.", schema: Type.Integer() },
  "ratelimit-remaining": { description: "`r`, for older clients.", schema: Type.Integer() },
  "ratelimit-reset": { description: "`t`, for older clients.", schema: Type.Integer() },
} satisfies Record<string, { description: string; schema: TSchema }>;

type HeaderName = keyof typeof HEADERS;

export function answer(description: string, content: Content = {}, headerNames: readonly HeaderName[] = []): Answer {
  const headers = headerNames.map((name) => [name, { $ref: `#/components/headers/${name}` }]);
  return {
    description,
    ...(headerNames.length > 0 && { headers: Object.fromEntries(headers) }),
    ...(Object.keys(content).length > 0 && { content }),
  };
}

export const JSON_TYPE = "application/json";

/** By the name of its component. */
export function refTo(name: string): TSchema {
  return Type.Unsafe({ $ref: `#/components/schemas/${name}` });
}

/** `codes`: all that its error may have; `example`: one of them. `beside`: what may stand beside the error. */
export function failure(
  description: string,
  codes: readonly string[],
  example: ErrorBody,
  { headers = [], beside = {} }: { headers?: readonly HeaderName[]; beside?: TProperties } = {},
): Answer {
  const more = members({ error: members({ code: oneOf(codes) }), ...beside });
  const schema = Type.Unsafe({ type: "object", allOf: [refTo("Error"), more] });
  const named = `${description} \`code\`: ${codes.map((name) => `\`${name}\``).join(", ")}.`;
  return answer(named, { [JSON_TYPE]: { schema, example: { error: example } } }, headers);
}

export const MALFORMED_QUERY = {
  code: "malformed_query",
  says: "a parameter is given twice, or is no percent-encoded UTF-8",
  example: errorBodyOf(new MalformedQueryError("user", "ann and bob", "to be given once")),
};

export const malformedQuery = failure(
  `The query can't be read: ${MALFORMED_QUERY.says}.`,
  [MALFORMED_QUERY.code],
  MALFORMED_QUERY.example,
);

export const INVALID_PARAMETER = {
  code: "invalid_parameter",
  example: errorBodyOf(new InvalidParameterError("timestamp", "yesterday", EXPECTS_TIMESTAMP)),
};

export const internal = failure(
  "A fault in this service.",
  ["internal"],
  { code: "internal", message: "a fault in this service: see its log" },
  { headers: ["x-request-id"] },
);

/** Of a read. */
export function storeAway(...moreCodes: readonly string[]): Answer {
  const message = "the store that holds this does not answer, try again";
  const codes = ["hot_store_away", "cold_store_away", ...moreCodes];
  return failure("Not now.", codes, { code: "cold_store_away", message }, { headers: ["retry-after"] });
}

export const notModified = answer("What was asked for is what `if-none-match` names.", {}, ["etag"]);

export const IF_NONE_MATCH: Parameter = {
  name: "if-none-match",
  in: "header",
  description: "The `etag` of an earlier answer: if it still holds, the answer is 304 and has no body.",
  schema: Type.String(),
};

/** All of them, as the code checks them. */
export function queryParameters({ properties, required = [] }: TObject): Parameter[] {
  return Object.entries(properties).map(([name, property]) => {
    const { description = "", examples, ...schema } = property as TSchema;
    return {
      name,
      in: "query",
      description,
      required: required.includes(name),
      ...(schema["const"] === "" && { allowEmptyValue: true }),
      ...(examples !== undefined && { example: examples[0] }),
      schema: withEnum(schema),
    };
  });
}

/** Says the same of a choice between texts, in the words that forms and generators of clients know. */
function withEnum({ anyOf, ...schema }: Record<string, unknown>): TSchema {
  const choices = anyOf as readonly TSchema[] | undefined;
  if (choices === undefined) return Type.Unsafe(schema);
  return Type.Unsafe({ type: "string", enum: choices.map((choice) => choice["const"]), ...schema });
}
