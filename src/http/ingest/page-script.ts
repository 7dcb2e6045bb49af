/** GET /hourglass.js: the program for web pages, as it is in hourglass.js, which lies in this program itself. */

import { StaticAsset } from "../static-asset.ts";
import source from "./hourglass.js" with { type: "text" };

export function snippetAsset(): StaticAsset {
  return new StaticAsset(new Blob([source]), "text/javascript; charset=utf-8", {
    // It is asked for again after a day, and used meanwhile: the address stays the same for all versions.
    "cache-control": "public, max-age=86400, stale-while-revalidate=604800",
    // For pages that load it with `crossorigin`, and for those that take nothing which does not allow it.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
  });
}
