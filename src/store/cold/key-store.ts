/** What access control needs of the cold store. */
import type { ApiKey } from "../../domain/api-key.ts";

export interface KeyStore {
  /** All that there ever were, the oldest first. */
  apiKeys(): Promise<readonly ApiKey[]>;
  addApiKey(key: ApiKey): Promise<void>;
  /** False if there is no such key, or it was revoked before. */
  revokeApiKey(id: string, at: number): Promise<boolean>;
}
