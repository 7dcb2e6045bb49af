/** Runs before all routes and answers requests that are not admitted. The ledger counts each as a refused event. */
import { Elysia } from "elysia";
import type { Ledger } from "../../domain/ledger.ts";
import type { RequestCounts } from "../requests/counts.ts";
import type { Access } from "./access.ts";
import { accessOf } from "./route-scopes.ts";

/** To be used before the routes. */
export function accessControl(access: Access, ledger: Ledger, requestCounts: readonly RequestCounts[]) {
  const countsByRoute = new Map(requestCounts.map((counts) => [`${counts.method} ${counts.route}`, counts]));
  // No expression here may look like a promise: Elysia would await it.
  return new Elysia({ name: "access-control" })
    .onBeforeHandle({ as: "global" }, ({ request, route, server }) => {
      const refused = access.refusalOf(request, route, server);
      if (refused === undefined) return;
      const { answer } = refused;
      countsByRoute.get(`${request.method} ${route}`)?.add(answer.status);
      if (isEvent(request.method, route)) ledger.refused[refused.reason] += 1;
      return answer;
    })
    .onAfterHandle({ as: "global" }, ({ request, responseValue }) => {
      if (responseValue instanceof Response) access.addLimitHeaders(request, responseValue.headers);
    });
}

/** The body is not read, and counts as one event. */
function isEvent(method: string, route: string): boolean {
  const access = accessOf(method, route);
  return method !== "HEAD" && (access === "write" || access === "browser");
}
