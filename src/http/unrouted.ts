/**
 * Answers a request that no route takes: with 405 if its path takes other methods, else with 404.
 *
 * Bun's router matches a path as it was sent. Elysia's own, which would be asked next, matches what a URL parser makes
 * of it: it takes `/x/../ledger` and, with a short or malformed Host header, `/abc/ledger` for `/ledger`, and so past
 * the path rules of a proxy. Invariant: Elysia's router is never asked.
 */
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
    // The page of the API names its files relative to /docs. (A route of Elysia's would take /docs as well.)
    if (path === "/docs/") return new Response(null, { status: 308, headers: { location: "../docs" } });
    const allowed = methodsByPath.get(path);
    return allowed === undefined || allowed.includes(request.method)
      ? errorAnswer(404, { code: "not_found", message: `No such path: ${path}.` })
      : methodNotAllowed(request.method, allowed);
  };
}

function allowedMethods(routes: readonly Route[]): ReadonlyMap<string, string> {
  const byPath = Map.groupBy(routes, ({ path }) => path);
  const allowed = ({ method }: Route) => (method === "GET" || method === "POST" ? [method] : []);
  return new Map(Array.from(byPath, ([path, some]) => [path, some.flatMap(allowed).sort().join(", ")]));
}

function methodNotAllowed(method: string, allowed: string): Response {
  const message = `${method} is not supported here. This path takes ${allowed}.`;
  return errorAnswer(405, { code: "method_not_allowed", message }, { allow: allowed });
}
