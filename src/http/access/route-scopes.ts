/**
 * Who may ask what. Invariant: a route that is not listed here is for the holders of admin keys, once keys of any kind
 * are asked for: one that was forgotten is closed.
 */
import type { Scope } from "../../domain/api-key.ts";

/**
 * `open`: it tells nothing of what is counted. `browser`: of pages, which can keep no secret: no key, but a limit for
 * each address. `redirect`: the same, but who follows a link is led on, whatever becomes of the click.
 */
export type RouteAccess = Scope | "open" | "browser" | "redirect" | "unlisted";

type Methods = Readonly<Record<string, RouteAccess>>;

export const ROUTE_ACCESS: ReadonlyMap<string, Methods> = new Map<string, Methods>([
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

/** All that the page at / loads, and nothing else. */
const DASHBOARD = /^\/(?:dashboard\/[\w.-]+)?$/;

/** `route`: as it is defined, however the request spells its path. */
export function accessOf(method: string, route: string): RouteAccess {
  if (DASHBOARD.test(route)) return "open";
  const methods = ROUTE_ACCESS.get(route);
  if (methods === undefined) return "unlisted";
  // Any other method is answered with 405, or asks whether it may be sent from another origin.
  return methods[method === "HEAD" ? "GET" : method] ?? "open";
}
