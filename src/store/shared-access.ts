/**
 * Access state that instances share: how much of each limit is spent, and a copy of the API keys for instances that
 * start while the cold store, which has the keys, is unavailable.
 *
 * Invariant: no request waits for it. Every method throws HotUnavailableError if the store is unavailable.
 */
import type { ApiKey } from "../domain/api-key.ts";

export interface Spending {
  readonly name: string;
  /** The time that pays for what was spent. */
  readonly ms: number;
}

export interface AccessStore {
  /** Answers for each limit how long from now on it is used up, with what all instances have spent. */
  spend(spendings: readonly Spending[]): Promise<readonly number[]>;
  keepKeys(keys: readonly ApiKey[]): Promise<void>;
  /** Undefined if there is no copy. */
  keptKeys(): Promise<readonly ApiKey[] | undefined>;
  close(): Promise<void>;
}
