/** Answers that never change while the process runs; compressed on first use, in another thread. */
import { Elysia } from "elysia";
import { acceptsGzip, etagOf, gzip, matches } from "./format-etag-gzip.ts";

/** Restricts the service's pages to files of this service. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

export const PAGE_HEADERS = { "content-security-policy": POLICY, "referrer-policy": "no-referrer" };

export const HTML = "text/html; charset=utf-8";
export const JAVASCRIPT = "text/javascript; charset=utf-8";
export const CSS = "text/css; charset=utf-8";

interface Packed {
  readonly gzipped: Uint8Array<ArrayBuffer>;
  readonly etag: string;
}

export class StaticAsset {
  readonly #content: Blob;
  readonly #headers: Readonly<Record<string, string>>;
  #packed: Promise<Packed> | undefined;

  constructor(content: Blob, contentType: string, headers: Readonly<Record<string, string>> = {}) {
    this.#content = content;
    // Revalidated each time, since the service may have been upgraded.
    const kept = { "cache-control": "no-cache", vary: "accept-encoding", "x-content-type-options": "nosniff" };
    this.#headers = { "content-type": contentType, ...kept, ...headers };
  }

  async answer(request: Request): Promise<Response> {
    this.#packed ??= this.#pack();
    const { gzipped, etag } = await this.#packed;
    const headers = { ...this.#headers, etag };
    if (matches(request.headers.get("if-none-match"), etag)) {
      return new Response(null, { status: 304, headers });
    }
    if (!acceptsGzip(request)) return new Response(this.#content, { headers });
    return new Response(gzipped, { headers: { ...headers, "content-encoding": "gzip" } });
  }

  async #pack(): Promise<Packed> {
    const bytes = await this.#content.arrayBuffer();
    return { gzipped: await gzip(bytes), etag: `W/${etagOf(bytes)}` };
  }
}

export function assetRoutes(name: string, assets: Readonly<Record<string, StaticAsset>>) {
  const app = new Elysia({ name });
  for (const [path, asset] of Object.entries(assets)) app.get(path, ({ request }) => asset.answer(request));
  return app;
}
