/**
 * CORS: lets pages of some origins read the answers of some routes. No credentials are involved, since the service uses
 * no cookies. Without CORS_ORIGINS, requests bypass this.
 */
import { Elysia } from "elysia";
import { LIMIT_HEADERS } from "./access/denials.ts";

const ALLOW_ORIGIN = "access-control-allow-origin";
const EXPOSED = [
  ...["etag", "hourglass-degraded", "hourglass-not-counted", "retry-after", "www-authenticate"],
  ...LIMIT_HEADERS,
].join(", ");
/** Answers preflight requests. Browsers cache it for at most a day. */
const PREFLIGHT = {
  "access-control-allow-headers": "authorization, content-type, idempotency-key",
  "access-control-max-age": "86400",
};

/** Must be used before the routes. `methodsByPath`: values such as `GET, POST`. */
export function crossOrigin(origins: readonly string[], methodsByPath: ReadonlyMap<string, string>) {
  const isAnyAllowed = origins.includes("*");
  const permit = ({ headers }: Response, origin: string | null) => {
    if (isAnyAllowed) return headers.set(ALLOW_ORIGIN, "*");
    headers.append("vary", "Origin");
    if (origin !== null && origins.includes(origin)) headers.set(ALLOW_ORIGIN, origin);
  };
  const plugin = new Elysia({ name: "cross-origin" }).onAfterHandle(
    { as: "global" },
    ({ path, request, responseValue }) => {
      if (!(responseValue instanceof Response) || !methodsByPath.has(path)) return;
      responseValue.headers.set("access-control-expose-headers", EXPOSED);
      permit(responseValue, request.headers.get("origin"));
    },
  );
  for (const [path, methods] of methodsByPath) {
    const headers = { ...PREFLIGHT, "access-control-allow-methods": methods };
    plugin.options(path, () => new Response(null, { status: 204, headers }));
  }
  return plugin;
}
