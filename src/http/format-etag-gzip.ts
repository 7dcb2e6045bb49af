/** Content negotiation: the client's preferred format (Accept), compression, and 304 for an answer that it has. */
import { promisify } from "node:util";
import { gzip as compress } from "node:zlib";
import Negotiator from "negotiator";

export type Format = "json" | "csv" | "text";

export const CONTENT_TYPES: Record<Format, string> = {
  json: "application/json; charset=utf-8",
  csv: "text/csv; charset=utf-8; header=present",
  text: "text/plain; charset=utf-8",
};

/** RFC 9110, 12.5.1. The first of equally preferred formats; if none is accepted, the first of all. */
export function preferredFormat(accept: string | null, offered: readonly [Format, ...Format[]]): Format {
  if (accept === null) return offered[0];
  const byType = new Map(offered.map((format) => [CONTENT_TYPES[format].split(";", 1)[0]!, format]));
  const preferred = new Negotiator({ headers: { accept } }).mediaType([...byType.keys()]);
  return byType.get(preferred ?? "") ?? offered[0];
}

const ETAG_CHARS = 22;

/** RFC 9110, 8.8.3. */
export function etagOf(...parts: readonly (string | ArrayBuffer)[]): string {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return `"${hasher.digest("base64url").slice(0, ETAG_CHARS)}"`;
}

/** Compares weakly, since proxies that compress an answer weaken its tag. */
export function matches(ifNoneMatch: string | null, etag: string): boolean {
  if (ifNoneMatch === null) return false;
  const opaque = (tag: string) => tag.trim().replace(/^W\//, "");
  const tags = ifNoneMatch.split(",").map(opaque);
  return tags.includes("*") || tags.includes(opaque(etag));
}

/** Compresses in another thread. */
export const gzip: (data: string | ArrayBuffer) => Promise<Buffer<ArrayBuffer>> = promisify(compress);

interface Content {
  readonly headers: Readonly<Record<string, string>>;
  readonly plain: string | Blob;
  /** Undefined: clients may not keep it. */
  readonly etag: string | undefined;
  /** Undefined: too short to gain. */
  readonly gzipped: (() => Promise<Uint8Array<ArrayBuffer>>) | undefined;
}

export async function negotiatedAnswer(request: Request, { headers, plain, etag, gzipped }: Content) {
  const isPacked = gzipped !== undefined && acceptsGzip(request);
  // A weak tag: compressed bytes differ, but mean the same.
  const tagged = etag === undefined ? headers : { ...headers, etag: isPacked ? `W/${etag}` : etag };
  if (etag !== undefined && matches(request.headers.get("if-none-match"), etag)) {
    const { "content-type": _, ...rest } = tagged;
    return new Response(null, { status: 304, headers: rest });
  }
  if (!isPacked) return new Response(plain, { headers: tagged });
  return new Response(await gzipped(), { headers: { ...tagged, "content-encoding": "gzip" } });
}

const ACCEPTS_GZIP = /(?:^|,)\s*gzip\s*(?:$|,|;(?!\s*q=0(?:\.0*)?\s*(?:,|$)))/i;

function acceptsGzip({ headers }: Request): boolean {
  return ACCEPTS_GZIP.test(headers.get("accept-encoding") ?? "");
}
