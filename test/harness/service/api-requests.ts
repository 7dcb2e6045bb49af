/** Requests from an OpenAPI document: its examples, and random ones from its schemas. */
import fc from "fast-check";
import type { ApiDocument } from "../../../src/http/openapi/document.ts";
import type { Content, Parameter } from "../../../src/http/openapi/parts.ts";
import type { DescribedOperation } from "../project/api-description.ts";

export interface ApiRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

type Schema = Readonly<Record<string, unknown>>;
type Values = Readonly<Record<string, string>>;

function parametersOf({ operation }: DescribedOperation, place: "query" | "header"): Parameter[] {
  return (operation.parameters ?? []).filter((parameter) => parameter.in === place);
}

function contentOf({ operation }: DescribedOperation): Content {
  return operation.requestBody?.content ?? {};
}

function requestOf({ method, path }: DescribedOperation, query: string, headers: Values, body?: string): ApiRequest {
  return { method: method.toUpperCase(), target: `${path}${query && `?${query}`}`, headers, body };
}

function queryOf(values: Values): string {
  return new URLSearchParams(values).toString();
}

/** The unchanged requests of a page to try the API: one for each type of body. */
export function exampleRequests(described: DescribedOperation): ApiRequest[] {
  const examples = parametersOf(described, "query").filter(({ example }) => example !== undefined);
  const query = queryOf(Object.fromEntries(examples.map(({ name, example }) => [name, String(example)])));
  const bodies = Object.entries(contentOf(described));
  if (bodies.length === 0) return [requestOf(described, query, {})];
  return bodies.map(([type, { example }]) =>
    requestOf(
      described,
      query,
      { "content-type": type },
      typeof example === "string" ? example : JSON.stringify(example),
    ),
  );
}

/** Mostly as the schemas say, and now and then not. */
export function anyRequest(described: DescribedOperation, document: ApiDocument): fc.Arbitrary<ApiRequest> {
  const query = valuesOf(parametersOf(described, "query"), anyText).map(queryOf);
  const headers = valuesOf(parametersOf(described, "header"), headerText);
  const broken = fc.constantFrom("user=%ff", "user=1&user=2", "=", "&&", "%", "to=%2");
  const anyQuery = mostly(
    query,
    fc.tuple(query, broken).map(([text, more]) => `${text}&${more}`),
  );
  const content = Object.entries(contentOf(described));
  const body =
    content.length === 0
      ? fc.constant({ type: undefined, text: undefined })
      : fc.oneof(...content.map(([type, { schema }]) => bodyOf(type, schema as Schema, document)));
  return fc.tuple(anyQuery, headers, body).map(([queryText, values, { type, text }]) => {
    return requestOf(described, queryText, { ...values, ...(type && { "content-type": type }) }, text);
  });
}

const anyText = fc.string({ unit: "grapheme", maxLength: 20 });
const headerText = fc.stringMatching(/^[!-~]{1,20}$/);

function mostly<T>(right: fc.Arbitrary<T>, wrong: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 9, arbitrary: right }, { weight: 1, arbitrary: wrong });
}

function valuesOf(parameters: readonly Parameter[], wrong: fc.Arbitrary<string>): fc.Arbitrary<Values> {
  const model = parameters.map(({ name, schema, example, required }) => {
    const right = textOf(schema as Schema, wrong);
    const value = example === undefined ? right : fc.oneof(right, fc.constant(String(example)));
    const present = mostly(value, wrong);
    return [name, mostly(present, fc.constant(undefined)), required] as const;
  });
  const values = fc.record(
    Object.fromEntries(
      model.map(([name, value, required]) => [name, required ? value : fc.option(value, { nil: undefined })]),
    ),
  );
  return values.map(
    (all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Values,
  );
}

function textOf(schema: Schema, other: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const { const: only, enum: choices, pattern, minLength, maxLength } = schema;
  if (only !== undefined) return fc.constant(String(only));
  if (Array.isArray(choices)) return fc.constantFrom(...(choices as string[]));
  if (typeof pattern === "string") return fc.stringMatching(new RegExp(pattern));
  if (typeof maxLength !== "number") return other;
  return fc.string({ unit: "grapheme", minLength: Number(minLength ?? 0), maxLength });
}

function jsonOf(schema: Schema, document: ApiDocument): fc.Arbitrary<unknown> {
  const { $ref, type, items, properties, required = [], minimum = 0, anyOf } = schema;
  if (typeof $ref === "string") {
    return jsonOf(schemaNamed($ref.split("/").at(-1)!, document), document);
  }
  if (Array.isArray(anyOf)) return fc.oneof(...anyOf.map((choice) => jsonOf(choice as Schema, document)));
  if (type === "array") return fc.array(mostly(jsonOf(items as Schema, document), fc.jsonValue()), { maxLength: 5 });
  if (type === "integer") return fc.integer({ min: minimum as number, max: 2 ** 31 - 1 });
  if (type !== "object") return textOf(schema, anyText);
  const members = Object.entries(properties as Record<string, Schema>);
  const values = members.map(([name, member]) => [name, jsonOf(member, document)] as const);
  return fc.record(Object.fromEntries(values), { requiredKeys: required as string[] });
}

function schemaNamed(name: string, { components }: ApiDocument): Schema {
  return components.schemas[name as keyof typeof components.schemas];
}

function bodyOf(type: string, schema: Schema, document: ApiDocument) {
  const list = schema["type"] === "array" ? schema : { type: "array", items: schemaNamed("Event", document) };
  const right = jsonOf(list, document).map((events) =>
    type === "application/json"
      ? JSON.stringify(events)
      : (events as unknown[]).map((event) => `${JSON.stringify(event)}\n`).join(""),
  );
  const text = mostly(right, anyText);
  return fc.tuple(mostly(fc.constant(type), fc.constant("text/csv")), text).map(([given, body]) => {
    return { type: given, text: body };
  });
}
