/** Answers that never change while the process runs; compressed on first use, in another thread. */
import { Elysia } from "elysia";
import { etagOf, gzip, negotiatedAnswer } from "./format-etag-gzip.ts";

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

export class StaticAsset {
  readonly #content: Blob;
  readonly #headers: Readonly<Record<string, string>>;
  #etag: Promise<string> | undefined;
  #gzipped: Promise<Uint8Array<ArrayBuffer>> | undefined;

  constructor(content: Blob, contentType: string, headers: Readonly<Record<string, string>> = {}) {
    this.#content = content;
    // Revalidated each time, since the service may have been upgraded.
    const kept = { "cache-control": "no-cache", vary: "accept-encoding", "x-content-type-options": "nosniff" };
    this.#headers = { "content-type": contentType, ...kept, ...headers };
  }

  async answer(request: Request): Promise<Response> {
    const content = this.#content;
    this.#etag ??= content.arrayBuffer().then(etagOf);
    const gzipped = () => (this.#gzipped ??= content.arrayBuffer().then(gzip));
    return await negotiatedAnswer(request, { headers: this.#headers, plain: content, etag: await this.#etag, gzipped });
  }
}

export function assetRoutes(name: string, assets: Readonly<Record<string, StaticAsset>>) {
  const app = new Elysia({ name });
  for (const [path, asset] of Object.entries(assets)) app.get(path, ({ request }) => asset.answer(request));
  return app;
}
