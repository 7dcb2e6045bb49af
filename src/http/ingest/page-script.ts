/** GET /hourglass.js: the script for web pages. */
import { StaticAsset } from "../static-asset.ts";
import source from "./hourglass.js" with { type: "text" };

export function snippetAsset(): StaticAsset {
  return new StaticAsset(new Blob([source]), "text/javascript; charset=utf-8", {
    // A day, since the address stays the same for all versions.
    "cache-control": "public, max-age=86400, stale-while-revalidate=604800",
    // For pages that load it with `crossorigin` or as a module, and for those that require this policy.
    "access-control-allow-origin": "*",
    "cross-origin-resource-policy": "cross-origin",
  });
}
