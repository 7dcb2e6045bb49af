/** GET /hourglass.js: the program for web pages, as it is in hourglass.js, which lies in this program itself. */
import source from "./hourglass.js" with { type: "text" };

const HEADERS = {
  "content-type": "text/javascript; charset=utf-8",
  // It is asked for again after a day, and used meanwhile: the address stays the same for all versions.
  "cache-control": "public, max-age=86400, stale-while-revalidate=604800",
  // For pages that load it with `crossorigin`, and for those that take nothing which does not allow it.
  "access-control-allow-origin": "*",
  "cross-origin-resource-policy": "cross-origin",
  etag: `W/"${Bun.hash(source).toString(36)}"`,
  vary: "Accept-Encoding",
};
const GZIPPED = Bun.gzipSync(source, { level: 9 });

export function snippetAnswer({ headers }: Request): Response {
  if (headers.get("if-none-match") === HEADERS.etag)
    return new Response(null, { status: 304, headers: HEADERS });
  if (!headers.get("accept-encoding")?.includes("gzip")) return new Response(source, { headers: HEADERS });
  return new Response(GZIPPED, { headers: { ...HEADERS, "content-encoding": "gzip" } });
}
