/** API keys, as rows of the table `api_keys`, which is the same in MySQL and SQLite. */
import { type Static, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { type ApiKey, SCOPES, type Scope } from "../../domain/api-key.ts";
import { rateLimitOf, rateLimitText } from "../../domain/rate-limit.ts";
import { isStreamGrant } from "../../domain/stream-rules.ts";
import type { KeyStore } from "../cold.ts";
import type { Sql } from "./sql-runner.ts";

const COLUMNS = "id, sha256, name, scopes, streams, rate_limit, created_at, expires_at, revoked_at";
const INSERT = `INSERT INTO api_keys (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const LIST = `SELECT ${COLUMNS} FROM api_keys ORDER BY created_at, id`;
const REVOKE = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";

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

type ApiKeyRow = Static<typeof ApiKeyRowSchema>;

export function keyRole({ read, change }: Sql): KeyStore {
  return {
    apiKeys: () => read("list API keys", async (session) => apiKeysOf(await session.rows<ApiKeyRow>(LIST))),
    addApiKey: (key) =>
      change("add an API key", async (session) => {
        await session.matched(INSERT, apiKeyValues(key));
      }),
    revokeApiKey: (id, at) =>
      change("revoke an API key", async (session) => (await session.matched(REVOKE, [at, id])) > 0),
  };
}

/** The values in the order of COLUMNS. */
function apiKeyValues(key: ApiKey): (string | number | null)[] {
  const { id, sha256, name, scopes, streams, limit, createdAt, expiresAt, revokedAt } = key;
  const lists = [scopes.join(","), streams.join(","), limit === undefined ? null : rateLimitText(limit)];
  return [id, sha256, name, ...lists, createdAt, expiresAt ?? null, revokedAt ?? null];
}

/** Skips rows that this build does not understand: rights must not be guessed. */
function apiKeysOf(rows: readonly ApiKeyRow[]): ApiKey[] {
  return rows.map(apiKeyOf).filter((key) => key !== undefined);
}

function apiKeyOf(row: ApiKeyRow): ApiKey | undefined {
  if (!Value.Check(ApiKeyRowSchema, row)) return undefined;
  const { id, sha256, name, created_at, expires_at, revoked_at } = row;
  const limit = row.rate_limit === null ? undefined : rateLimitOf(row.rate_limit);
  const scopes = row.scopes.split(",");
  const streams = row.streams === "" ? [] : row.streams.split(",");
  if (!scopes.every(isScope) || !streams.every(isStreamGrant)) return undefined;
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
  const names = COLUMNS.split(", ");
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
