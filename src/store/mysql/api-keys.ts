/** The table `api_keys` in MySQL. */
import type { ApiKey } from "../../domain/api-key.ts";
import type { KeyStore } from "../cold/key-store.ts";
import { API_KEY_COLUMNS, type ApiKeyRow, apiKeysOf, apiKeyValues } from "../sql/api-key-row.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import type { MysqlSession } from "./connection/sql-session.ts";

export function keyRole(database: MysqlDatabase): KeyStore {
  return {
    apiKeys: () => database.read("list API keys", listApiKeys),
    addApiKey: (key) => database.read("add an API key", (session) => addApiKey(session, key)),
    revokeApiKey: (id, at) => database.read("revoke an API key", (session) => revokeApiKey(session, id, at)),
  };
}

async function listApiKeys(session: MysqlSession): Promise<ApiKey[]> {
  const query = `SELECT ${API_KEY_COLUMNS} FROM api_keys ORDER BY created_at, id`;
  return apiKeysOf(await session.rows<ApiKeyRow>(query));
}

async function addApiKey(session: MysqlSession, key: ApiKey): Promise<void> {
  await session.run(`INSERT INTO api_keys (${API_KEY_COLUMNS}) VALUES (?)`, [apiKeyValues(key)]);
}

/** False if there is no such key, or it was revoked before. */
async function revokeApiKey(session: MysqlSession, id: string, at: number): Promise<boolean> {
  await session.run("START TRANSACTION");
  const query = "SELECT id FROM api_keys WHERE id = ? AND revoked_at IS NULL FOR UPDATE";
  const isLiving = (await session.rows<{ id: string }>(query, [id])).length > 0;
  await session.run("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", [at, id]);
  await session.run("COMMIT");
  return isLiving;
}
