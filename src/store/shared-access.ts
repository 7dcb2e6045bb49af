/**
 * What instances share about who may do what, beside the keys themselves, which the cold store has: how much of
 * each limit is spent, and a copy of the keys for who starts while the cold store is away.
 *
 * Invariant: nobody waits for it with a request. Every method throws HotUnavailableError if it is away.
 */
import type { ApiKey } from "../domain/api-key.ts";

export interface Spending {
  /** Of the limit. */
  readonly name: string;
  /** For how long what was spent is paid for. */
  readonly ms: number;
}

export interface AccessStore {
  /** Answers, for each, how long it is paid for from now on, with what all instances have spent. */
  spend(spendings: readonly Spending[]): Promise<readonly number[]>;
  keepKeys(keys: readonly ApiKey[]): Promise<void>;
  /** Undefined if none were ever kept. */
  keptKeys(): Promise<readonly ApiKey[] | undefined>;
  close(): Promise<void>;
}
