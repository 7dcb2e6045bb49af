/** A headless Chromium, and pages for it: of an origin of their own, as those of the service's users are. */
import { binary } from "./server-binaries.ts";

/** Its own sandbox does not work for root, nor in most containers. The pages are ours. */
const FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"];

/** All views are tabs of one browser, which ends with this process. */
export function openView(): Bun.WebView {
  const backend = { type: "chrome", url: false, path: binary("chromium"), argv: FLAGS } as const;
  return new Bun.WebView({ backend, width: 800, height: 600 });
}

export interface Pages {
  readonly origin: string;
  /** The address of a page with this body. */
  add(body: string): string;
  stop(): Promise<void>;
}

export function servePages(): Pages {
  const bodies = new Map<string, string>();
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch({ url }) {
      const body = bodies.get(new URL(url).pathname);
      if (body === undefined) return new Response(null, { status: 404 });
      const text = `<!doctype html><title>page</title><link rel="icon" href="data:,"><body>${body}`;
      return new Response(text, { headers: { "content-type": "text/html; charset=utf-8" } });
    },
  });
  return {
    origin: server.url.origin,
    add(body) {
      const path = `/${bodies.size}`;
      bodies.set(path, body);
      return `${server.url.origin}${path}`;
    },
    stop: () => server.stop(true),
  };
}
