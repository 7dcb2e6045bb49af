/** The contract that every cold store keeps, whole. */
import type { Harness } from "../setup.ts";
import { flushContract } from "./flush.ts";
import { readsContract } from "./reads.ts";
import { recordsContract } from "./records.ts";

export interface ContractLimits {
  /** A database holds no text that is larger than its packets. */
  readonly largestPoisonChars: number;
}

export function coldStoreContract(
  name: string,
  open: () => Promise<Harness>,
  { largestPoisonChars }: ContractLimits = { largestPoisonChars: 2_000_000 },
): void {
  flushContract(name, open);
  readsContract(name, open);
  recordsContract(name, open, largestPoisonChars);
}
