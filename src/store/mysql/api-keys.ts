/** The table `api_keys` in MySQL. */
import type { ApiKey } from "../../domain/api-key.ts";
import type { KeyStore } from "../cold.ts";
import { API_KEY_COLUMNS, type ApiKeyRow, apiKeysOf, apiKeyValues } from "../sql/api-key-row.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import type { MysqlSession } from "./connection/sql-session.ts";

export function keyRole(database: MysqlDatabase): KeyStore {
  return {
    apiKeys: () => database.read("list API keys", listApiKeys),
    addApiKey: (key) => database.read("add an API key", addApiKey, key),
    revokeApiKey: (id, at) => database.read("revoke an API key", revokeApiKey, id, at),
  };
}

async function listApiKeys(session: MysqlSession): Promise<ApiKey[]> {
  const query = `SELECT ${API_KEY_COLUMNS} FROM api_keys ORDER BY created_at, id`;
  return apiKeysOf(await session.rows<ApiKeyRow>(query));
}

async function addApiKey(session: MysqlSession, key: ApiKey): Promise<void> {
  await session.run(`INSERT INTO api_keys (${API_KEY_COLUMNS}) VALUES (?)`, [apiKeyValues(key)]);
}

async function revokeApiKey(session: MysqlSession, id: string, at: number): Promise<boolean> {
  return (
    (await session.matched("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", [at, id])) > 0
  );
}
