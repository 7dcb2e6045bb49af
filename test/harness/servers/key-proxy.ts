/** A proxy before a service that requires a key for everything but a page's files. */
const OPEN = /^\/(dashboard\/.*)?$/;

export interface KeyProxy extends AsyncDisposable {
  readonly url: string;
  /** All that was asked for, with queries. */
  readonly targets: readonly string[];
}

export function startKeyProxy(serviceUrl: string, key: string): KeyProxy {
  const targets: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      targets.push(pathname + search);
      if (!OPEN.test(pathname) && request.headers.get("authorization") !== `Bearer ${key}`) {
        const error = { code: "unauthorized", message: "no key that may read" };
        return Response.json({ error }, { status: 401 });
      }
      const headers = { accept: request.headers.get("accept") ?? "*/*" };
      const answer = await fetch(serviceUrl + pathname + search, { headers, signal: request.signal });
      const type = answer.headers.get("content-type") ?? "";
      return new Response(answer.body, { status: answer.status, headers: { "content-type": type } });
    },
  });
  return { url: server.url.origin, targets, [Symbol.asyncDispose]: () => server.stop(true) };
}
