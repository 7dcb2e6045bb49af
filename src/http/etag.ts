/** Entity tags (RFC 9110, 8.8.3): a client that has an answer already gets 304. */
const ETAG_CHARS = 22;

export function etagOf(...parts: readonly (string | ArrayBuffer)[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return `"${hasher.digest("base64url").slice(0, ETAG_CHARS)}"`;
}

/** The weak comparison, as proxies that compress an answer make its tag weak. */
export function matches(ifNoneMatch: string | null, etag: string): boolean {
  if (ifNoneMatch === null) return false;
  const opaque = (tag: string) => tag.trim().replace(/^W\//, "");
  const tags = ifNoneMatch.split(",").map(opaque);
  return tags.includes("*") || tags.includes(opaque(etag));
}
