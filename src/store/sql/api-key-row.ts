/** An API key as a row of the table `api_keys`, which is the same in MySQL and SQLite. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { type ApiKey, SCOPES, type Scope } from "../../domain/api-key.ts";
import { rateLimitOf, rateLimitText } from "../../domain/rate-limit.ts";
import { isStreamSelection } from "../../domain/stream-rules.ts";

export const API_KEY_COLUMNS = "id, sha256, name, scopes, streams, rate_limit, created_at, expires_at, revoked_at";

const text = Type.String();
const textOrNull = Type.Union([text, Type.Null()]);
const timeOrNull = Type.Union([Type.Integer(), Type.Null()]);
const ApiKeyRowSchema = Type.Object({
  id: text,
  sha256: Type.String({ pattern: "^[0-9a-f]{64}$" }),
  name: text,
  scopes: text,
  streams: text,
  rate_limit: textOrNull,
  created_at: Type.Integer(),
  expires_at: timeOrNull,
  revoked_at: timeOrNull,
});

export type ApiKeyRow = Static<typeof ApiKeyRowSchema>;

/** In the order of API_KEY_COLUMNS. */
export function apiKeyValues(key: ApiKey): (string | number | null)[] {
  const { id, sha256, name, scopes, streams, limit, createdAt, expiresAt, revokedAt } = key;
  const lists = [scopes.join(","), streams.join(","), limit === undefined ? null : rateLimitText(limit)];
  return [id, sha256, name, ...lists, createdAt, expiresAt ?? null, revokedAt ?? null];
}

/** Skips rows that this build does not understand: rights must not be guessed. */
export function apiKeysOf(rows: readonly ApiKeyRow[]): ApiKey[] {
  return rows.map(apiKeyOf).filter((key) => key !== undefined);
}

function apiKeyOf(row: ApiKeyRow): ApiKey | undefined {
  if (!Value.Check(ApiKeyRowSchema, row)) return undefined;
  const { id, sha256, name, created_at, expires_at, revoked_at } = row;
  const limit = row.rate_limit === null ? undefined : rateLimitOf(row.rate_limit);
  const scopes = row.scopes.split(",");
  const streams = row.streams === "" ? [] : row.streams.split(",");
  if (!scopes.every(isScope) || !streams.every(isStreamSelection)) return undefined;
  if (row.rate_limit !== null && limit === undefined) return undefined;
  return {
    ...{ id, sha256, name, scopes, streams, limit },
    createdAt: created_at,
    expiresAt: expires_at ?? undefined,
    revokedAt: revoked_at ?? undefined,
  };
}

/** Serializes keys as a JSON list of rows. */
export function packApiKeys(keys: readonly ApiKey[]): string {
  const names = API_KEY_COLUMNS.split(", ");
  const rows = keys.map((key) => {
    const values = apiKeyValues(key);
    return Object.fromEntries(names.map((name, i) => [name, values[i]]));
  });
  return JSON.stringify(rows);
}

/** Undefined if the text is malformed. */
export function unpackApiKeys(packed: string): ApiKey[] | undefined {
  try {
    const rows: unknown = JSON.parse(packed);
    return Array.isArray(rows) ? apiKeysOf(rows) : undefined;
  } catch {
    return undefined;
  }
}

function isScope(text: string): text is Scope {
  return (SCOPES as readonly string[]).includes(text);
}
