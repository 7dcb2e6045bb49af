/**
 * Ids for events that have none: where the event's record begins, and a hash of it and of all that stands before it in
 * the content.
 *
 * So the same content gives the same ids, however it is named, packed or cut into requests, and whoever reads it
 * on from any place; of two equal lines each has its own; and a line of another file has another id, unless the
 * files are the same up to there. Then they are taken for one: the second is a copy, or the first has grown.
 *
 * The place is in it for whoever keeps ids in a tree (SQLite, in the embedded hot store): they come in order, and are
 * put beside each other. By the hash alone each is put somewhere else, which took 42 µs of CPU time instead of 4.
 */
import { RECORD_MAX_BYTES } from "./record-splitter.ts";
import { sha256Of } from "./sha256.ts";

const HASH_BYTES = 32;
/** Hexadecimal, up to 17 TB. */
const PLACE_DIGITS = 11;
/** 96 bits, beside the place: that two contents share an id where they differ is all but impossible. */
const ID_HASH_BYTES = 12;

export class EventIds {
  /** The hash so far, then room for a record. */
  readonly #scratch = Buffer.alloc(HASH_BYTES + RECORD_MAX_BYTES);

  /** `chain`: as it was where the reading goes on; undefined at the beginning, behind `head`. */
  constructor(start: { readonly chain: Uint8Array } | { readonly head: Uint8Array }) {
    const chain = "chain" in start ? start.chain : sha256Of(start.head);
    this.#scratch.set(chain);
  }

  /** A copy. */
  get chain(): Uint8Array {
    return Uint8Array.from(this.#scratch.subarray(0, HASH_BYTES));
  }

  advance(record: Uint8Array): void {
    this.#scratch.set(record, HASH_BYTES);
    Bun.SHA256.hash(this.#scratch.subarray(0, HASH_BYTES + record.length), this.#scratch.subarray(0, HASH_BYTES));
  }

  /** Of the record that was advanced over last, and begins at `start`. */
  id(start: number): string {
    const hash = this.#scratch.toString("base64url", 0, ID_HASH_BYTES);
    return `${start.toString(16).padStart(PLACE_DIGITS, "0")}${hash}`;
  }
}
