/** What access control needs of the cold store. */
import type { ApiKey } from "../../domain/api-key.ts";

export interface KeyStore {
  /** All keys that were ever created, oldest first. */
  apiKeys(): Promise<readonly ApiKey[]>;
  addApiKey(key: ApiKey): Promise<void>;
  /** False if there is no such key, or it was revoked before. */
  revokeApiKey(id: string, at: number): Promise<boolean>;
}
