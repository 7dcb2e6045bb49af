/** What distinguishes one set of data from every other. */
import { USER_KEY_BYTES } from "../../domain/unique-users/user-hash.ts";

export interface DataSet {
  /** A UUID: what belongs to the same data names the same. */
  readonly identity: string;
  /** The secret key under which users enter sketches (UserHash). */
  readonly userKey: Uint8Array;
}

/** Random, and so never of two sets the same. */
export function newDataSet(): DataSet {
  return { identity: crypto.randomUUID(), userKey: crypto.getRandomValues(new Uint8Array(USER_KEY_BYTES)) };
}
