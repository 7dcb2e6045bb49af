/**
 * An API key: what it permits, and a secret that only its holder has.
 *
 * Invariant: only the SHA-256 of a secret is stored. Slow hashes protect secrets that can be guessed. These have 256
 * random bits, and wrong ones sent by a client could keep a slow hash busy.
 */
import type { RateLimit } from "./rate-limit.ts";

export const SCOPES = ["write", "read", "admin"] as const;

export type Scope = (typeof SCOPES)[number];

export interface ApiKey {
  readonly id: string;
  /** The hash of the whole token, in hex. */
  readonly sha256: string;
  readonly name: string;
  /** No scope implies another. */
  readonly scopes: readonly Scope[];
  /** Patterns for a StreamSet; empty: all streams. */
  readonly streams: readonly string[];
  readonly limit: RateLimit | undefined;
  /** Milliseconds since the epoch, like all times here. */
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
}

const PREFIX = "hg_";
const ID_BYTES = 8;
const SECRET_BYTES = 32;
const ID_CHARS = 2 * ID_BYTES;
const SECRET_CHARS = Math.ceil((SECRET_BYTES * 4) / 3);
const ID_START = PREFIX.length;
const ID_END = ID_START + ID_CHARS;
const ID_PATTERN = `[0-9a-f]{${ID_CHARS}}`;
const ID = new RegExp(`^${ID_PATTERN}$`);
const TOKEN = new RegExp(`^${PREFIX}${ID_PATTERN}_[A-Za-z0-9_-]{${SECRET_CHARS}}$`);

/** A token in messages. */
export const SHOWN_TOKEN = `${PREFIX}…`;
export const EXPECTS_ID = `the ${ID_CHARS} characters between ${PREFIX} and the next _`;
export const EXPECTS_TOKEN =
  `a key that \`hourglass keys create\` has shown: ${PREFIX}, ` + `${ID_CHARS} characters, _ and ${SECRET_CHARS} more`;

export function isKeyId(text: string): boolean {
  return ID.test(text);
}

export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** `token`: must satisfy isToken(). */
export function idIn(token: string): string {
  return token.slice(ID_START, ID_END);
}

interface NewToken {
  readonly id: string;
  readonly token: string;
  readonly sha256: string;
}

/** `randomBytes`: must be cryptographically secure. */
export function newToken(randomBytes: (count: number) => Buffer): NewToken {
  const id = randomBytes(ID_BYTES).toString("hex");
  const token = `${PREFIX}${id}_${randomBytes(SECRET_BYTES).toString("base64url")}`;
  return { id, token, sha256: new Bun.CryptoHasher("sha256").update(token).digest("hex") };
}
