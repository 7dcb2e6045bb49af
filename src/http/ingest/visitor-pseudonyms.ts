/**
 * Pseudonyms for visitors without a user id: valid for one day (UTC), derived from address and user agent.
 *
 * Invariant: neither of the two is stored or logged, and linking a pseudonym to them requires the salt. The salt exists
 * only in memory and changes daily, so pseudonyms of different days can't be linked.
 */
import { randomBytes } from "node:crypto";
import { DAY_MS } from "../../domain/event.ts";

const PREFIX = "anon-";
/** 128 bits. */
const HASH_CHARS = 22;
const SALT_BYTES = 32;

export class Pseudonyms {
  readonly #secret: string | undefined;
  #day = -1;
  #salt: Uint8Array = new Uint8Array();

  /** Instances with the same secret derive the same pseudonyms. Undefined: a random salt. */
  constructor(secret: string | undefined) {
    this.#secret = secret;
  }

  /** The same for all streams of a site, so that their users can be merged; different for other sites. */
  of(address: string, userAgent: string, stream: string, now: number): string {
    const [site] = stream.split(".", 1);
    const hash = new Bun.CryptoHasher("sha256", this.#saltOf(now));
    hash.update(JSON.stringify([site, address, userAgent]));
    return PREFIX + hash.digest("base64url").slice(0, HASH_CHARS);
  }

  #saltOf(now: number): Uint8Array {
    const day = now - (now % DAY_MS);
    if (day !== this.#day) {
      this.#salt = this.#secret === undefined ? randomBytes(SALT_BYTES) : derived(this.#secret, day);
      this.#day = day;
    }
    return this.#salt;
  }
}

function derived(secret: string, day: number): Uint8Array {
  return new Bun.CryptoHasher("sha256", secret).update(`salt of ${new Date(day).toISOString()}`).digest();
}
