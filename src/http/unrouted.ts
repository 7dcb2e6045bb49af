/**
 * Answers a request that matches no route: with 405 if its path has other methods, else with 404.
 *
 * Bun's router matches the path as sent. Elysia's own router, which would run next, matches the output of a URL parser.
 * It would accept `/x/../ledger` for `/ledger`, and with a short or malformed Host header also `/abc/ledger`, which
 * bypasses a proxy's path rules.
 * Invariant: Elysia's router is never used.
 */
import type { ErrorBody } from "../protocol/error-body.ts";
import { errorAnswer } from "./answers.ts";

interface Route {
  readonly method: string;
  readonly path: string;
}

export function unroutedAnswers(routes: () => readonly Route[]): (request: Request) => Response {
  let methodsByPath: ReadonlyMap<string, string> | undefined;
  return (request) => {
    methodsByPath ??= allowedMethods(routes());
    // Without a Host header the URL is a path.
    const path = URL.parse(request.url, "http://localhost")?.pathname ?? "";
    // The page of the API names its files relative to /docs. (An Elysia route would match /docs too.)
    if (path === "/docs/") return new Response(null, { status: 308, headers: { location: "../docs" } });
    const allowed = methodsByPath.get(path);
    return allowed === undefined || allowed.includes(request.method)
      ? errorAnswer(404, { code: "not_found", message: `No such path: ${path}.` })
      : errorAnswer(405, methodNotAllowed(request.method, allowed), { allow: allowed });
  };
}

function allowedMethods(routes: readonly Route[]): ReadonlyMap<string, string> {
  const byPath = Map.groupBy(routes, ({ path }) => path);
  const allowed = ({ method }: Route) => (method === "GET" || method === "POST" ? [method] : []);
  return new Map(Array.from(byPath, ([path, some]) => [path, some.flatMap(allowed).sort().join(", ")]));
}

export function methodNotAllowed(method: string, allowed: string): ErrorBody {
  return {
    code: "method_not_allowed",
    message: `${method} is not supported here. This path supports ${allowed}.`,
  };
}
