/** The contract that every cold store keeps, whole. */
import type { Harness } from "../setup.ts";
import { flushContract } from "./flush.ts";
import { readsContract } from "./reads.ts";
import { recordsContract } from "./records.ts";

export function coldStoreContract(name: string, open: () => Promise<Harness>): void {
  flushContract(name, open);
  readsContract(name, open);
  recordsContract(name, open);
}
