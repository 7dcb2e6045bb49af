/**
 * Builds descriptions of routes. Parameters come from the schemas that validate requests, and example errors from the
 * errors themselves, so that nothing is written twice.
 */
import { type TObject, type TProperties, type TSchema, Type } from "@sinclair/typebox";
import { OMISSION_REASONS, REFUSAL_REASONS, UNKNOWN } from "../../domain/refusal-reasons.ts";
import { StreamSet } from "../../domain/stream-rules.ts";
import type { ErrorBody } from "../../protocol/error-body.ts";
import { EXPECTS_TIMESTAMP } from "../../protocol/event/query-rules.ts";
import { GOT_MAX_CHARS, InvalidParameterError, StreamNotAllowedError } from "../../protocol/input-error.ts";
import { MalformedQueryError } from "../../protocol/query-string.ts";
import { COLD_STORE_AWAY, errorBodyOf, INTERNAL } from "../answers.ts";
import { DEGRADED } from "../query/range-requests.ts";

/** The subset of OpenAPI 3.1 in use. */
export interface Parameter {
  readonly name: string;
  readonly in: "query" | "header";
  readonly description: string;
  readonly required?: boolean;
  readonly allowEmptyValue?: true;
  readonly example?: unknown;
  readonly schema: TSchema;
}

/** A schema with an example, by content type. */
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
  readonly responses: Readonly<Record<number, Answer>>;
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[];
}

type Method = "get" | "post";

export type Paths = Readonly<Record<string, { readonly [M in Method]?: Operation }>>;

export function operation(
  operationId: string,
  tag: string,
  summary: string,
  rest: Omit<Operation, "operationId" | "tags" | "summary">,
): Operation {
  return { operationId, tags: [tag], summary, ...rest };
}

/** An object in an answer. Later versions may add members, so clients must accept unknown ones. */
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

export const hourSums = {
  clicks: count("events of the kind click"),
  impressions: count("events of the kind impression"),
  ctr: orNull<number>("number", "clicks per impression; null if there was none"),
  unique_users: count("users of either kind: an estimate with a standard error of 0.81 % (exact with exact=1)"),
};
export const INSTANT = Type.String({ format: "date-time", description: "with the UTC offset at that time" });

export const ErrorSchema = members({
  error: members({
    code: Type.String({ description: "what went wrong, for programs" }),
    message: Type.String({ description: "what went wrong, for people" }),
    field: Type.Optional(Type.String({ description: "the parameter, member or header that is wrong" })),
    got: Type.Optional(
      orNull<string>("string", `the received value (its first ${GOT_MAX_CHARS} characters); null if it is missing`),
    ),
    expected: Type.Optional(Type.String({ description: "what the value must be" })),
  }),
});

export const HEADERS = {
  "retry-after": { description: "Seconds until a retry.", schema: Type.Integer({ minimum: 1 }) },
  "hourglass-degraded": {
    description:
      "Only if acknowledged events may be missing. `hot-store-away`: the hot store does not answer, so events that " +
      "are not in the cold store yet are missing. `not-flushed-yet`: the same, where events are counted from rows: " +
      "in an exact count, or a time zone that is not whole hours from UTC. `dead-letters`: the database " +
      "refused rows of these hours: counts from rows lack these events, and so does every count once its hour was " +
      "loaded from the cold store, until they are replayed or dropped (noticed within a minute). `not-kept`: for " +
      "days whose aggregates retention has deleted. `erased`: in an exact count, forgotten users are missing, but " +
      "their events count.",
    schema: oneOf(DEGRADED),
  },
  "hourglass-not-counted": {
    description:
      "Only if nothing was counted, and why: `do_not_track` or `bot`, depending on the settings; for a redirect, the " +
      "`code` of the error, or `invalid`.",
    schema: oneOf([...OMISSION_REASONS, ...REFUSAL_REASONS]),
  },
  "hourglass-outcome": {
    description: "Only if the click's outcome is not known in time: it counts once or never.",
    schema: oneOf([UNKNOWN.reason]),
  },
  location: { description: "The page's URL.", schema: Type.String() },
  etag: { description: "Send it as `if-none-match`.", schema: Type.String() },
  allow: { description: "The methods that the path supports.", schema: Type.String() },
  "accept-post": { description: "The supported content types.", schema: Type.String() },
  "x-request-id": {
    description: "Identifies the request in the log: the request's own id, or a new one.",
    schema: Type.String(),
  },
  "accept-encoding": { description: "The supported content encodings.", schema: Type.String() },
  "www-authenticate": { description: "The kind of key that is required (RFC 6750).", schema: Type.String() },
  "ratelimit-policy": {
    description: "Only if there is a limit: `q` events and reads in `w` seconds for this key or address.",
    schema: Type.String(),
  },
  ratelimit: {
    description: "What is left (`r`), and the seconds until the whole limit is available (`t`).",
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

/** A JSON answer with a schema component and an example. */
export function json(
  description: string,
  component: string,
  example: unknown,
  headers?: readonly HeaderName[],
): Answer {
  return answer(description, { [JSON_TYPE]: { schema: refTo(component), example } }, headers);
}

export function refTo(name: string): TSchema {
  return Type.Unsafe({ $ref: `#/components/schemas/${name}` });
}

interface FailureParts {
  /** All possible codes but that of the example. */
  readonly otherCodes?: readonly string[];
  readonly headers?: readonly HeaderName[];
  /** Other members of the body. */
  readonly beside?: TProperties;
}

export function failure(description: string, example: ErrorBody, parts: FailureParts = {}): Answer {
  const { otherCodes = [], headers = [], beside = {} } = parts;
  const codes = [...new Set([example.code, ...otherCodes])];
  const more = members({ error: members({ code: oneOf(codes) }), ...beside });
  const schema = Type.Unsafe({ type: "object", allOf: [refTo("Error"), more] });
  const named = `${description} \`code\`: ${codes.map((name) => `\`${name}\``).join(", ")}.`;
  return answer(named, { [JSON_TYPE]: { schema, example: { error: example } } }, headers);
}

export const MALFORMED_SAYS = "a parameter is given twice, or is not percent-encoded UTF-8";
export const MALFORMED_QUERY = errorBodyOf(new MalformedQueryError("user", "ann and bob", "to be given once"));
export const malformedQuery = failure(`The query can't be read: ${MALFORMED_SAYS}.`, MALFORMED_QUERY);
export const INVALID_PARAMETER = errorBodyOf(new InvalidParameterError("timestamp", "yesterday", EXPECTS_TIMESTAMP));
export const STREAM_NOT_ALLOWED = errorBodyOf(new StreamNotAllowedError("stream", "blog", new StreamSet(["shop.*"])));
export const internal = failure("A fault in this service.", INTERNAL, { headers: ["x-request-id"] });

export function storeAway(...moreCodes: readonly string[]): Answer {
  return failure("The store that has the data does not answer, or is overloaded.", COLD_STORE_AWAY, {
    otherCodes: ["hot_store_away", ...moreCodes],
    headers: ["retry-after"],
  });
}

export const page = answer(
  "The page. It loads nothing from other hosts.",
  { "text/html": { schema: Type.String({ description: "the page" }) } },
  ["etag"],
);

export const notModified = answer("The version named by `if-none-match` is current.", {}, ["etag"]);

export const IF_NONE_MATCH: Parameter = {
  name: "if-none-match",
  in: "header",
  description: "The `etag` of an earlier answer. If that is still current, the answer is 304 without a body.",
  schema: Type.String(),
};

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

/** Expresses a choice of texts as an enum, which forms and client generators understand. */
function withEnum({ anyOf, ...schema }: Record<string, unknown>): TSchema {
  const choices = anyOf as readonly TSchema[] | undefined;
  if (choices === undefined) return Type.Unsafe(schema);
  return Type.Unsafe({ type: "string", enum: choices.map((choice) => choice["const"]), ...schema });
}
