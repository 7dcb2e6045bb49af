/** The table `api_keys` in SQLite. */
import type { Database } from "bun:sqlite";
import type { ApiKey } from "../../../domain/api-key.ts";
import type { KeyStore } from "../../cold.ts";
import { API_KEY_COLUMNS, type ApiKeyRow, apiKeysOf, apiKeyValues } from "../../sql/api-key-row.ts";
import type { SqliteDatabase } from "./database.ts";

const INSERT = `INSERT INTO api_keys (${API_KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;

export function keyRole(database: SqliteDatabase): KeyStore {
  return {
    apiKeys: () => database.read("list API keys", listApiKeys),
    addApiKey: (key) => database.transaction("add an API key", (writing) => addApiKey(writing, key)),
    revokeApiKey: (id, at) => database.transaction("revoke an API key", (writing) => revokeApiKey(writing, id, at)),
  };
}

function listApiKeys(database: Database): ApiKey[] {
  const query = `SELECT ${API_KEY_COLUMNS} FROM api_keys ORDER BY created_at, id`;
  return apiKeysOf(database.query<ApiKeyRow, []>(query).all());
}

function addApiKey(database: Database, key: ApiKey): void {
  database.query(INSERT).run(...apiKeyValues(key));
}

function revokeApiKey(database: Database, id: string, at: number): boolean {
  const update = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
  return database.query(update).run(at, id).changes > 0;
}
