/**
 * What an API key is: who may do what, and a secret that its holder alone has.
 *
 * Invariant: of a secret only its SHA-256 is kept. A slow hash is for secrets that can be guessed. These have 256
 * random bits: nothing would be won by it, and whoever sends wrong ones could keep the service busy.
 */
import type { RateLimit } from "./rate-limit.ts";

export const SCOPES = ["write", "read", "admin"] as const;

export type Scope = (typeof SCOPES)[number];

export interface ApiKey {
  readonly id: string;
  /** Of the whole token, in hexadecimal. */
  readonly sha256: string;
  /** For people. */
  readonly name: string;
  /** None of them has another one in it. */
  readonly scopes: readonly Scope[];
  /** Patterns as a StreamSet takes them; none: all streams. */
  readonly streams: readonly string[];
  readonly limit: RateLimit | undefined;
  /** Milliseconds since the epoch, as all times here. */
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
}

const PREFIX = "hg_";
const ID_BYTES = 8;
const SECRET_BYTES = 32;
const ID_START = PREFIX.length;
const ID_END = ID_START + 2 * ID_BYTES;
/** What is asked for: hg_, the id, and the secret. It says nothing of a key, so that it may be checked in any way. */
const TOKEN = /^hg_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/;

export const EXPECTS_TOKEN = "a key that `hourglass keys create` has shown: hg_, 16 characters, _ and 43 more";

export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Of a text that is a token. */
export function idIn(token: string): string {
  return token.slice(ID_START, ID_END);
}

export interface NewToken {
  readonly id: string;
  readonly token: string;
  readonly sha256: string;
}

/** `randomBytes`: from a source that nobody can guess. */
export function newToken(randomBytes: (count: number) => Buffer): NewToken {
  const id = randomBytes(ID_BYTES).toString("hex");
  const token = `${PREFIX}${id}_${randomBytes(SECRET_BYTES).toString("base64url")}`;
  return { id, token, sha256: new Bun.CryptoHasher("sha256").update(token).digest("hex") };
}
