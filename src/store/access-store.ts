/**
 * Access state shared by instances: how much of each limit is used, and a copy of the API keys for instances that start
 * while the cold store is unavailable.
 *
 * Invariant: no request waits for it. Every method throws HotUnavailableError if the store is unavailable.
 */
import type { ApiKey } from "../domain/api-key.ts";

export interface Spending {
  readonly name: string;
  /** How much time pays for what was spent. */
  readonly ms: number;
}

export interface AccessStore {
  /** For each limit, how long from now it is used up, including what all instances have spent. */
  spend(spendings: readonly Spending[]): Promise<readonly number[]>;
  keepKeys(keys: readonly ApiKey[]): Promise<void>;
  /** Undefined if there is no copy. */
  keptKeys(): Promise<readonly ApiKey[] | undefined>;
  close(): Promise<void>;
}
