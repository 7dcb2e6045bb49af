/** An answer that never changes while the process runs: compressed on first use, in another thread. */
import { etagOf, matches } from "./etag.ts";
import { acceptsGzip, gzip } from "./gzip.ts";

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
    // Revalidated each time, as the service may have been upgraded.
    const kept = {
      "cache-control": "no-cache",
      vary: "accept-encoding",
      "x-content-type-options": "nosniff",
    };
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
