/**
 * An OpenAPI document, and whether answers match it. Stricter than clients must be: members and headers that the
 * document does not list are violations too.
 */
import Ajv2020, { type ValidateFunction } from "ajv/dist/2020";
import type { ApiDocument } from "../../../src/http/openapi/document.ts";
import type { Answer, Operation } from "../../../src/http/openapi/parts.ts";

export interface DescribedOperation {
  readonly method: "get" | "post";
  readonly path: string;
  readonly operation: Operation;
}

export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** Headers of HTTP itself, which no client must know. */
const PLAIN_HEADERS = new Set([
  ...["content-type", "content-length", "date", "connection", "cache-control", "vary", "transfer-encoding"],
  ...["content-encoding", "content-security-policy", "referrer-policy", "x-content-type-options"],
  ...["cross-origin-resource-policy", "access-control-allow-origin", "x-accel-buffering"],
]);

export class ApiDescription {
  readonly document: ApiDocument;
  readonly operations: readonly DescribedOperation[];
  /** The answers that the document lists, and their error codes. */
  readonly listed: ReadonlySet<string>;
  /** Those that were seen. */
  readonly seen = new Set<string>();
  readonly #ajv: Ajv2020;

  constructor(document: ApiDocument) {
    this.document = document;
    this.operations = operationsOf(document);
    this.listed = new Set(
      this.operations.flatMap((described) =>
        Object.entries(described.operation.responses).flatMap(([status, response]) => [
          nameOf(described, status),
          ...codesOf(response).map((code) => nameOf(described, `${status} ${code}`)),
        ]),
      ),
    );
    const formats = { "date-time": (text: string) => !Number.isNaN(Date.parse(text)) };
    this.#ajv = new Ajv2020({ allErrors: true, strict: true, strictRequired: false, formats });
    this.#ajv.addVocabulary(["openapi", "info", "servers", "tags", "paths", "components", "example"]);
    const strict = closed(document) as ApiDocument;
    // What stands beside an error is told where the error is.
    delete strict.components.schemas.Error["unevaluatedProperties"];
    this.#ajv.addSchema(strict, "api");
  }

  /** Validates against the schema at this path of the document. */
  validator(...place: readonly string[]): ValidateFunction {
    const pointer = place.map((key) => encodeURIComponent(key.replaceAll("~", "~0").replaceAll("/", "~1")));
    const id = `api#/${pointer.join("/")}`;
    const found = this.#ajv.getSchema(id);
    if (found === undefined) throw new Error(`the document has no schema at ${place.join(" > ")}`);
    return found;
  }

  #headerViolations(response: Answer, headers: Headers): string[] {
    return Array.from(headers).flatMap(([name, value]) => {
      if (PLAIN_HEADERS.has(name)) return [];
      if (response.headers?.[name] === undefined) return [`header ${name} is not listed`];
      const check = this.validator("components", "headers", name, "schema");
      const isNumber = (check.schema as { type?: string }).type === "integer";
      return check(isNumber ? Number(value) : value) ? [] : [`header ${name}: ${value}`];
    });
  }

  /** Empty if the answer is one that the operation lists. */
  violations(described: DescribedOperation, { status, headers, body }: ApiAnswer): string[] {
    const { method, path, operation } = described;
    const response: Answer | undefined = operation.responses[status];
    if (response === undefined) return [`${status} is not listed: ${body}`];
    this.seen.add(nameOf(described, String(status)));
    const violations = this.#headerViolations(response, headers).map((what) => `${status}: ${what}`);
    if (response.content === undefined) return body === "" ? violations : [...violations, `${status}: a body`];
    const type = (headers.get("content-type") ?? "none").split(";", 1)[0]!;
    if (response.content[type] === undefined) return [...violations, `${status}: type ${type} is not listed`];
    const place = ["paths", path, method, "responses", String(status), "content", type, "schema"];
    const check = this.validator(...place);
    const value = type === "application/json" ? JSON.parse(body) : body;
    if (value.error !== undefined) this.seen.add(nameOf(described, `${status} ${value.error.code}`));
    if (check(value)) return violations;
    return [...violations, `${status}: ${this.#ajv.errorsText(check.errors)}: ${body}`];
  }
}

function nameOf({ method, path }: DescribedOperation, answer: string): string {
  return `${method.toUpperCase()} ${path} ${answer}`;
}

/** The codes of a failure() of parts.ts. */
function codesOf({ content = {} }: Answer): string[] {
  return content["application/json"]?.schema["allOf"]?.[1].properties.error.properties.code.enum ?? [];
}

function operationsOf({ paths = {} }: ApiDocument): DescribedOperation[] {
  return Object.entries(paths).flatMap(([path, item]) =>
    (["get", "post"] as const).flatMap((method) => {
      const operation = item?.[method];
      return operation === undefined ? [] : [{ method, path, operation }];
    }),
  );
}

/** No member but those listed, wherever members are; what `allOf` puts together has them in several places. */
function closed(node: unknown, isPart = false): unknown {
  if (Array.isArray(node)) return node.map((item) => closed(item, isPart));
  if (typeof node !== "object" || node === null) return node;
  const copy = Object.fromEntries(
    Object.entries(node).map(([key, value]) => [
      key,
      key === "example" ? value : closed(value, isPart || key === "allOf"),
    ]),
  );
  const hasMembers = copy["type"] === "object" && typeof copy["properties"] === "object";
  if (!isPart && hasMembers && !Object.hasOwn(copy, "additionalProperties")) copy["unevaluatedProperties"] = false;
  if (!isPart && Array.isArray(copy["allOf"])) copy["unevaluatedProperties"] = false;
  return copy;
}
