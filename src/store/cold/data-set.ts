/** The identity of the data, and the key of its sketches. */
import { USER_KEY_BYTES } from "../../domain/unique-users/user-hash.ts";

export interface DataSet {
  /** A UUID: everything that belongs to the same data names the same one. */
  readonly identity: string;
  /** The secret key under which users enter sketches (UserHash). */
  readonly userKey: Uint8Array;
}

export function newDataSet(): DataSet {
  return { identity: crypto.randomUUID(), userKey: crypto.getRandomValues(new Uint8Array(USER_KEY_BYTES)) };
}
