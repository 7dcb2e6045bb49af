/**
 * The scope that each route requires.
 * Invariant: a route that is missing here requires an admin key as soon as any keys are required.
 */
import type { Scope } from "../../domain/api-key.ts";

/**
 * `open`: reveals no counts. `browser`: for pages, which can't keep a secret, so it requires no key, but has a limit
 * per address. `redirect`: like `browser`, but the link works even if its click is not counted.
 */
export type RouteAccess = Scope | "open" | "browser" | "redirect" | "unlisted";

type Methods = Readonly<Record<string, RouteAccess>>;

const ROUTE_ACCESS: ReadonlyMap<string, Methods> = new Map<string, Methods>([
  ["/analytics", { GET: "read", POST: "write" }],
  ["/events", { POST: "write" }],
  ["/series", { GET: "read" }],
  ["/streams", { GET: "read" }],
  ["/live", { GET: "read" }],
  ["/ledger", { GET: "admin" }],
  ["/metrics", { GET: "admin" }],
  ["/pixel.gif", { GET: "browser" }],
  ["/beacon", { POST: "browser" }],
  ["/r", { GET: "redirect" }],
  ["/hourglass.js", { GET: "open" }],
  ["/livez", { GET: "open" }],
  ["/readyz", { GET: "open" }],
  ["/openapi.json", { GET: "open" }],
  ["/docs", { GET: "open" }],
  ["/docs/page.js", { GET: "open" }],
  ["/docs/page.css", { GET: "open" }],
  ["/docs/swagger-ui.js", { GET: "open" }],
  ["/docs/swagger-ui.css", { GET: "open" }],
]);

/** The dashboard at / and the files that it loads. */
const DASHBOARD = /^\/(?:dashboard\/[\w./-]+)?$/;

export function accessOf(method: string, route: string): RouteAccess {
  if (DASHBOARD.test(route)) return "open";
  const methods = ROUTE_ACCESS.get(route);
  if (methods === undefined) return "unlisted";
  // Other methods get 405, or are CORS preflights.
  return methods[method === "HEAD" ? "GET" : method] ?? "open";
}
